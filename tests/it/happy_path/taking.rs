//! Artifacts of needed tasks in the work tree: exactly what was left, before the task starts (S43, S45).

use std::fs;

use surveil::protocol::operator::BuildReport;

use crate::harness::{Link, World, job, until};

const TASKS: &str = r#"[task.build]
run = """
mkdir -p dist/sub dist/empty
echo hello > dist/hello
printf '#!/bin/sh\necho run' > dist/sub/run
chmod +x dist/sub/run
ln -s sub/run dist/link
touch -d 2024-01-02T03:04:05Z dist/hello
head -c 3000000 /dev/zero > dist/zeros
head -c 1500000 /dev/urandom > dist/noise
cp dist/noise dist/copy
sha256sum dist/noise dist/zeros > sums
echo report > report.xml
"""
artifacts = ["dist/**", "sums", { name = "report", paths = ["*.xml"], on = "always" }]

[task.test]
matrix = { part = ["one", "two"] }
run = 'mkdir -p parts; echo "$MATRIX_PART" > "parts/$MATRIX_PART"; echo "$MATRIX_PART" > last'
artifacts = ["parts/**", "last"]

[task.package]
needs = ["build", "test"]
run = """
sha256sum --quiet -c sums && cmp dist/noise dist/copy
cat dist/hello parts/one parts/two last
./dist/link
test -d dist/empty -a -L dist/link -a -x dist/sub/run -a ! -x dist/hello
stat -c %Y dist/hello
git status --short --untracked-files=all | tr '\\n' ' '
"""

[task.choosy]
needs = ["build", "test"]
take = ["build:report", "test@two"]
run = "find . -name .git -prune -o -type f -print | sort | tr '\\n' ' '"

[task.empty]
needs = ["build"]
take = []
run = "ls"

[task.far]
needs = ["package", "choosy"]
run = "ls"
"#;

/// Other jobs take their turns in the same tree, so whatever is left of received files is seen.
#[test]
fn a_task_finds_the_artifacts_of_the_tasks_that_it_needs() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(TASKS);
    let _roles = world.roles(&[&repository]);
    found_them(&world, &world.expect(&commit, "passed"));
}

/// Where the work tree and its own directories are all that an attempt can write to, in a network of its own.
#[test]
fn a_sealed_task_finds_them_too() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    if !world.can_guard() {
        return;
    }
    let repository = world.repository("app");
    let commit = repository.commit_tasks(&format!("[defaults]\nisolation = 'sealed'\nnetwork = false\n{TASKS}"));
    let _others = (world.observer(&[&repository], &[]), world.runner("w1", &[]));
    let build = world.expect(&commit, "passed");
    found_them(&world, &build);
    for task in ["build", "package"] {
        assert_eq!(job(&build, task).attempts[0].execution.as_ref().unwrap().tier, "sealed");
    }
}

fn found_them(world: &World, build: &BuildReport) {
    let log = world.log_of(build, "package");
    let mut lines = log.lines();
    assert!(lines.next().unwrap().starts_with("surveil: took artifact `files` of task `build`: 8 entries, "), "{log}");
    assert_eq!(lines.next().unwrap(), "surveil: took artifact `report` of task `build`: 1 entry, 7 bytes");
    assert_eq!(lines.next().unwrap(), "surveil: took artifact `files` of task `test@one`: 2 entries, 8 bytes");
    assert_eq!(lines.next().unwrap(), "surveil: took artifact `files` of task `test@two`: 2 entries, 8 bytes");
    let rest: Vec<&str> = lines.map(str::trim_end).collect();
    let status = "?? dist/copy ?? dist/hello ?? dist/link ?? dist/noise ?? dist/sub/run ?? dist/zeros ?? last \
                  ?? parts/one ?? parts/two ?? report.xml ?? sums";
    assert_eq!(rest, ["hello", "one", "two", "two", "run", "1704164645", status], "{log}");
    let choosy = world.log_of(build, "choosy");
    assert!(choosy.trim_end().ends_with("./.surveil.toml ./last ./parts/two ./report.xml"), "{choosy}");
    assert_eq!((world.log_of(build, "empty"), world.log_of(build, "far")), (String::new(), String::new()));
}

