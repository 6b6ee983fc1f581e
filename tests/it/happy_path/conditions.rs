//! The conditions of tasks, `when`: what a build leaves out, and why the rest runs.

use surveil::protocol::operator::BuildReport;

use crate::harness::{World, job};

/// The states of a build's jobs.
fn states(build: &BuildReport) -> Vec<(&str, &str)> {
    build.jobs.iter().map(|job| (job.task.as_str(), job.state.as_str())).collect()
}

fn detail(build: &BuildReport, task: &str) -> String {
    job(build, task).detail.clone().unwrap_or_default()
}

#[test]
fn a_new_branch_is_compared_with_the_commit_that_it_comes_from() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_tasks(TWO_TASKS);
    repository.write("src/broken", "");
    repository.git(&["checkout", "--quiet", "-b", "topic"]);
    let second = repository.commit("broken");
    repository.write("docs/index", "1");
    let third = repository.commit("documented");
    repository.git(&["branch", "docs", "main"]);
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w1", &[]);
    {
        let _observer = world.observer(&[&repository], &["--branch", "main"]);
        world.expect(&first, "passed");
    }
    let _observer = world.observer(&[&repository], &["--branch", "*"]);
    // The pass of `main` counts, which is not the commit before.
    let build = world.expect(&third, "failed");
    assert_eq!(states(&build), [("code", "failed"), ("docs", "passed")]);
    // The branch is at the commit of another build.
    let docs = world.build_that("docs", |build| build.branch == "docs" && build.finished_ms.is_some());
    assert_eq!((docs.state.as_str(), states(&docs)), ("passed", vec![("code", "left_out"), ("docs", "left_out")]));
    let why = world.surveil(&["why", "--dispatch", &world.address().to_string(), &format!("b{}", build.build)]).ok();
    assert!(why.contains(&format!("docs/index changed since {} passed (b1)", &first[..7])), "{why}");
    assert!(!why.contains(&second[..7]), "{why}");

    // What its first build left out is compared with the same pass in the second.
    repository.git(&["checkout", "--quiet", "docs"]);
    repository.write("other", "");
    let fourth = repository.commit("other");
    let build = world.expect(&fourth, "passed");
    assert_eq!(states(&build), [("code", "left_out"), ("docs", "left_out")]);
    assert!(detail(&build, "code").ends_with(&format!("since {} passed (b1)", &first[..7])), "{build:#?}");
}

/// `code` fails while the file `src/broken` is there. `docs` never fails. Both depend on what they are called after.
const TWO_TASKS: &str = "[task.code]\nrun = 'test ! -e src/broken'\nwhen = { changed = ['src/**'] }\n\
                         [task.docs]\nrun = 'true'\nwhen = { changed = ['docs', '!**/*.txt'] }\n";

#[test]
fn a_task_is_left_out_only_if_nothing_has_changed_since_it_passed() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("src/a", "1");
    repository.write("docs/index", "1");
    let first = repository.commit_tasks(TWO_TASKS);
    let roles = world.roles(&[&repository]);
    assert_eq!(states(&world.expect(&first, "passed")), [("code", "passed"), ("docs", "passed")]);

    repository.write("docs/index", "2");
    let second = repository.commit("docs only");
    let build = world.expect(&second, "passed");
    assert_eq!(states(&build), [("code", "left_out"), ("docs", "passed")]);
    let since = format!("no file matching src/** changed since {} passed (b1)", &first[..7]);
    assert_eq!(detail(&build, "code"), since);

    repository.write("src/broken", "");
    let third = repository.commit("broken");
    assert_eq!(states(&world.expect(&third, "failed")), [("code", "failed"), ("docs", "left_out")]);

    // The failed task runs again, although this commit touches only other files.
    repository.write("docs/index", "3");
    let fourth = repository.commit("docs again");
    assert_eq!(states(&world.expect(&fourth, "failed")), [("code", "failed"), ("docs", "passed")]);

    // Back at what passed, which was never tried again.
    repository.git(&["rm", "--quiet", "src/broken"]);
    repository.write("docs/note.txt", "1");
    let fifth = repository.commit("mended");
    let build = world.expect(&fifth, "passed");
    assert_eq!(states(&build), [("code", "left_out"), ("docs", "left_out")]);
    let show = world.surveil(&["show", "--dispatch", &world.address().to_string(), "b5"]).ok();
    assert!(show.contains("b5 passed (every task is left out) in "), "{show}");
    assert!(show.contains(&since), "{show}");
    let status = world.surveil(&["status", "--dispatch", &world.address().to_string()]).ok();
    assert!(status.contains("2 left out"), "{status}");
    let why = world.surveil(&["why", "--dispatch", &world.address().to_string(), "b4", "docs"]).ok();
    let chosen = format!("chosen: docs/index changed since {} passed (b2)", &second[..7]);
    assert!(why.contains(&chosen), "{why}");
    let why = world.surveil(&["why", "--dispatch", &world.address().to_string(), "b5", "code"]).ok();
    assert!(why.contains(&format!("left out: {since}")), "{why}");

    // The task is another one now.
    let sixth = repository.commit_tasks(&TWO_TASKS.replace("'true'", "'exit 0'"));
    let build = world.expect(&sixth, "passed");
    assert_eq!(states(&build), [("code", "left_out"), ("docs", "passed")]);
    drop(roles);
}

