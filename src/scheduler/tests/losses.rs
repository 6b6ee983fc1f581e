//! Stories of losses: silence, closed connections, leases that run out, restarts, and what must not be lost by them.

use super::*;

#[test]
fn a_closed_connection_changes_nothing_within_the_window_and_loses_the_attempt_after_it() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("test")]);
    story.at(1_000).close(1);
    assert!(story.tick_until(1_400).is_empty());
    assert_eq!(story.join_as(2, "w1", 1, 1, &[], &[1]), ["> s2 registered, holds [a1], gone []"]);
    story.close(2);
    story.join(3, "w2", 1);
    assert_eq!(
        story.tick_until(2_250),
        ["a1 lost (connection_closed)", "j1 queued", "j1 leased to r2 as a2 (number 2)", "> s3 lease a2"]
    );
    assert_eq!(story.join_as(4, "w1", 1, 1, &[], &[1]), ["> s4 registered, holds [], gone [AttemptId1]"]);
    assert_eq!(story.finish(4, 1, Outcome::Passed), ["a1 late", "> s4 stale a1"]);
    assert_eq!(story.finish(3, 2, Outcome::Passed), ["a2 passed", "j1 passed", "b1 passed", "> s3 recorded a2"]);
}

/// Sabotage tried: the runner is not asked for; another one is told that its result is recorded.
#[test]
fn a_repeated_result_is_recorded_for_its_own_runner_only() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("test")]);
    story.finish(1, 1, Outcome::Passed);
    assert_eq!(story.finish(1, 1, Outcome::Passed), ["> s1 recorded a1"]);
    story.join(2, "w2", 1);
    assert_eq!(story.finish(2, 1, Outcome::Failed(1)), ["a1 late", "> s2 stale a1"]);
    assert_eq!(story.ping(2, &[1]), ["> s2 gone [AttemptId(1)]"]);
}

#[test]
fn a_silent_runner_is_lost_after_the_timeout_and_a_pinging_one_is_not() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.join(2, "w2", 1);
    story.observe("app", None, 1, vec![task("a"), task("b")]);
    for second in 1..15 {
        story.tick_until(second * 1_000);
        story.ping(2, &[2]);
    }
    let lines = story.tick_until(16_000);
    assert_eq!(lines, ["> close s1", "a1 lost (silent)", "j1 queued"]);
}

#[test]
fn a_lease_that_pings_do_not_name_runs_out() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a")]);
    for second in 1..15 {
        story.tick_until(second * 1_000);
        story.ping(1, &[]);
    }
    story.ping(1, &[]);
    assert_eq!(
        story.tick_until(15_500),
        ["a1 lost (lease_expired)", "j1 queued", "j1 leased to r1 as a2 (number 2)", "> s1 lease a2"]
    );
}

#[test]
fn a_job_is_not_leased_once_more_to_a_runner_that_is_about_to_be_lost() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a")]);
    // It is heard a little after the lease was given, so that the lease runs out before the silence is long enough.
    story.tick_until(400);
    story.tell(Event::AttemptStarted { session: SessionId(1), attempt: AttemptId(1) });
    assert_eq!(story.tick_until(16_000), ["a1 lost (lease_expired)", "j1 queued", "> close s1"]);
}

#[test]
fn a_job_that_kills_its_runners_is_given_up() {
    let mut story = Story::new();
    story.observe("app", None, 1, vec![task("bomb")]);
    for n in 1..=3 {
        story.join(n, &format!("w{n}"), 1);
        story.tell(Event::AttemptStarted { session: SessionId(n), attempt: AttemptId(n) });
        story.close(n);
        let lines = story.tick_until(n * 1_000);
        let last = if n < 3 {
            vec![format!("a{n} lost (connection_closed)"), "j1 queued".into()]
        } else {
            vec!["a3 lost (connection_closed)".into(), "j1 errored (given_up)".into(), "b1 errored".into()]
        };
        assert_eq!(lines, last, "runner {n}");
    }
    let with =
        |n: u64| LostWith { runner: RunnerName::recorded(&format!("w{n}")), reason: LossReason::ConnectionClosed };
    let lost = |n: u64| DecisionKind::Lost {
        runner: with(n).runner,
        reason: LossReason::ConnectionClosed,
        loss_of: Some((u32::try_from(n).unwrap(), 3)),
        quarantine: None,
    };
    let reason = ErrorReason::GivenUp { losses: 3, with: vec![with(1), with(2), with(3)] };
    assert_eq!(story.decided, [lost(1), lost(2), DecisionKind::GaveUp { reason }]);
}

