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
