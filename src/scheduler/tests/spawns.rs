//! Stories of runners that the dispatcher starts: when, in which pool, and what becomes of a start that fails.

use super::*;

/// Pools p0 and p1, which offer these labels.
fn with_pools(max: u32, labels: [&str; 2]) -> Story {
    let pool =
        |(id, label): (u64, &str)| Pool { id: PoolId(id), labels: vec![Label::new(label).unwrap()], slots: 1, max };
    let pools = (0..).zip(labels).map(pool).collect();
    Story { scheduler: Scheduler::new(Policy { pools, ..policy() }), ..Story::new() }
}

impl Story {
    fn join_spawned(&mut self, session: u64, name: &str, spawn: Option<u64>, labels: &[&str]) -> Vec<String> {
        self.tell(Event::RunnerJoined(RunnerJoined {
            labels: labels.iter().map(|label| Label::new(label).unwrap()).collect(),
            spawned: spawn.is_some(),
            spawn: spawn.map(SpawnId),
            ..joined(session, name, 1)
        }))
    }

    fn fail(&mut self, spawn: u64) -> Vec<String> {
        self.tell(Event::SpawnFailed { spawn: SpawnId(spawn), why: "no memory".into() })
    }
}

#[test]
fn work_without_a_runner_starts_one_here() {
    let mut story = with_pools(1, ["os=linux", "none"]);
    story.observe("app", None, 1, vec![labelled("a", &["os=linux"]), labelled("b", &["gpu"])]);
    assert_eq!(story.tick_until(5_000), ["spawn n1 in p0"]);
    assert_eq!(story.tick_until(10_500), ["spawn n2 in p0"], "the first has not joined");
}

/// Fails without the delay: a start that fails at once is tried again with each tick.
#[test]
fn a_start_that_failed_is_tried_again_later_and_later() {
    let mut story = with_pools(1, ["linux", "none"]);
    story.observe("app", None, 1, vec![labelled("a", &["linux"])]);
    assert_eq!(story.tick_until(500), ["spawn n1 in p0"]);
    for (spawn, delay) in [(1, 1_000), (2, 2_000), (3, 4_000)] {
        let failed = story.now.0;
        assert!(story.fail(spawn).is_empty());
        assert!(story.tick_until(failed + delay - 250).is_empty(), "after failure {spawn}");
        assert_eq!(story.tick_until(failed + delay), [format!("spawn n{} in p0", spawn + 1)]);
    }
    let ended = story.now.0;
    story.tell(Event::SpawnGone { spawn: SpawnId(4) });
    assert!(story.tick_until(ended + 7_750).is_empty(), "a process that ended before it joined is a failure too");
    assert_eq!(story.tick_until(ended + 8_000), ["spawn n5 in p0"]);
    story.join_spawned(1, "w1", Some(5), &["linux"]);
    story.finish(1, 1, Outcome::Passed);
    story.tell(Event::SpawnGone { spawn: SpawnId(5) });
    story.close(1);
    story.observe("app", Some(1), 2, vec![labelled("a", &["linux"])]);
    let queued = story.now.0;
    assert_eq!(story.tick_until(queued + 500), ["spawn n6 in p0"], "all is well again since one has joined");
}

#[test]
fn a_runner_that_joins_by_itself_answers_no_request() {
    let mut story = with_pools(1, ["linux", "none"]);
    story.observe("app", None, 1, vec![labelled("a", &["linux"])]);
    assert_eq!(story.tick_until(500), ["spawn n1 in p0"]);
    story.join_spawned(1, "other", None, &["gpu"]);
    story.join_spawned(2, "stranger", Some(77), &["gpu"]);
    story.tick_until(1_000);
    story.close(1);
    story.close(2);
    story.fail(1);
    assert_eq!(story.tick_until(2_000), ["spawn n2 in p0"], "the request was open until it failed");
}

#[test]
fn of_two_requests_the_second_may_be_answered_first() {
    let mut story = with_pools(1, ["linux", "gpu"]);
    story.observe("app", None, 1, vec![labelled("a", &["linux"]), labelled("b", &["gpu"])]);
    assert_eq!(story.tick_until(500), ["spawn n1 in p0", "spawn n2 in p1"]);
    story.join_spawned(1, "w1", Some(2), &["gpu"]);
    assert!(story.tick_until(1_000).is_empty());
    story.fail(1);
    assert_eq!(story.tick_until(2_000), ["spawn n3 in p0"], "it was the first that failed");
    let lines = story.join_spawned(2, "w2", Some(3), &["linux"]);
    assert!(lines.contains(&"> s2 lease a2".to_owned()), "{lines:?}");
}

#[test]
fn a_pool_starts_no_more_runners_than_it_may() {
    let mut story = with_pools(1, ["linux", "none"]);
    story.observe("app", None, 1, vec![labelled("a", &["linux"])]);
    story.tick_until(500);
    // It joins with other labels than the pool promised.
    story.join_spawned(1, "w1", Some(1), &["other"]);
    for second in 1..30 {
        story.ping(1, &[]);
        assert!(story.tick_until(second * 1_000).is_empty());
    }
    // It comes back on another connection and still belongs to the pool.
    story.join_spawned(2, "w1", Some(1), &["other"]);
    assert!(story.tick_until(32_000).is_empty());
    story.close(2);
    assert_eq!(story.tick_until(33_000), ["spawn n2 in p0"]);
}