#[test]
fn a_task_runs_for_the_branches_of_its_condition_and_what_needs_it_runs_for_others_too() {
    let world = World::new();
    let repository = world.repository("app");
    let main = repository.commit_tasks(
        "[task.package]\nrun = 'true'\nwhen = { branches = ['ma*'], events = ['push'] }\n\
         [task.nightly]\nrun = 'exit 1'\nwhen = { events = ['schedule'] }\n\
         [task.check]\nneeds = ['package', 'nightly']\nrun = 'true'\n",
    );
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &["--branch", "*"]);
    let _runner = world.runner("w1", &[]);
    let build = world.expect(&main, "passed");
    assert_eq!(states(&build), [("package", "passed"), ("nightly", "left_out"), ("check", "passed")]);
    assert_eq!(detail(&build, "nightly"), "it does not run for the event push");

    repository.git(&["checkout", "--quiet", "-b", "topic"]);
    let topic = repository.commit("topic");
    let build = world.expect(&topic, "passed");
    assert_eq!(states(&build), [("package", "left_out"), ("nightly", "left_out"), ("check", "passed")]);
    assert_eq!(detail(&build, "package"), "it does not run for branch topic");
}

#[test]
fn a_plan_says_what_a_push_would_run_and_why() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_tasks(&format!(
        "{TWO_TASKS}expand = true\n[task.package]\nneeds = ['code']\nrun = 'true'\nwhen = {{ tags = ['v*'] }}\n\
         [task.check]\nneeds = ['package']\nrun = 'true'\n"
    ));
    let plan = |more: &[&str]| {
        let address = world.known_address().map_or_else(|| "127.0.0.1:1".to_owned(), |address| address.to_string());
        let words = [&["plan", "--dispatch", &address], more].concat();
        world.surveil_in(&repository.path, &words).ok()
    };
    // Without a dispatcher, everything counts as changed.
    let rows = |text: &str| -> Vec<Vec<String>> {
        let words =
            |line: &str| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect();
        text.lines().map(words).collect()
    };
    let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let alone = plan(&[]);
    assert_eq!(rows(&alone)[0], row(&[&format!("push of main at {}:", &first[..7])]));
    let left_out = row(&["left out", "package", "code", "it does not run for branch main"]);
    let docs = row(&["runs", "docs", "may write further tasks; no dispatcher tells which"]);
    let expected = [row(&["runs", "code"]), docs, left_out, row(&["runs", "check", "package"])];
    assert_eq!(rows(&alone)[2..6], expected);
    assert_eq!(rows(&alone)[6], row(&["3 of 4 tasks run"]));
    let given = plan(&["--changed", "docs/x", "--branch", "topic"]);
    assert_eq!(rows(&given)[2], row(&["left out", "code", "no given path matches src/**"]));
    assert_eq!(
        rows(&given)[3],
        row(&["runs", "docs", "docs/x changed; may write further tasks; no dispatcher tells which"])
    );
    let tag = plan(&["--tag", "v1"]);
    assert_eq!(rows(&tag)[4], row(&["runs", "package", "code"]));

    let roles = world.roles(&[&repository]);
    world.expect(&first, "passed");
    drop(roles);
    let _dispatcher = world.dispatcher(&[]);
    repository.write("docs/index", "2");
    let second = repository.commit("docs");
    let report: serde_json::Value = serde_json::from_str(&plan(&["--json"])).unwrap();
    assert_eq!(
        (&report["event"], &report["ref"], &report["commit"]),
        (&"push".into(), &"refs/heads/main".into(), &second.into())
    );
    let of = |at: usize, key: &str| report["tasks"][at][key].clone();
    let since = format!("since {} passed (b1)", &first[..7]);
    assert_eq!(
        (of(0, "task"), of(0, "state"), of(0, "reason_code")),
        ("code".into(), "left_out".into(), "nothing_changed".into())
    );
    assert_eq!(of(0, "detail"), format!("no file matching src/** changed {since}"));
    assert_eq!((of(1, "state"), of(1, "detail")), ("runs".into(), format!("docs/index changed {since}").into()));
    assert_eq!((of(0, "expand"), of(1, "expand")), (false.into(), true.into()));
    assert!(of(3, "median_ms").is_u64() && report["expected_ms"].is_u64(), "{report}");
    // A new branch is compared with where it comes from.
    let topic = plan(&["--branch", "topic"]);
    assert_eq!(rows(&topic)[2][..2], row(&["left out", "code"]), "{topic}");
    let wrong = world.surveil_in(&repository.path, &["plan", "--event", "tag"]).error(2);
    assert!(wrong.contains("write --tag TAG"), "{wrong}");
}

