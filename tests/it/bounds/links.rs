//! C1, C3: lines that go dead without a word, and lines that are slow.

use crate::harness::{Link, World, job, until};

/// What passes in a second on the slow line. With the timeout below it is to a log's first bytes on the way what a line
/// of 8 kbit/s is with the usual timeout.
const SLOW: u64 = 16_000;

/// Sabotage tried: 64 KiB of a log on the way before the first answer; the runner is lost.
#[test]
fn a_chatty_task_behind_a_slow_line_is_not_lost_and_its_log_arrives_whole() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("seq 1 14000");
    let dispatcher = world.dispatcher(&["--heartbeat-interval=300ms", "--heartbeat-timeout=3s"]);
    let _observer = world.observer(&[&repository], &[]);
    let link = Link::new(&world, Some(SLOW));
    let _runner = world.runner("far", &["--dispatch", &link.address()]);
    let build = world.expect(&commit, "passed");
    assert_eq!(job(&build, "test").attempts.len(), 1, "{build:#?}");
    let expected: String = (1..=14_000).map(|n| format!("{n}\n")).collect();
    assert!(world.log_of(&build, "test") == expected, "the log is what was printed");
    assert!(!dispatcher.log().contains("lost"), "{}", dispatcher.log());
}

/// Both sides of a line that goes dead while nothing is to be said notice it, and nothing of it is left.
#[test]
fn a_line_that_goes_dead_is_noticed_by_both_sides() {
    let world = World::new();
    let repository = world.repository("app");
    let flags = ["--heartbeat-interval=300ms", "--heartbeat-timeout=1500ms"];
    let dispatcher = world.dispatcher(&flags);
    let commit = repository.commit_script("true");
    {
        let _observer = world.observer(&[&repository], &[]);
        world.build_that("is announced", |build| build.commit == commit);
    }
    until("all have left", || dispatcher.usage().threads < 20);
    let before = dispatcher.usage();
    let link = Link::new(&world, None);
    let far = ["--dispatch", &link.address()];
    let (observer, runner) = (world.observer(&[&repository], &far), world.runner("far", &far));
    world.expect(&commit, "passed");
    link.dies();
    runner.says("ended: no complete message within");
    observer.says("the dispatcher is silent; dialling again");
    dispatcher.says("its runner was silent for");
    // The runner's session and the observer's. (They dial again meanwhile, and it is a stranger that does not go on.)
    until("both are given up", || dispatcher.log().matches(" ended: no complete message within").count() >= 2);
    drop((observer, runner, link));
    dispatcher.is_back_to(before);
}
