//! Old builds are removed with their logs and sources, and nothing else is.

use std::fs;

use crate::harness::{Process, Repository, World, job, until};

/// The number of builds that are kept even if they exceed the limits.
const ALWAYS_KEPT: usize = 10;

fn roles(world: &World, repository: &Repository, more: &[&str]) -> [Process; 3] {
    [world.dispatcher(more), world.observer(&[repository], &[]), world.runner("w1", &[])]
}

/// Builds with a log each, in order.
fn builds(world: &World, repository: &Repository, count: usize) -> Vec<String> {
    let script = |number: usize| format!("echo {number}");
    (0..count).map(|number| world.expect(&repository.commit_script(&script(number)), "passed").commit).collect()
}

/// Sabotage: with the newest of a branch not kept, the head's build goes too and is missed below.
#[test]
fn what_is_beyond_the_limits_goes_with_its_logs_and_says_so() {
    let world = World::new();
    let repository = world.repository("app");
    let gate = world.gate("gate");
    let [dispatcher, observer, _runner] = roles(&world, &repository, &[]);
    let commits = builds(&world, &repository, ALWAYS_KEPT + 3);
    // An unfinished build, which is not counted.
    let held = repository.commit_script(&gate.wait());
    world.build_that("runs", |build| build.commit == held && build.state == "running");
    let logs = world.data().join("logs/app");
    assert_eq!(fs::read_dir(&logs).unwrap().count(), ALWAYS_KEPT + 3);
    // The state after a crash between the records and the files.
    fs::create_dir(logs.join("b777")).unwrap();
    fs::write(logs.join("b777/test.1.log"), "left").unwrap();
    dispatcher.kill();

    let dispatcher = world.dispatcher(&["--keep-builds=1"]);
    dispatcher.says("removed 3 builds of app, b1 to b3, beyond the newest of --keep-builds: 6 bytes of logs freed");
    dispatcher.says("deleted the logs of 1 builds");
    let left: Vec<u64> = world.builds().iter().map(|build| build.build).collect();
    assert_eq!(left, (4..=14).collect::<Vec<u64>>());
    assert_eq!(fs::read_dir(&logs).unwrap().count(), ALWAYS_KEPT);
    for command in ["show", "why", "logs"] {
        let gone = world.surveil(&[command, "b2"]).error(6);
        assert!(gone.contains("was removed today") && gone.contains("--keep-builds"), "{gone}");
    }
    let never = world.surveil(&["show", "b99"]).error(6);
    assert!(never.contains("no build"), "{never}");
    assert_eq!(world.surveil(&["logs", &commits[3]]).ok(), "3\n");
    gate.open();
    world.expect(&held, "passed");
    // Numbers go on, and the branch's head is still known.
    assert_eq!(world.expect(&repository.commit_script("true"), "passed").build, 15);
    assert_eq!(job(&world.finished(&held), "test").attempts.len(), 1);
    observer.says("b15 app main");
}

#[test]
fn builds_go_by_age_and_by_the_size_of_their_logs() {
    let world = World::new();
    let repository = world.repository("app");
    let [dispatcher, _observer, _runner] = roles(&world, &repository, &[]);
    builds(&world, &repository, ALWAYS_KEPT + 2);
    dispatcher.kill();
    // Each build has printed two bytes, or three.
    let dispatcher = world.dispatcher(&["--keep-logs=25B"]);
    dispatcher.says("removed 1 build of app, b1, too much for --keep-logs: 2 bytes of logs freed");
    dispatcher.kill();
    let dispatcher = world.dispatcher(&["--keep-for=1ms"]);
    dispatcher.says("removed 1 build of app, b2, too old for --keep-for: 2 bytes of logs freed");
    dispatcher.kill();
    // The remaining builds are always kept, and a command says so.
    let _dispatcher = world.dispatcher(&["--keep-logs=5B", "--keep-for=never", "--keep-builds=0"]);
    until("status tells of it", || world.status().warnings.iter().any(|text| text.contains("--keep-logs")));
    assert_eq!(world.builds().len(), ALWAYS_KEPT);
}
