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
    let several = world.surveil(&["why", "b1", "test"]).error(6);
    assert!(several.contains("it is a matrix: name one of test@one,1, test@two-three,1"), "{several}");

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
    assert!(checked.contains("\n  never  needs test@…"), "{checked}");
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