#[test]
fn plan_and_run_tell_that_a_manual_task_that_is_left_out_holds_nothing() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_tasks(
        "[task.deploy]\nmanual = true\nrun = 'true'\nwhen = { tags = ['v*'] }\n\
         [task.tell]\nneeds = ['deploy']\nrun = 'echo told'\n\
         [task.approve]\nmanual = true\nrun = 'true'\n[task.after]\nneeds = ['approve']\nrun = 'true'\n",
    );
    let run = world.surveil_in(&repository.path, &["run"]).ok();
    for line in [
        "deploy: left out (it does not run for branch main)",
        "tell: passed",
        "approve: held (to run it: surveil run --work ",
        " approve)\n",
        "after: held (needs approve)\n",
    ] {
        assert!(run.contains(line), "{line}: {run}");
    }
    let plan = world.surveil_in(&repository.path, &["plan", "--json", "--dispatch", "127.0.0.1:1"]).ok();
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let states: Vec<_> = (0..4).map(|at| plan["tasks"][at]["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states, ["left_out", "runs", "held", "held"]);
}

#[test]
fn a_local_run_leaves_out_what_a_push_to_the_branch_would_and_runs_what_is_named() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_tasks(
        "[task.test]\nneeds = ['release']\nrun = 'echo tested'\nwhen = { changed = ['nothing'] }\n\
         [task.release]\nrun = 'echo released'\nwhen = { tags = ['v*'] }\n",
    );
    let all = world.surveil_in(&repository.path, &["run"]).ok();
    assert!(all.contains("tested") && !all.contains("released"), "{all}");
    assert!(all.contains("release: left out (it does not run for branch main)"), "{all}");
    let named = world.surveil_in(&repository.path, &["run", "test"]).ok();
    assert!(named.contains("tested") && named.contains("released"), "{named}");
    repository.git(&["checkout", "--quiet", "--detach"]);
    let detached = world.surveil_in(&repository.path, &["run"]).ok();
    assert!(detached.contains("tested") && detached.contains("released"), "{detached}");
}

#[test]
fn a_check_warns_of_paths_that_no_file_has() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("src/a", "tracked");
    repository.commit_tasks(
        "[task.a]\nrun = 'true'\nwhen = { changed = ['src/**'] }\n\
         [task.b]\nrun = 'true'\nmatrix = { v = [1, 2] }\nwhen = { changed = ['scr/**', '*.lock'] }\n\
         [task.c]\nrun = 'true'\nwhen = { changed = ['new/*'] }\n",
    );
    repository.write("new/b", "not added yet");
    let checked = world.surveil_in(&repository.path, &["check"]);
    let told = "no file of the repository matches `changed` of task `b`: scr/**, *.lock\n";
    assert_eq!(checked.stderr.matches("no file of the repository").count(), 1, "{}", checked.stderr);
    assert!(checked.stderr.contains(told), "{}", checked.stderr);
    checked.ok();
}