#[test]
fn files_of_the_commit_give_way_and_directories_of_it_do_not() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("tracked", "old\n");
    repository.write("docs/x", "old\n");
    std::os::unix::fs::symlink("docs", repository.path.join("link")).unwrap();
    let commit = repository.commit_tasks(
        r#"[task.build]
run = "echo new > tracked; rm -r docs link; echo file > docs; mkdir link; echo x > link/x; echo no > clash"
artifacts = ["tracked", { name = "docs", paths = ["docs"] }, { name = "link", paths = ["link"] }, { name = "clash", paths = ["clash"] }]
[task.other]
run = "mkdir clash; echo x > clash/x; echo other > tracked"
artifacts = ["clash", { name = "tracked", paths = ["tracked"] }]
[task.later]
needs = ["build", "other"]
take = ["build:files", "other:tracked"]
run = "cat tracked; git status --short"
[task.earlier]
needs = ["other", "build"]
take = ["other:tracked", "build:files"]
run = "cat tracked"
[task.commit]
needs = ["later", "earlier"]
run = "cat tracked docs/x; git status --short"
[task.directory]
needs = ["build"]
take = ["build:docs"]
run = "true"
[task.through]
needs = ["build"]
take = ["build:link"]
run = "true"
[task.clash]
needs = ["build", "other"]
take = ["build:clash", "other:files"]
run = "true"
"#,
    );
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "errored");
    let last = |task: &str| world.log_of(&build, task).lines().last().unwrap_or_default().to_owned();
    assert!(world.log_of(&build, "later").ends_with("other\n M tracked\n"), "the later one of `needs` wins");
    assert_eq!(last("earlier"), "new");
    assert_eq!(world.log_of(&build, "commit"), "old\nold\n", "the next job has the commit again");
    let says = |task: &str, text: &str| {
        let job = job(&build, task);
        assert_eq!(job.state, "errored", "{task}");
        let detail = job.attempts[0].detail.clone().unwrap_or_default();
        assert!(detail.contains(text), "{task}: {detail}");
    };
    says(
        "directory",
        "artifact `docs` of task `build` does not fit into the work tree: `docs` cannot be written, because \
                       `docs` is a directory of the commit",
    );
    says("through", "`link/x` cannot be written, because `link` is a symbolic link of the commit");
    says(
        "clash",
        "artifact `clash` of task `build` and artifact `files` of task `other` do not fit into one work tree: \
                   `clash` is a directory in one of them only",
    );
}

/// Artifacts that a failed task left with `always` are there for those that run after a failure; what is optional and
/// was not left is no obstacle; a task that a task wrote has the artifacts of that one.
#[test]
fn artifacts_come_along_with_every_kind_of_need() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        r#"[task.test]
run = "echo attempt $SURVEIL_ATTEMPT > report; exit 3"
retries = 1
artifacts = [{ name = "report", paths = ["report"], on = "always" }, { name = "none", paths = ["none"], required = false }]
[task.tell]
needs = ["test"]
run_if = "failed"
run = "cat report"
[task.plan]
expand = true
run = '''
echo list > list; echo extra > extra
cat > "$SURVEIL_TASKS" <<END
[task.core]
run = "cat list"
[task.web]
needs = ["core"]
take = []
run = "ls"
[task.both]
needs = ["core"]
take = ["plan:extra"]
run = "ls"
END
'''
artifacts = [{ name = "list", paths = ["list"] }, { name = "extra", paths = ["extra"] }]
"#,
    );
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "failed");
    let tell = world.log_of(&build, "tell");
    assert_eq!(tell, "surveil: took artifact `report` of task `test`: 1 entry, 10 bytes\nattempt 2\n", "the newest");
    assert!(world.log_of(&build, "plan/core").ends_with("\nlist\n"));
    assert_eq!(world.log_of(&build, "plan/web"), "");
    assert!(world.log_of(&build, "plan/both").ends_with("\nextra\n"));
}

/// A blob that rotted is not delivered, and a rerun of the task that left it makes it anew.
#[test]
fn an_artifact_that_rotted_stops_the_task_that_takes_it() {
    let world = World::new();
    let repository = world.repository("app");
    let gate = world.gate("gate");
    let commit = repository.commit_tasks(&format!(
        "[task.build]\nrun = 'yes | head -c 100000 > large; printf x > small'\nartifacts = ['large', 'small']\n\
         [task.hold]\nrun = '''{}'''\n\
         [task.package]\nneeds = ['build', 'hold']\nrun = 'cat small; wc -c < large'\n",
        gate.wait()
    ));
    let [_dispatcher, _observer, _runner] =
        [world.dispatcher(&[]), world.observer(&[&repository], &[]), world.runner("w1", &["--slots=2"])];
    world.build_that("has the artifact", |build| job(build, "build").state == "passed");
    let packed = crate::happy_path::artifacts::files(&world.data().join("blobs"))
        .into_iter()
        .find(|path| path.extension().is_some_and(|ending| ending == "zst") && fs::metadata(path).unwrap().len() < 300)
        .unwrap();
    let mut bytes = fs::read(&packed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&packed, bytes).unwrap();
    gate.open();
    let build = world.expect(&commit, "errored");
    let detail = job(&build, "package").attempts[0].detail.clone().unwrap();
    assert_eq!(
        detail,
        "artifact `files` of task `build` is not there any more: retention removed it, or it was damaged on the \
         dispatcher's disk; a rerun of that task makes it anew"
    );
    world.surveil(&["rerun", "latest"]).ok();
    gate.open();
    let again = world
        .build_that("has run again", |build| build.finished_ms.is_some() && job(build, "package").attempts.len() == 2);
    assert_eq!(again.state, "passed");
    assert!(world.log_of(&again, "package").ends_with("\nx100000\n"));
}