#[test]
fn a_loss_before_the_task_started_is_not_held_against_the_job() {
    let mut story = Story::new();
    story.observe("app", None, 1, vec![task("a")]);
    for n in 1..=5 {
        story.join(n, &format!("w{n}"), 1);
        story.close(n);
        assert_eq!(story.tick_until(n * 1_000), [format!("a{n} lost (connection_closed)"), "j1 queued".into()]);
    }
}

#[test]
fn a_job_that_never_gets_to_start_is_given_up_in_the_end() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a")]);
    let mut lines = Vec::new();
    for attempt in 1..=20 {
        lines = story.finish(1, attempt, Outcome::Lost("no source".into()));
        story.now = story.now.after(300_000);
        story.ping(1, &[]);
        story.tell(Event::LeaseCheck);
    }
    assert_eq!(lines, ["a20 lost (reported)", "j1 errored (never_started)", "b1 errored", "> s1 recorded a20"]);
}

/// Fails if any two failures lead to quarantine: the runner then rests for two seconds after the second, and longer
/// after each that follows.
#[test]
fn a_job_that_fails_on_a_runner_again_and_again_does_not_keep_others_from_it() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("bad")]);
    let mut attempt = 1;
    for pause in [0, 1_000, 2_000, 4_000, 8_000] {
        let (failed, wait) = (story.now.0, u64::max(pause, 1_000));
        story.finish(1, attempt, Outcome::Lost("no source".into()));
        attempt += 1;
        assert_eq!(story.state_of("w1"), "resting");
        assert!(story.tick_until(failed + wait - 250).is_empty(), "after {pause}");
        assert_eq!(story.state_of("w1") == "connected", wait > 1_250, "after {pause}");
        story.tick_until(failed + wait);
        story.ping(1, &[attempt]);
    }
    story.finish(1, attempt, Outcome::Lost("no source".into()));
    story.tick_until(story.now.0 + 1_000);
    let lines = story.observe("app", Some(1), 2, vec![task("good")]);
    assert!(lines.contains(&format!("> s1 lease a{}", attempt + 1)), "while the bad one pauses: {lines:?}");
    let reasons = story.scheduler.explain(story.now, BuildId(1));
    assert_eq!(reasons[0].1, JobStatus::Paused { waited_ms: 0, again_ms: 15_000 });
}

/// Fails if the jobs of one commit count as different ones: the runner is in quarantine after the second.
#[test]
fn a_commit_whose_every_job_is_lost_does_not_put_the_runner_in_quarantine() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, ["a", "b", "c"].map(task).into());
    for attempt in 1..=3 {
        story.finish(1, attempt, Outcome::Lost("no source".into()));
        assert_eq!(story.state_of("w1"), "resting", "after attempt {attempt}");
        story.tick_until(story.now.0 + 1_000);
        story.ping(1, &[attempt + 1]);
    }
}

/// Fails without a quarantine: the runner eats the queue, a job a second.
#[test]
fn a_runner_on_which_different_commits_fail_is_in_quarantine_for_longer_each_time() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    for n in 1..=5 {
        story.observe("app", Some(n - 1).filter(|n| *n > 0), n, vec![task("a")]);
    }
    let full = || Outcome::Lost(LossReason::disk_full());
    story.finish(1, 1, full());
    story.cancel(1);
    story.tick_until(1_000);
    for (attempt, rest) in [(2, 2_000), (3, 4_000), (4, 8_000)] {
        // A moment later, because it would otherwise count as one failure with the one before.
        story.now = story.now.after(250);
        let failed = story.now.0;
        story.finish(1, attempt, full());
        story.cancel(attempt);
        assert_eq!(story.state_of("w1"), "quarantined");
        assert!(story.tick_until(failed + rest - 250).is_empty(), "failure {attempt}");
        let reasons = story.scheduler.explain(story.now, BuildId(5));
        let failures = u32::try_from(attempt).unwrap();
        let quarantine = Quarantine { rest_ms: 250, failures, last: LossReason::disk_full() };
        let JobStatus::RunnersRest { runners, .. } = &reasons[0].1 else { panic!("{reasons:?}") };
        assert_eq!(runners, &[(RunnerName::recorded("w1"), Some(quarantine))]);
        assert_eq!(story.tick_until(failed + rest).len(), 2, "leased again after failure {attempt}");
    }
    story.finish(1, 5, Outcome::Failed(1));
    assert_eq!(story.state_of("w1"), "connected", "it can do something after all");
}

/// Failures belong to the runner's name. A new connection or a new process does not clear them.
#[test]
fn a_runner_that_crashes_with_whatever_it_is_given_is_in_quarantine_when_it_comes_back() {
    let mut story = Story::new();
    for n in 1..=3 {
        story.observe("app", Some(n - 1).filter(|n| *n > 0), n, vec![task("a")]);
    }
    for n in 1..=2 {
        story.join_as(n, "w1", n, 1, &[], &[]);
        story.close(n);
        assert_eq!(story.tick_until(n * 1_500), [format!("a{n} lost (connection_closed)"), format!("j{n} queued")]);
        story.cancel(n);
    }
    let lines = story.join_as(3, "w1", 3, 1, &[], &[]);
    assert_eq!(lines, ["> s3 registered, holds [], gone []"]);
    assert_eq!(story.state_of("w1"), "quarantined");
}

