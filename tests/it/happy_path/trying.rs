//! Builds of uncommitted work: `surveil try`.

use std::fs;

use rustix::process::Signal;

use crate::harness::{World, job, text};

#[test]
fn uncommitted_work_is_built_and_nothing_of_the_repository_changes() {
    let world = World::new();
    let repository = world.repository("app");
    let head = repository.commit_tasks("[task.test]\nrun = 'cat tracked new; ls; echo $SURVEIL_BRANCH'\n");
    repository.write("tracked", "committed\n");
    repository.write(".gitignore", "ignored\n");
    let head_with_file = repository.commit("Add a file");
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w1", &[]);
    let _observer = world.observer(&[&repository], &[]);
    // It lacks a file.
    world.expect(&head_with_file, "failed");
    repository.write("tracked", "changed\n");
    repository.write("new", "untracked\n");
    repository.write("ignored", "x");
    repository.write("sub/here", "x");
    let before = (repository.git(&["status", "--porcelain"]), repository.git(&["for-each-ref"]));
    let stored = repository.git(&["count-objects", "-v"]);

    let said = world.surveil_in(&repository.path.join("sub"), &["try"]).ok();
    assert!(said.contains("main: try: uncommitted work on main") && said.contains("test: passed in"), "{said}");
    let build = world.build_that("is of the try", |build| build.trigger == "try");
    assert_eq!((&*build.reference, &*build.trust, &*build.state), ("refs/heads/main", "untrusted", "passed"));
    assert_eq!(world.log_of(&build, "test"), "changed\nuntracked\nnew\nsub\ntracked\nmain\n");
    let after = (repository.git(&["status", "--porcelain"]), repository.git(&["for-each-ref"]));
    assert_eq!((after, repository.git(&["count-objects", "-v"])), (before, stored));
    assert!(![head, head_with_file.clone()].contains(&build.commit));

    // No head has moved: the next commit is built as one that follows the last one.
    let next = repository.commit("Next");
    let build = world.expect(&next, "passed");
    assert_eq!((&*build.trigger, build.before.as_deref()), ("push", Some(&*head_with_file)));
}

#[test]
fn the_first_failure_ends_a_try_and_cancels_the_rest() {
    let world = World::new();
    let gate = world.gate("gate");
    let repository = world.repository("app");
    repository.write(
        ".surveil.toml",
        &format!(
            "[task.slow]\nrun = '''{}'''\n[task.bad]\nneeds = ['other']\nrun = 'exit 3'\n[task.other]\nrun = 'true'\n",
            gate.wait()
        ),
    );
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w1", &["--slots=3"]);
    // The repository has no commit yet.
    let done = world.surveil_in(&repository.path, &["try", "--first-failure"]);
    assert!(done.stderr.contains("build b1: 1 job cancelled"), "{}", done.stderr);
    let said = done.with_code(1);
    assert!(said.contains("bad: failed (exit code 3)"), "{said}");
    assert!(said.contains(&format!("reproduce: surveil run bad --dir {}", text(&repository.path))), "{said}");
    let build = world.build_that("is finished", |build| build.finished_ms.is_some());
    assert_eq!((job(&build, "slow").state.as_str(), build.state.as_str()), ("cancelled", "failed"));
    // A program gets the report at the same moment.
    let said = world.surveil_in(&repository.path, &["try", "--first-failure", "--json"]).with_code(1);
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&report["build"], &report["jobs"][1]["state"]), (&2.into(), &"failed".into()));
    world.build_that("is finished", |build| build.build == 2 && job(build, "slow").state == "cancelled");
    let said = world.surveil_in(&repository.path, &["try", "--task", "other"]).ok();
    assert!(said.contains("b3 passed") && !said.contains("slow"), "{said}");
}

#[test]
fn ctrl_c_cancels_a_try() {
    let world = World::new();
    let begun = world.tally("begun");
    let repository = world.repository("app");
    repository.write(".surveil.toml", &format!("[task.test]\nrun = '''{}\nsleep 1000'''\n", begun.add("begun")));
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w1", &[]);
    for (number, arguments) in (1..).zip([&["try"][..], &["try", "--json"]]) {
        let mut command = world.command(arguments);
        command.current_dir(&repository.path);
        let trying = world.start_command("try", command);
        begun.reaches(number);
        trying.signal(Signal::INT);
        let (code, _) = trying.finish();
        assert_eq!(code, 130, "{arguments:?}");
        let number = number as u64;
        let build = world.build_that("is cancelled", |build| build.build == number && build.finished_ms.is_some());
        assert_eq!(build.state, "cancelled");
    }
}

#[test]
fn what_cannot_be_tried_is_told() {
    let world = World::with_port(1);
    let repository = world.repository("app");
    repository.commit_script("true");
    let error = world.surveil_in(&repository.path, &["try"]).error(5);
    assert!(error.contains("`surveil run` runs tasks in the work tree, `surveil run --clean`"), "{error}");

    let world = World::new();
    let repository = world.repository("app");
    repository.commit_script("true");
    let _dispatcher = world.dispatcher(&["--max-file=1MiB"]);
    let large = fs::File::create(repository.path.join("large")).unwrap();
    large.set_len(5 << 30).unwrap();
    let error = world.surveil_in(&repository.path, &["try"]).error(2);
    assert!(error.contains("large has 5120.0 MiB, and a file of a build may have at most 1.0 MiB"), "{error}");
    let error = world.surveil(&["try"]).error(2);
    assert!(error.contains("no git repository"), "{error}");
    assert_eq!(world.builds(), []);
}
