//! Stories of runners: they join and leave, and get jobs.

use super::*;

#[test]
fn two_processes_of_one_name_are_told_apart() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    assert_eq!(story.join_as(2, "w1", 2, 1, &[], &[]), ["> s2 name taken", "> close s2"]);
    assert_eq!(story.join_as(3, "w1", 1, 1, &[], &[]), ["> close s1", "> s3 registered, holds [], gone []"]);
    assert!(story.close(1).is_empty());
}

#[test]
fn a_registration_that_was_overtaken_by_a_newer_one_says_nothing() {
    let mut story = Story::new();
    story.join(2, "w1", 1);
    story.observe("app", None, 1, vec![task("a")]);
    assert_eq!(story.join(1, "w1", 1), ["> close s1"]);
    story.close(2);
    assert_eq!(story.join(1, "w1", 1), ["> close s1"], "also when the newer one is closed again");
    assert_eq!(story.join_as(3, "w1", 1, 1, &[], &[1]), ["> s3 registered, holds [a1], gone []"]);
}

#[test]
fn a_restarted_runner_loses_what_it_does_not_hold_any_more() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a")]);
    story.close(1);
    assert_eq!(
        story.join_as(2, "w1", 2, 1, &[], &[]),
        [
            "> s2 registered, holds [], gone []",
            "a1 lost (runner_restarted)",
            "j1 queued",
            "j1 leased to r1 as a2 (number 2)",
            "> s2 lease a2"
        ]
    );
}

#[test]
fn labels_keep_a_job_waiting_and_never_hold_up_others() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    let lines = story.observe("app", None, 1, vec![labelled("a", &["gpu"]), task("b")]);
    assert!(lines.contains(&"> s1 lease a1".to_owned()), "{lines:?}");
    let reasons = story.scheduler.explain(story.now, BuildId(1));
    assert_eq!(reasons[0].1, JobStatus::NoRunnerFits { waited_ms: 0, fit: no_gpu() });
    assert_eq!(
        story.join_as(2, "w2", 1, 1, &["gpu"], &[]),
        ["> s2 registered, holds [], gone []", "j1 leased to r2 as a2 (number 1)", "> s2 lease a2"]
    );
}

#[test]
fn a_job_that_no_runner_ever_fits_is_errored_and_says_why() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![labelled("a", &["gpu"])]);
    story.now = Moment(3_600_000);
    assert_eq!(story.tell(Event::LeaseCheck), ["j1 errored (no_runner_fits)", "b1 errored"]);
}

#[test]
fn only_the_time_without_a_runner_that_fits_counts_towards_the_queue_timeout() {
    let mut story = Story::new();
    story.scheduler = Scheduler::new(Policy { queue_timeout_ms: 10_000, ..policy() });
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a"), task("b")]);
    for second in 1..60 {
        story.ping(1, &[1]);
        assert!(story.tick_until(second * 1_000).is_empty(), "b waits for a slot, which is no reason to give it up");
    }
    story.close(1);
    assert_eq!(story.tick_until(60_000), ["a1 lost (connection_closed)", "j1 queued"]);
    assert!(story.tick_until(68_750).is_empty());
    assert_eq!(story.tick_until(70_000), ["j1 errored (no_runner_fits)", "j2 errored (no_runner_fits)", "b1 errored"]);
}

#[test]
fn repositories_share_fairly() {
    let mut story = Story::new();
    story.join(1, "w1", 2);
    story.observe("big", None, 1, vec![task("a"), task("b"), task("c"), task("d")]);
    story.observe("small", None, 1, vec![task("a")]);
    let lines = story.finish(1, 1, Outcome::Passed);
    assert!(lines.contains(&"j5 leased to r1 as a3 (number 1)".to_owned()), "{lines:?}");
}

#[test]
fn a_warm_runner_is_preferred() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a")]);
    story.finish(1, 1, Outcome::Passed);
    story.join(2, "w2", 8);
    let lines = story.observe("app", Some(1), 2, vec![task("a")]);
    assert!(lines.contains(&"> s1 lease a2".to_owned()), "{lines:?}");
}

#[test]
fn a_draining_runner_gets_nothing_new() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.tell(Event::RunnerDraining { session: SessionId(1) });
    let lines = story.observe("app", None, 1, vec![task("a")]);
    assert_eq!(lines, ["build b1 added with 1 jobs", "> accepted as b1"]);
}

/// A restarted dispatcher learns it from the registration, before it leases anything to the runner.
#[test]
fn a_runner_that_drains_says_so_when_it_joins() {
    let mut story = Story::new();
    story.observe("app", None, 1, vec![task("a")]);
    let lines = story.join_draining(1, "w1", 1);
    assert_eq!(lines, ["> s1 registered, holds [], gone []"]);
}

/// Fails without the wait: each job for which a runner is being started is a warning.
#[test]
fn an_operator_is_warned_of_jobs_that_no_runner_fits_and_of_runners_that_get_none() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![labelled("a", &["gpu"]), labelled("b", &["gpu"]), task("c")]);
    let concerns = |story: &Story, ms: u64| story.scheduler.concerns(Moment(ms));
    assert_eq!(concerns(&story, 5_000), []);
    assert_eq!(concerns(&story, 10_000), [Concern::NoRunnerFits(no_gpu())]);
    story.finish(1, 1, Outcome::Lost("no room".into()));
    let resting = concerns(&story, 500);
    let runner = RunnerName::recorded("w1");
    assert_eq!(resting, [Concern::RunnerRests { runner, rest_ms: 500, quarantine: None }]);
}

fn no_gpu() -> MissingFit {
    MissingFit::Labels { labels: vec![Label::new("gpu").unwrap()] }
}
