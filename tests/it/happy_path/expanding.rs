//! Tasks that a task of a build writes: they join the build.

use crate::harness::{World, job};

/// A task file whose task `plan` writes two tasks, one for each directory below `packages`.
const MONOREPO: &str = r#"
[task.plan]
expand = true
run = '''
for package in packages/*; do
    name=$(basename "$package")
    printf '[task.%s]\ndir = "%s"\nrun = "cat name; echo $SURVEIL_TASK"\n' "$name" "$package"
done > "$SURVEIL_TASKS"
printf '[task.report]\nneeds = ["core", "web"]\nrun = "echo all of them"\n' >> "$SURVEIL_TASKS"
'''

[task.lint]
needs = ["plan"]
run = 'echo ${SURVEIL_TASKS-none}'
"#;

#[test]
fn the_tasks_of_a_monorepo_join_the_build_and_are_there_after_a_restart() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("packages/core/name", "the core\n");
    repository.write("packages/web/name", "the web\n");
    let commit = repository.commit_tasks(MONOREPO);
    let [dispatcher, _observer, _runner] = world.roles(&[&repository]);
    let build = world.expect(&commit, "passed");
    let tasks: Vec<&str> = build.jobs.iter().map(|job| &*job.task).collect();
    assert_eq!(tasks, ["plan", "lint", "plan/core", "plan/web", "plan/report"]);
    assert_eq!(world.log_of(&build, "plan/core"), "the core\nplan/core\n");
    assert_eq!(world.log_of(&build, "lint"), "none\n");
    assert_eq!(job(&build, "plan/report").needs, ["plan", "plan/core", "plan/web"]);
    let why = world.surveil(&["why", "b1", "plan"]).ok();
    assert!(why.contains("3 tasks that it wrote joined the build"), "{why}");

    dispatcher.kill();
    let _dispatcher = world.dispatcher(&[]);
    world.surveil(&["rerun", "b1"]).ok();
    let again = world.build_that("has run again", |build| {
        build.finished_ms.is_some() && job(build, "plan/report").attempts.len() == 2
    });
    assert_eq!((again.jobs.len(), &*again.state), (5, "passed"), "a rerun runs them again, and takes no second file");
    let logs = world.surveil(&["logs", "b1/plan/web"]).ok();
    assert_eq!(logs, "the web\nplan/web\n");

    let address = world.address().to_string();
    let text = world.surveil_in(&repository.path, &["plan", "--dispatch", &address]).ok();
    let begin = |line: &str| line.split_whitespace().take(4).map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> =
        text.lines().map(begin).filter(|row| row.first().is_some_and(|it| it == "may")).collect();
    let expected = ["plan/core", "plan/report", "plan/web"].map(|task| ["may", "join", task, "plan"]);
    assert_eq!(rows, expected, "{text}");
    let report = world.surveil_in(&repository.path, &["plan", "--json", "--dispatch", &address]).ok();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["written"][2]["task"], &report["written"][2]["writer"]), (&"plan/web".into(), &"plan".into()));
    assert!(report["written"][2]["median_ms"].is_u64() && report["expected_ms"].is_u64(), "{report}");
}

/// A task file whose task `plan` writes manual tasks, and tasks with inputs.
const RELEASES: &str = r#"
[task.plan]
expand = true
run = """
cat > "$SURVEIL_TASKS" <<'END'
[task.build]
run = 'echo "$version"'
inputs = { version = { default = "0" } }
[task.deploy]
manual = true
run = 'echo "to $place"'
inputs = { place = {} }
[task.verify]
needs = ["deploy"]
run = "true"
[task.publish]
manual = true
when = { tags = ["v*"] }
run = "true"
[task.tell]
needs = ["publish"]
run = "echo told"
[task.roll-back]
manual = true
needs = ["build"]
run_if = "failed"
run = "true"
[task.after]
needs = ["roll-back"]
run = "true"
END
"""
"#;