#[test]
fn a_job_goes_to_a_runner_on_which_it_was_not_lost_yet() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a")]);
    story.join(2, "w2", 1);
    let lines = story.finish(1, 1, Outcome::Lost("no source".into()));
    assert!(lines.contains(&"> s2 lease a2".to_owned()), "{lines:?}");
    story.at(5_000).tell(Event::LeaseCheck);
    story.join(3, "w3", 1);
    let lines = story.finish(2, 2, Outcome::Lost("no source".into()));
    assert!(!lines.iter().any(|line| line.contains("lease")), "it pauses: {lines:?}");
    story.at(6_000);
    let lines = story.tell(Event::LeaseCheck);
    assert!(lines.contains(&"> s3 lease a3".to_owned()), "w1 has its tree, and w3 is new to it: {lines:?}");
}

#[test]
fn a_dispatcher_that_was_held_up_declares_nobody_dead() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a")]);
    story.tick_until(1_000);
    story.now = Moment(600_000);
    assert!(story.tell(Event::HeartbeatCheck).is_empty());
    assert!(story.tell(Event::LeaseCheck).is_empty());
    assert!(story.ping(1, &[1]).is_empty());
}

/// S33. Without the extension for short gaps the first tick loses a1 and a2; without its bound nothing is ever lost.
#[test]
fn a_short_pause_of_the_dispatcher_costs_nobody_the_reconnect_window() {
    let mut story = Story::new();
    story.join(1, "w1", 2);
    story.observe("app", None, 1, vec![task("a"), task("b")]);
    story.tick_until(1_000);
    story.close(1);
    // The dispatcher was stopped for two seconds. The runner's messages of that time wait behind the tick.
    story.now = Moment(3_000);
    assert!(story.tell(Event::LeaseCheck).is_empty());
    assert_eq!(story.join_as(2, "w1", 1, 2, &[], &[1, 2]), ["> s2 registered, holds [a1, a2], gone []"]);
    story.close(2);
    let mut lines = Vec::new();
    while lines.is_empty() && story.now < Moment(30_000) {
        // A dispatcher whose ticks always come this late.
        story.now = story.now.after(600);
        lines = story.tell(Event::LeaseCheck);
    }
    assert_eq!((story.now, lines.len()), (Moment(18_600), 4), "lost when silence would have lost it: {lines:?}");
}

#[test]
fn what_a_dispatcher_hears_after_it_was_held_up_is_not_forgiven_that_time() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.join(2, "w2", 1);
    story.observe("app", None, 1, vec![task("a"), task("b")]);
    story.tick_until(1_000);
    // The messages that waited in the sockets come before the first tick.
    story.now = Moment(600_000);
    story.ping(1, &[1]);
    story.close(2);
    assert_eq!(story.tick_until(601_000), ["a2 lost (connection_closed)", "j2 queued"]);
    assert_eq!(story.tick_until(616_000), ["> close s1", "a1 lost (silent)", "j1 queued"]);
}

#[test]
fn a_dispatcher_that_is_held_up_before_its_first_tick_declares_nobody_dead() {
    let mut story = Story::new();
    story.scheduler = Scheduler::restore(policy(), Moment(0), Snapshot::default());
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a")]);
    story.now = Moment(600_000);
    assert!(story.tell(Event::LeaseCheck).is_empty());
    assert!(story.tell(Event::HeartbeatCheck).is_empty());
    assert!(story.ping(1, &[1]).is_empty());
}

#[test]
fn an_exclusive_attempt_is_leased_again_only_after_its_own_deadline() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![exclusive("deploy")]);
    story.join(2, "w2", 1);
    story.close(1);
    story.nothing_for_a_minute(2, &[]);
    let lines = story.tick_until(61_000);
    assert_eq!(
        lines,
        ["a1 lost (connection_closed)", "j1 queued", "j1 leased to r2 as a2 (number 2)", "> s2 lease a2"]
    );
}

#[test]
fn an_exclusive_attempt_waits_for_its_deadline_when_another_process_takes_its_runners_name() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![exclusive("deploy")]);
    story.close(1);
    assert_eq!(story.join_as(2, "w1", 2, 1, &[], &[]), ["> s2 registered, holds [], gone []"]);
    story.close(2);
    assert_eq!(story.join_as(3, "w1", 2, 1, &[], &[]), ["> s3 registered, holds [], gone []"]);
    story.nothing_for_a_minute(3, &[]);
    assert_eq!(
        story.tick_until(61_000),
        ["a1 lost (lease_expired)", "j1 queued", "j1 leased to r1 as a2 (number 2)", "> s3 lease a2"]
    );
    story.close(3);
    let lines = story.join_as(4, "w1", 2, 1, &[], &[]);
    assert_eq!(lines[1..3], ["a2 lost (not_held)", "j1 queued"], "the same process never got it");
}

