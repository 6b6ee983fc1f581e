//! A matrix, over the three roles and on one machine.

use serde_json::json;

use crate::harness::{Wire, World, job};

const TASKS: &str = r#"
[defaults]
timeout = "1m"
[template.words]
env = { WORD = "${matrix.word}" }
[task.test]
extends = ["words"]
matrix = { word = ["one", "two three", "'$(exit 9)"], n = [1, 2] }
matrix_exclude = [{ word = "one", n = 2 }]
run = '''
echo "$WORD|$MATRIX_WORD|$MATRIX_N|$SURVEIL_TASK"
[ "$MATRIX_WORD" != one ]
'''
[task.after]
needs = ["test@two-three,1"]
run = "true"
[task.never]
needs = ["test"]
run = "true"
"#;

#[test]
fn a_matrix_is_built_cell_by_cell_and_shown_as_one_line() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(TASKS);
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "failed");
    let tasks: Vec<&str> = build.jobs.iter().map(|job| &*job.task).collect();
    let cells = ["test@one,1", "test@two-three,1", "test@two-three,2", "test@---exit-9-,1", "test@---exit-9-,2"];
    assert_eq!((&tasks[..5], &tasks[5..]), (&cells[..], &["after", "never"][..]));
    assert_eq!((&*job(&build, "after").state, &*job(&build, "never").state), ("passed", "skipped"));
    assert_eq!(world.log_of(&build, "test@two-three,1"), "two three|two three|1|test@two-three,1\n");
    assert_eq!(world.log_of(&build, "test@---exit-9-,2"), "'$(exit 9)|'$(exit 9)|2|test@---exit-9-,2\n");

    let shown = world.surveil(&["show", "b1"]).ok();
    assert!(shown.contains("\n  failed     test@…      4 passed, 1 failed\n  failed     test@one,1  "), "{shown}");
    assert!(!shown.contains("test@two-three"), "{shown}");
    let whole = world.surveil(&["show", "b1", "test"]).ok();
    assert!(cells.iter().all(|cell| whole.contains(cell)) && !whole.contains("never"), "{whole}");
    assert!(world.surveil(&["show", "b1/test@two-three,2"]).ok().contains("passed     test@two-three,2"));
    let unknown = world.surveil(&["show", "b1", "test@three,1"]).error(6);
    assert!(unknown.contains("it has test@one,1, test@two-three,1"), "{unknown}");
    let status = world.surveil(&["status"]).ok();
    assert!(status.contains("test@one,1 failed "), "{status}");
    let why = world.surveil(&["why", "b1", "test"]).ok();
    assert!(why.contains("  b1/test@one,1: attempt 1 on w1: failed (exit code 1)\n"), "{why}");
    assert!(why.contains("  b1/test@") && !why.contains("b1/never") && !why.contains("b1/after"), "{why}");
    let whole = world.surveil(&["why", "b1", "test", "--format", "json"]).ok();
    assert!(cells.iter().all(|cell| whole.contains(&format!(r#""task":"{cell}""#))), "{whole}");

    // Orders take the name for all cells.
    let done = world.surveil(&["cancel", "b1/test"]).ok();
    assert_eq!(done, "build b1: all cells of test are finished already, nothing was cancelled\n");
    let again = |arguments: &[&str], expected: &str, attempts: [usize; 7]| {
        assert_eq!(world.surveil(arguments).ok(), format!("build b1: {expected}\n"));
        world.build_that(expected, |build| {
            build.finished_ms.is_some() && build.jobs.iter().map(|job| job.attempts.len()).eq(attempts)
        });
    };
    let failed = "1 cell of test will run again, and 1 job that depends on it";
    again(&["rerun", "b1/test", "--failed"], failed, [2, 1, 1, 1, 1, 1, 0]);
    again(&["rerun", "b1/test@two-three,2"], "test@two-three,2 will run again", [2, 1, 2, 1, 1, 1, 0]);
    let all = "5 cells of test will run again, and 1 job that depends on them";
    again(&["rerun", "b1/test"], all, [3, 2, 3, 2, 2, 1, 0]);
}

const DEPLOYMENTS: &str = r#"
[task.deploy]
matrix = { to = ["eu", "us", "asia"] }
manual = true
inputs = { version = { description = "version to deploy" } }
run = 'echo "$version to $MATRIX_TO"'
[task.tell]
needs = ["deploy"]
inputs = { whom = { default = "all" } }
run = 'echo "to $whom"'
"#;

/// The commands about a task take the name of a matrix for its cells.
#[test]
fn the_cells_of_a_matrix_are_started_explained_and_read_by_its_name() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(DEPLOYMENTS);
    let _roles = world.roles(&[&repository]);
    world.expect(&commit, "passed");
    let why = world.surveil(&["why", "b1", "deploy"]).ok();
    assert!(why.starts_with("now b1/deploy@…: held until somebody starts it (3 cells)\n"), "{why}");
    let none = world.surveil(&["logs", "b1", "deploy"]).error(6);
    assert!(none.contains("no cell of deploy of build b1 has been attempted: see `surveil why b1 deploy`"), "{none}");

    // Nothing starts if one of them cannot.
    let missing = world.surveil(&["start", "b1", "deploy"]).error(7);
    assert!(missing.contains("deploy@eu of build b1 needs a value for version"), "{missing}");
    let unknown = world.surveil(&["start", "b1", "deploy", "--set", "version=1", "--set", "x=1"]).error(7);
    assert!(unknown.contains("deploy of build b1 takes no input `x`"), "{unknown}");
    let one = world.surveil(&["start", "b1", "deploy@us", "--set", "version=1"]).ok();
    assert_eq!(one, "build b1: deploy@us is started\n");
    let rest = world.surveil(&["start", "b1/deploy", "--set", "version=2", "--set", "whom=ann"]).ok();
    assert_eq!(rest, "build b1: 2 of 3 cells of deploy are started\n");
    let followed = world.surveil(&["logs", "-f", "b1", "deploy"]).ok();
    let mut lines: Vec<&str> = followed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["deploy@asia | 2 to asia", "deploy@eu   | 2 to eu", "deploy@us   | 1 to us"]);
    let build = world.build_that("all passed", |build| build.jobs.iter().all(|job| job.state == "passed"));
    assert_eq!(world.log_of(&build, "tell"), "to ann\n");

    let printed = world.surveil(&["logs", "b1/deploy"]).ok();
    let mut again: Vec<&str> = printed.lines().collect();
    again.sort_unstable();
    assert_eq!(again, lines, "without the log of the task that needs them");
    let several = world.surveil(&["logs", "b1", "deploy", "--attempt", "1"]).error(6);
    assert!(several.contains("name one of deploy@eu, deploy@us, deploy@asia"), "{several}");
    assert_eq!(world.surveil(&["logs", "b1", "deploy@us"]).ok(), "1 to us\n");
    let over = world.surveil(&["start", "b1", "deploy", "--set", "version=3"]).error(7);
    assert!(over.contains("deploy@eu of build b1 is not held"), "{over}");
}

#[test]
fn a_matrix_or_one_cell_of_it_runs_on_this_machine() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_tasks(TASKS);
    let one = world.surveil_in(&repository.path, &["run", "test@two-three,2"]).ok();
    assert!(one.contains("two three|two three|2|test@two-three,2\n") && !one.contains("one|"), "{one}");
    let all = world.surveil_in(&repository.path, &["run", "test"]).with_code(1);
    assert_eq!(all.lines().filter(|line| line.contains("|test@")).count(), 5, "{all}");
    let unknown = world.surveil_in(&repository.path, &["run", "test@one,2"]).error(2);
    assert!(unknown.contains("(tasks: test@one,1, test@two-three,1,"), "{unknown}");
    let checked = world.surveil_in(&repository.path, &["check"]).ok();
    assert!(checked.contains("\n  test@…  5 cells"), "{checked}");
    assert!(checked.contains("\n  never  needs test@…"), "{checked}");
    let each = world.surveil_in(&repository.path, &["check", "--cells"]).ok();
    assert_eq!(each.lines().filter(|line| line.starts_with("  test@")).count(), 5, "{each}");
}

/// A runner of an earlier version refuses a name with `@`, so it hears another one.
#[test]
fn a_runner_that_does_not_take_cells_gets_them_under_a_plain_name() {
    for (register, name) in [(json!(false), "test.a-b-1"), (json!(true), "test@a-b,1")] {
        let world = World::new();
        let _dispatcher = world.dispatcher(&[]);
        let repository = world.repository("app");
        repository.commit_tasks("[task.test]\nmatrix = { s = ['a/b'], n = [1] }\nrun = 'true'\n");
        let _observer = world.observer(&[&repository], &[]);
        let mut runner = Wire::greet(&world, "runner", "raw");
        let register = json!({"type": "register", "slots": 1, "isolation": "subreaper", "takes_cells": register});
        assert_eq!(runner.ask(&register)["type"], "registered");
        assert_eq!(runner.hear()["task"]["name"], name);
    }
}