#[test]
fn values_reach_tasks_that_a_task_wrote_and_a_manual_one_that_is_left_out_holds_nothing() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(RELEASES);
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w1", &[]);
    world.surveil_in(&repository.path, &["submit", "--wait", "--set", "version=2 $(x)"]).ok();
    let build = world.finished(&commit);
    let states: Vec<(&str, &str)> = build.jobs.iter().map(|job| (&*job.task, &*job.state)).collect();
    let expected = [
        ("plan", "passed"),
        ("plan/build", "passed"),
        ("plan/deploy", "held"),
        ("plan/verify", "held"),
        ("plan/publish", "left_out"),
        ("plan/tell", "passed"),
        // It was held until `plan/build` passed, and what needs it with it.
        ("plan/roll-back", "left_out"),
        ("plan/after", "passed"),
    ];
    assert_eq!(states, expected);
    assert_eq!(world.log_of(&build, "plan/build"), "2 $(x)\n");
    assert_eq!(job(&build, "plan/build").inputs["version"], "2 $(x)");

    let error = world.surveil(&["start", "b1", "plan/deploy"]).error(7);
    assert!(error.contains("plan/deploy of build b1 needs a value for place"), "{error}");
    world.surveil(&["start", "b1", "plan/deploy", "--set", "place=lab"]).ok();
    let build = world.build_that("has deployed", |build| job(build, "plan/verify").state == "passed");
    assert_eq!(world.log_of(&build, "plan/deploy"), "to lab\n");

    let text = world.surveil_in(&repository.path, &["run"]).ok();
    for line in [
        "plan/tell: passed",
        "plan/publish: left out",
        "plan/after: passed",
        "plan/deploy: held (a task that a task wrote is started in a build of a dispatcher)\n",
        "plan/verify: held (needs plan/deploy)\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn paths_of_written_tasks_are_compared_with_the_branch_from_which_a_new_one_comes() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_tasks(
        "[task.plan]\nexpand = true\nrun = \"\"\"\ncat > \"$SURVEIL_TASKS\" <<'END'\n\
         [task.code]\nrun = 'true'\nwhen = { changed = ['src/**'] }\n\
         [task.docs]\nrun = 'true'\nwhen = { changed = ['docs/**'] }\nEND\n\"\"\"\n",
    );
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w1", &[]);
    let _observer = world.observer(&[&repository], &["--branch", "*"]);
    world.expect(&first, "passed");
    // The branch appears with both commits: the observer sees none between them.
    repository.git(&["checkout", "--quiet", "--detach"]);
    repository.write("other", "");
    repository.commit("other");
    repository.write("docs/index", "1");
    let third = repository.commit("documented");
    repository.git(&["branch", "topic"]);
    let build = world.expect(&third, "passed");
    let states: Vec<(&str, &str)> = build.jobs.iter().map(|job| (&*job.task, &*job.state)).collect();
    assert_eq!(states, [("plan", "passed"), ("plan/code", "left_out"), ("plan/docs", "passed")]);
    let why = world.surveil(&["why", &format!("b{}", build.build)]).ok();
    assert!(why.contains(&format!("docs/index changed since {} passed (b1)", &first[..7])), "{why}");
}

#[test]
fn a_mistake_in_what_a_task_wrote_makes_it_errored_with_its_place() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.typo]\nexpand = true\nrun = 'printf \"[task.a]\\nrun = 1\\n\" > \"$SURVEIL_TASKS\"'\n\
         [task.deeper]\nexpand = true\nrun = 'printf \"[task.a]\\nrun = \\\"x\\\"\\nexpand = true\\n\" > \"$SURVEIL_TASKS\"'\n\
         [task.none]\nexpand = true\nrun = 'true'\n\
         [task.fails]\nexpand = true\nallow_failure = true\n\
         run = 'printf \"[task.a]\\nrun = \\\"x\\\"\\n\" > \"$SURVEIL_TASKS\"; exit 3'\n",
    );
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "errored");
    assert_eq!(build.jobs.len(), 4, "nothing joined");
    let detail = |task: &str| job(&build, task).detail.clone().unwrap_or_default();
    assert!(detail("typo").contains("SURVEIL_TASKS:2:7: "), "{}", detail("typo"));
    assert!(detail("deeper").contains("SURVEIL_TASKS:3:1: `expand` cannot stand in a file that a task wrote"));
    assert_eq!((&*job(&build, "none").state, &*job(&build, "fails").state), ("passed", "failed"));
    assert_eq!(job(&build, "typo").reason_code.as_deref(), Some("broken_tasks"));
    let why = world.surveil(&["why", "b1", "typo"]).ok();
    let told = "  b1/typo: the tasks that it wrote have a mistake: SURVEIL_TASKS:2:7: ";
    assert!(why.contains(told) && why.contains("\n      |\n    2 | run = 1\n"), "{why}");
    let shown = world.surveil(&["show", "b1"]).ok();
    assert!(shown.contains("SURVEIL_TASKS:2:7: ") && shown.contains("\n        |\n      2 | run = 1\n"), "{shown}");
}

#[test]
fn tasks_that_a_task_wrote_run_without_a_server_too() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("packages/core/name", "the core\n");
    repository.write("packages/web/name", "the web\n");
    repository.commit_tasks(MONOREPO);
    let text = world.surveil_in(&repository.path, &["run"]).ok();
    for line in ["plan/core: passed", "plan/web: passed", "plan/report: passed", "lint: passed", "the web"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let text = world.surveil_in(&repository.path, &["check"]).ok();
    assert!(text.contains("plan  may write further tasks"), "{text}");
    repository.write(".surveil.toml", "[task.plan]\nexpand = true\nrun = 'echo \"[tusk.a]\" > \"$SURVEIL_TASKS\"'\n");
    let text = world.surveil_in(&repository.path, &["run"]).with_code(3);
    assert!(text.contains("SURVEIL_TASKS:1:2: unknown key `tusk`"), "{text}");
}
