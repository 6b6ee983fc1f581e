//! Tasks that take several slots of a runner.

use crate::harness::{World, job, text, until};

#[test]
fn a_task_of_two_slots_never_runs_beside_another_on_a_runner_of_two() {
    let world = World::new();
    let (tally, gate) = (world.tally("order"), world.gate("gate"));
    let repository = world.repository("app");
    let small = |name: &str, wait: &str| {
        format!(
            "[task.{name}]\nrun = '''\n{}\n{wait}\n{}\n'''\n",
            tally.add(&format!("{name} begins")),
            tally.add(&format!("{name} ends"))
        )
    };
    let commit = repository.commit_tasks(
        &[
            small("first", &gate.wait()),
            small("large", "true")
                .replace("run =", "slots = 2\nrun =")
                .replace("large begins", "large begins with $SURVEIL_SLOTS slots"),
            small("last", "true"),
        ]
        .concat(),
    );
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w1", &["--slots", "2"]);
    let _observer = world.observer(&[&repository], &[]);
    let why = || world.surveil(&["why", "b1"]).ok();
    tally.reaches(1);
    until("the runner is kept", || why().contains("it needs 2 slots, and w1 is kept for it until then: 1 is free"));
    assert!(why().contains("the free slots of w1 are kept for b1/large, which needs 2"), "{}", why());
    let runners = world.surveil(&["runners"]).ok();
    assert!(runners.contains("w1"), "{runners}");
    gate.open();
    let build = world.expect(&commit, "passed");
    assert_eq!(job(&build, "large").attempts.len(), 1);
    assert_eq!(
        tally.lines(),
        ["first begins", "first ends", "large begins with 2 slots", "large ends", "last begins", "last ends"]
    );
}

#[test]
fn a_task_that_needs_more_slots_than_the_runners_have_says_so() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_tasks("[task.huge]\nslots = 8\nrun = 'true'\n");
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w1", &["--slots", "2"]);
    let _observer = world.observer(&[&repository], &[]);
    world.build_that("is there", |_| true);
    let wanted = "no connected runner that fits has 8 slots, the largest has 2";
    until("it is told", || world.surveil(&["why", "b1"]).ok().contains(wanted));
    let build = world.build_that("is there", |_| true);
    assert_eq!(job(&build, "huge").slots, Some(8));
    let shown = world.surveil(&["show", "b1"]).ok();
    assert!(shown.contains("queued     huge  takes 8 slots"), "{shown}");
}

#[test]
fn up_says_at_once_that_a_task_takes_more_slots_than_its_runner_has() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_tasks("[task.huge]\nslots = 64\nrun = 'true'\n[task.small]\nrun = 'true'\n");
    let up = world.start("up", &["up", text(&repository.path), "--port=0", "--slots=2"]);
    up.says("b1 huge: waits for a runner with 64 slots; the one of this process has 2 slots");
    up.says("to run it here: `surveil up` with `--slots 64`, or fewer `slots` in the task");
    up.says("b1 small: passed");
}