#[test]
fn a_restored_scheduler_gives_runners_the_time_to_come_back() {
    let mut story = Story::restored();
    assert!(story.tick_until(14_000).is_empty());
    assert_eq!(story.join_as(1, "w1", 1, 1, &[], &[1]), ["> s1 registered, holds [a1], gone []"]);
    assert_eq!(story.finish(1, 1, Outcome::Passed), hands_on_to(2));
    let mut story = Story::restored();
    assert_eq!(story.tick_until(15_500), ["a1 lost (connection_closed)", "j1 queued"]);
}

/// One more loss that counts, and the job is given up. If restored leases counted as started, it would be errored in
/// each case.
#[test]
fn a_restored_lease_that_may_never_have_left_is_not_held_against_its_job() {
    let mut story = Story::restored_with(2);
    assert_eq!(story.tick_until(15_500), ["a1 lost (connection_closed)", "j1 queued"], "nobody came back");
    let mut story = Story::restored_with(2);
    let lines = story.join_as(1, "w1", 1, 1, &[], &[]);
    assert_eq!(lines[1..3], ["a1 lost (not_held)", "j1 queued"], "it came back without it");
}

/// S13: the runner reports that it had the attempt and was lost with it. If that did not count, a job that takes a
/// machine down together with the dispatcher would be tried for ever.
#[test]
fn a_restored_lease_that_its_runner_was_lost_with_is_held_against_its_job() {
    let mut story = Story::restored_with(2);
    story.join_as(1, "w1", 2, 1, &[], &[1]);
    let lines = story.finish(1, 1, Outcome::Lost(LossReason::Interrupted { text: "the runner restarted".into() }));
    assert_eq!(lines[..2], ["a1 lost (interrupted)", "j1 errored (given_up)"]);
    let mut story = Story::restored_with(2);
    story.join_as(1, "w1", 1, 1, &[], &[1]);
    story.tell(Event::AttemptStarted { session: SessionId(1), attempt: AttemptId(1) });
    story.close(1);
    assert_eq!(
        story.tick_until(1_000)[..2],
        ["a1 lost (connection_closed)", "j1 errored (given_up)"],
        "it said once more that the process runs"
    );
}

#[test]
fn an_exclusive_job_that_was_cancelled_runs_again_only_after_its_attempt_has_ended() {
    let mut story = Story::new();
    let deploy = exclusive("deploy");
    story.join(1, "w1", 1);
    story.join(2, "w2", 1);
    story.observe("app", None, 1, vec![deploy.clone()]);
    story.cancel(1);
    let rerun = Event::RerunAsked {
        request: RequestId(1),
        build: Box::new(cancelled_build(deploy)),
        failed_only: true,
        only: None,
        by: None,
    };
    assert_eq!(story.tell(rerun.clone()), ["> refused"]);
    // The runner is cut off. It may not know of the cancel, and may still be executing.
    story.close(1);
    for second in (2..60).step_by(2) {
        assert!(story.tick_until(second * 1_000).is_empty(), "{second}");
        story.ping(2, &[]);
        assert_eq!(story.tell(rerun.clone()), ["> refused"]);
    }
    story.tick_until(61_000);
    let again = ["b1 reopened", "j1 queued", "> done", "j1 leased to r2 as a2 (number 2)", "> s2 lease a2"];
    assert_eq!(story.tell(rerun.clone()), again);

    let restored = Snapshot { last_build: 1, last_job: 1, last_attempt: 1, last_runner: 2, ..Snapshot::default() };
    story.scheduler = Scheduler::restore(policy(), story.now, restored);
    assert_eq!(story.tell(rerun.clone()), ["> refused"], "nobody knows any more whether it has ended");
    story.now = story.now.after(60_000);
    assert_eq!(story.tell(rerun), ["b1 reopened", "j1 queued", "> done"]);
}

/// Build b1 as the store has it after its one job was cancelled.
fn cancelled_build(task: TaskSpec) -> WholeBuild {
    let build = stored_build(1, Some(crate::model::Verdict::Cancelled));
    let job = crate::model::Job {
        id: JobId(1),
        build: BuildId(1),
        task: Arc::new(task),
        state: JobState::Finished(crate::model::Ending::Cancelled(None)),
        attempts: 1,
        failures: 0,
        losses: 0,
    };
    WholeBuild { build, jobs: vec![job], attempts: vec![] }
}