/// What a runner has taken once it has copies of: a later attempt has it, though the dispatcher has lost it.
#[test]
fn a_second_attempt_takes_what_the_runner_has_copies_of() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.build]\nrun = 'head -c 300000 /dev/urandom > large; cp large same; sha256sum large same > sums'\n\
         artifacts = ['large', 'same', 'sums']\n\
         [task.package]\nneeds = ['build']\nrun = 'sha256sum --quiet -c sums && echo right'\n",
    );
    let _roles = world.roles(&[&repository]);
    world.expect(&commit, "passed");
    let lengths = || -> Vec<u64> {
        let copies = crate::happy_path::artifacts::files(&world.path("work-w1/caches"));
        let kept = copies.iter().filter(|path| !path.to_string_lossy().contains("/unfinished/"));
        kept.filter_map(|path| Some(fs::metadata(path).ok()?.len())).collect()
    };
    // Copies are made beside the task, and after the end of the attempt was told.
    let sums = "  large\n  same\n".len() as u64 + 2 * 64;
    until("there are copies", || [300_000, sums].iter().all(|length| lengths().contains(length)));
    assert_eq!(lengths().iter().filter(|length| **length == 300_000).count(), 1, "each content once: {:?}", lengths());
    for blob in crate::happy_path::artifacts::files(&world.data().join("blobs")) {
        fs::remove_file(blob).unwrap();
    }
    world.surveil(&["rerun", "latest", "package"]).ok();
    let again = world
        .build_that("has run again", |build| build.finished_ms.is_some() && job(build, "package").attempts.len() == 2);
    assert_eq!(again.state, "passed");
    assert!(world.log_of(&again, "package").ends_with("\nright\n"));
}

/// The line is slow, and the dispatcher and the runner die in the middle. What the task finds is exact all the same.
#[test]
fn taking_goes_on_after_the_dispatcher_died_and_begins_anew_after_the_runner_did() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.build]\nrun = 'head -c 4000000 /dev/urandom > large; sha256sum large > sum'\nartifacts = ['large', 'sum']\n\
         labels = ['fast']\n\
         [task.package]\nneeds = ['build']\nlabels = ['slow']\nrun = 'sha256sum --quiet -c sum; echo right'\n",
    );
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _fast = world.runner("fast", &["--label=fast"]);
    let link = Link::new(&world, Some(1_000_000));
    let dispatch = format!("--dispatch={}", link.address());
    let flags = [dispatch.as_str(), "--label=slow"];
    let slow = world.runner("slow", &flags);
    let arrived = || -> u64 {
        let trees = crate::happy_path::artifacts::files(&world.path("work-slow/trees"));
        trees.iter().filter_map(|path| fs::metadata(path).ok()).map(|meta| meta.len()).max().unwrap_or(0)
    };
    until("a part has arrived", || arrived() > 500_000);
    dispatcher.kill();
    let dispatcher = world.dispatcher(&[]);
    until("more has arrived", || arrived() > 2_000_000);
    slow.kill();
    let _slow = world.runner("slow", &flags);
    let build = world.expect(&commit, "passed");
    assert!(world.log_of(&build, "package").ends_with("\nright\n"));
    let attempts = &job(&build, "package").attempts;
    assert_eq!(attempts.len(), 2, "lost with its runner, and not with the dispatcher: {attempts:?}");
    drop(dispatcher);
}

/// Each task has a tree of its own there, so the files are handed on as by a dispatcher.
#[test]
fn a_clean_local_run_hands_artifacts_on_as_a_build_does() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_tasks(TASKS);
    let said = world.surveil_in(&repository.path, &["run", "--clean"]).ok();
    assert!(said.contains("surveil: took artifact `files` of task `test@one`: 2 entries, 8 bytes\n"), "{said}");
    assert!(said.contains("hello\none\ntwo\ntwo\nrun\n1704164645\n?? dist/copy ?? dist/hello "), "{said}");
    assert!(said.contains("./.surveil.toml ./last ./parts/two ./report.xml"), "{said}");
    assert_eq!(fs::read_dir(world.path("work/clean")).unwrap().count(), 0);
    repository.commit_tasks(
        "[task.a]\nrun = 'true'\nartifacts = ['none']\n[task.b]\nneeds = ['a']\nrun = 'true'\n\
         [task.c]\nrun = 'mv .surveil.toml x; mkdir .surveil.toml; mv x .surveil.toml'\n\
         artifacts = ['.surveil.toml']\n\
         [task.d]\nneeds = ['c']\nrun = 'true'\n",
    );
    let said = world.surveil_in(&repository.path, &["run", "--clean"]).with_code(1);
    assert!(said.contains("no file matches `none`; so the task has failed\n"), "as on a runner: {said}");
    assert!(said.contains("b: skipped") && said.contains("`.surveil.toml` is a file of the commit"), "{said}");
}
