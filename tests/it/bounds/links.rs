//! C1, C3: links that go dead without an end or a reset, and slow links.

use crate::harness::{Link, World, job, until};

/// Bytes that pass in a second on the slow link. With the timeout below, the link is as slow for the first bytes of a
/// log as a link of 8 kbit/s is with the usual timeout.
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

/// Both sides of a link notice that it went dead while idle, and no thread or descriptor of it is left.
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
    // The sessions of the runner and of the observer. (They dial again meanwhile, as unauthenticated connections that
    // stay silent.)
    until("both are given up", || dispatcher.log().matches(" ended: no complete message within").count() >= 2);
    drop((observer, runner, link));
    dispatcher.is_back_to(before);
}
