//! `surveil run --clean`: tasks in a tree such as a runner makes, and the hints that name it (S52).

use crate::harness::{World, text, until};

/// Sabotage tried: the tree is not brought to the commit again before the second task.
#[test]
fn a_clean_run_has_what_a_runner_has_and_nothing_else() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write(".gitignore", "ignored\n");
    repository.write("sub/tracked", "one\n");
    let first = repository.commit_tasks(
        "[task.make]\nretries = 1\nrun = 'ls -A; cat sub/tracked; mkdir -m 000 product; test $SURVEIL_ATTEMPT = 2'\n\
         [task.look]\nneeds = ['make']\nrun = 'ls -A; echo $SURVEIL_REPO $SURVEIL_COMMIT; git log --format=%s; git status --short'\n",
    );
    repository.write("sub/tracked", "two\n");
    let second = repository.commit("Second");
    // All of this is in the work tree, and none of it in the commit.
    repository.write("sub/tracked", "changed\n");
    repository.write("untracked", "");
    repository.write("ignored", "");
    let names = ".git\n.gitignore\n.surveil.toml\nsub\n";

    let said = world.surveil_in(&repository.path.join("sub"), &["run", "--clean"]).ok();
    assert_eq!(said.matches(&format!("{names}two\n")).count(), 2, "both attempts: {said}");
    assert!(said.contains(&format!("{names}app {second}\nSecond\n")), "{said}");

    let arguments = ["run", "--clean", "--commit", "HEAD~1", "--dir", text(&repository.path), "look"];
    let earlier = world.surveil(&arguments).ok();
    assert!(earlier.contains(&format!("{names}one\n")) && earlier.contains(&first), "{earlier}");
    let unknown = world.surveil_in(&repository.path, &["run", "--clean", "--commit", "nosuch"]).error(2);
    assert!(unknown.contains("no commit `nosuch`"), "{unknown}");
    world.surveil_in(&repository.path, &["run", "--commit", "HEAD"]).error(2);
    let nowhere = world.surveil(&["run", "--clean"]).error(2);
    assert!(nowhere.contains("no git repository"), "{nowhere}");
    // Nothing is left of the trees.
    assert_eq!(std::fs::read_dir(world.path("work/clean")).unwrap().count(), 0);
}

#[test]
fn a_run_in_the_work_tree_says_once_that_it_is_not_the_commit() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write(".gitignore", "ignored\n");
    repository.commit_tasks("[task.a]\nrun = 'true'\n[task.b]\nrun = 'touch ignored'\n");
    let clean = world.surveil_in(&repository.path, &["run"]);
    assert_eq!((clean.code, &*clean.stderr), (0, ""));
    repository.write("untracked", "");
    let done = world.surveil_in(&repository.path, &["run"]);
    assert_eq!(done.stderr.matches("as it is").count(), 1, "{done:?}");
    assert!(done.stderr.contains("1 untracked, 1 ignored") && done.stderr.contains("--clean"), "{done:?}");
}

/// What passes in the work tree fails in the commit's tree, so only the right command shows the failure again.
#[test]
fn the_command_that_reproduces_a_failure_works_when_it_is_pasted() {
    let world = World::new();
    let repository = world.repository("it's my app");
    repository.write("needed", "");
    repository.commit_script("test -e forgotten");
    repository.write("forgotten", "");
    let up = world.surveil_in(&repository.path, &["up", "--once", "--port=0"]).with_code(1);
    let red = world.surveil(&["up", text(&repository.path), "--once", "--port=0"]).with_code(1);
    let _roles = world.roles(&[&repository]);
    let here = world.surveil_in(&repository.path, &["show", "latest"]).ok();
    let elsewhere = world.surveil(&["show", "latest"]).ok();
    world.surveil_in(&repository.path, &["run"]).ok();
    for (printed, directory, is_clone) in [
        (&up, repository.path.clone(), false),
        (&red, world.path("home"), false),
        (&here, repository.path.join(".git"), false),
        (&elsewhere, repository.path.clone(), true),
    ] {
        let (before, line) = printed.split_once("surveil run ").unwrap();
        assert_eq!(before.ends_with("in a clone of it-s-my-app: "), is_clone, "{printed}");
        let line = line.lines().next().unwrap();
        let mut shell = world.sealed("sh");
        shell.args(["-c", &format!("{} run {line}", env!("CARGO_BIN_EXE_surveil"))]).current_dir(directory);
        let done = world.run(shell).with_code(1);
        assert!(done.contains("test: failed") && done.contains("(exit code 1)"), "{done}");
    }
    // So does the command for the whole log, which names the data directory and the address.
    let (_, line) = here.split_once("the whole log: surveil ").unwrap();
    let mut shell = world.sealed("sh");
    shell.args(["-c", &format!("{} {}", env!("CARGO_BIN_EXE_surveil"), line.lines().next().unwrap())]);
    world.run(shell).ok();
}

#[test]
fn an_interrupted_clean_run_leaves_no_tree() {
    let world = World::new();
    let begun = world.tally("begun");
    let repository = world.repository("app");
    repository.commit_script(&format!("{}\nsleep 1000", begun.add("begun")));
    let mut run = world.start("run", &["run", "--clean", "--grace=300ms", "--dir", text(&repository.path)]);
    begun.reaches(1);
    run.signal_group(rustix::process::Signal::INT);
    assert_eq!(run.exit_code(), 130);
    until("nothing is left", || world.processes(&[]).is_empty());
    assert_eq!(std::fs::read_dir(world.path("work/clean")).unwrap().count(), 0);
}
