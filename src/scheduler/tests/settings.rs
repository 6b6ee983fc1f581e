//! Stories of builds with settings, and of rules for retries.

use super::*;

fn plan(tasks: Vec<TaskSpec>, settings: BuildSettings) -> Plan {
    Plan { settings, ..Plan::of(tasks) }
}

fn superseding(supersede: Supersede) -> BuildSettings {
    BuildSettings { supersede, ..BuildSettings::default() }
}

#[test]
fn the_first_failure_cancels_the_rest_but_what_cleans_up() {
    let fail_fast = BuildSettings { fail_fast: true, ..BuildSettings::default() };
    let mut clean = needing("clean", &["test", "slow"]);
    clean.placement.needs.iter_mut().for_each(|need| need.condition = Condition::Finished);
    let mut flaky = task("flaky");
    flaky.placement.allow_failure = true;
    let mut story = Story::new();
    story.join(1, "w1", 3);
    let tasks = vec![task("test"), task("slow"), flaky, needing("deploy", &["slow"]), clean];
    story.observe_plan(None, 1, plan(tasks, fail_fast));
    assert_eq!(story.finish(1, 3, Outcome::Failed(1)), ["a3 failed", "j3 failed", "> s1 recorded a3"], "it may fail");
    assert_eq!(
        story.finish(1, 1, Outcome::Failed(1)),
        [
            "a1 failed",
            "j1 failed",
            "a2 cancelled",
            "> s1 cancel a2",
            "j2 cancelled (fail_fast)",
            "j5 queued",
            "j4 skipped (need_not_passed)",
            "> s1 recorded a1",
            "j5 leased to r1 as a4 (number 1)",
            "> s1 lease a4"
        ]
    );
    assert_eq!(story.finish(1, 4, Outcome::Passed), ["a4 passed", "j5 passed", "b1 failed", "> s1 recorded a4"]);
    let reason = CancelReason::FailFast { task: TaskName::new("test").unwrap() };
    assert_eq!(story.decided, [DecisionKind::Cancelled { reason }]);
}

#[test]
fn a_build_that_takes_too_long_is_cancelled_and_has_failed() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    let settings = BuildSettings { timeout_ms: Some(60_000), ..BuildSettings::default() };
    story.at(1_000).observe_plan(None, 1, plan(vec![task("test"), task("lint")], settings));
    while story.now.0 < 60_500 {
        let now = story.now.0 + 250;
        assert!(story.at(now).ping(1, &[1]).is_empty());
        assert!(story.tell(Event::HeartbeatCheck).is_empty() && story.tell(Event::LeaseCheck).is_empty());
    }
    assert_eq!(
        story.at(61_000).tell(Event::LeaseCheck),
        [
            "a1 cancelled",
            "> s1 cancel a1",
            "j1 cancelled (build_timed_out)",
            "j2 cancelled (build_timed_out)",
            "b1 failed"
        ]
    );
}

#[test]
fn a_newer_move_cancels_the_builds_that_allow_it() {
    // Which of b1, which runs, b2, which is queued, and b3, which is of another repository, are still there.
    for (supersede, left) in [
        (Supersede::No, [true, true, true]),
        (Supersede::Queued, [true, false, true]),
        (Supersede::Running, [false, false, true]),
    ] {
        let mut story = Story::new();
        story.join(1, "w1", 1);
        story.observe_plan(None, 1, plan(vec![task("test")], superseding(supersede)));
        story.observe("lib", None, 1, vec![task("test")]);
        story.observe_plan(Some(1), 2, plan(vec![task("test")], superseding(supersede)));
        // The settings of the older build count.
        story.observe_plan(Some(2), 3, Plan::of(vec![task("test")]));
        let is_there = |job| story.scheduler.build_of(JobId(job)).is_some();
        assert_eq!([is_there(1), is_there(3), is_there(2)], left, "{supersede:?}");
        assert!(is_there(4), "the newest stays");
    }
}

#[test]
fn a_deployment_that_has_begun_keeps_its_build() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    let tasks = || vec![exclusive("deploy"), needing("verify", &["deploy"])];
    story.observe_plan(None, 1, plan(tasks(), superseding(Supersede::Running)));
    let lines = story.observe_plan(Some(1), 2, plan(tasks(), superseding(Supersede::Running)));
    assert_eq!(lines, ["build b2 added with 2 jobs", "> accepted as b2"]);
    let lines = story.observe_plan(Some(2), 3, plan(tasks(), superseding(Supersede::Running)));
    let gone = ["j3 cancelled (superseded)", "j4 skipped (need_not_passed)", "b2 cancelled"];
    assert_eq!(lines[1..4], gone, "it has not begun");
}

#[test]
fn a_task_is_tried_again_only_after_the_failures_that_its_rule_names() {
    let mut rule = task("test");
    rule.placement.retries = 2;
    rule.placement.retry =
        RetryRule { on: vec![RetryCause::Exit(75), RetryCause::Timeout], delay_ms: 30_000, elsewhere: false };
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![rule.clone()]);
    assert_eq!(story.finish(1, 1, Outcome::Failed(75)), ["a1 failed", "j1 queued", "> s1 recorded a1"]);
    let status = story.scheduler.explain(story.now, BuildId(1)).remove(0).1;
    assert_eq!(status, JobStatus::RetryDelayed { again_ms: 30_000 });
    while story.now.0 < 29_750 {
        let now = story.now.0 + 250;
        story.at(now).ping(1, &[]);
        assert!(story.tell(Event::LeaseCheck).is_empty());
    }
    let lines = story.at(30_000).tell(Event::LeaseCheck);
    assert_eq!(lines, ["j1 leased to r1 as a2 (number 2)", "> s1 lease a2"]);
    assert_eq!(story.finish(1, 2, Outcome::Failed(1))[..3], ["a2 failed", "j1 failed", "b1 failed"]);
    let kinds: Vec<&str> = story.decided.iter().filter_map(StoredReason::code).collect();
    assert_eq!(kinds, ["retried", "not_retried"]);
    // A build that is cancelled meanwhile waits for no delay.
    story.observe("app", Some(1), 2, vec![rule]);
    story.finish(1, 3, Outcome::TimedOut(TimeoutReason::Whole));
    assert_eq!(story.cancel(2), ["j2 cancelled", "b2 cancelled", "> done"]);
}

#[test]
fn a_task_is_tried_again_elsewhere_if_another_runner_is_free() {
    let mut rule = task("test");
    rule.placement.retries = 2;
    rule.placement.retry.elsewhere = true;
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![rule]);
    let lines = story.finish(1, 1, Outcome::Failed(1));
    assert_eq!(lines.last().unwrap(), "> s1 lease a2", "there is no other: {lines:?}");
    story.join(2, "w2", 1);
    let lines = story.finish(1, 2, Outcome::Failed(1));
    assert_eq!(lines.last().unwrap(), "> s2 lease a3", "its tree is warm on the first: {lines:?}");
}

#[test]
fn the_priority_of_a_build_is_added_to_that_of_each_task() {
    let with = |name: &str, priority: i32| {
        let mut task = task(name);
        task.placement.priority = priority;
        task
    };
    let plan = |priority: i32, tasks: Vec<TaskSpec>| Plan {
        settings: BuildSettings { priority, ..BuildSettings::default() },
        ..Plan::of(tasks)
    };
    let mut story = Story::new();
    story.observe_plan(None, 1, plan(0, vec![with("a", 0), with("b", 5)]));
    story.observe_plan(Some(1), 2, plan(10, vec![with("a", -20), with("b", 0)]));
    story.observe_plan(Some(2), 3, plan(100, vec![with("a", 0), with("b", 100)]));
    let lines = story.join(1, "w1", 6);
    let order: Vec<&str> = lines.iter().filter_map(|line| Some(line.split_once(" leased to")?.0)).collect();
    assert_eq!(order, ["j5", "j6", "j4", "j2", "j1", "j3"], "no sum goes beyond 100");
}

/// The end of one job may end others that were about to be looked at.
#[test]
fn two_jobs_that_no_runner_fits_end_a_build_that_stops_at_its_first_failure() {
    let fail_fast = BuildSettings { fail_fast: true, ..BuildSettings::default() };
    let mut story = Story::new();
    let tasks = || {
        ["test", "lint"].map(|name| {
            let mut task = task(name);
            task.placement.labels = vec![Label::new("moon").unwrap()];
            task
        })
    };
    story.observe_plan(None, 1, plan(tasks().to_vec(), fail_fast));
    let mut lines = Vec::new();
    while lines.is_empty() {
        let now = story.now.0 + 250;
        lines = story.at(now).tell(Event::LeaseCheck);
    }
    assert_eq!(lines, ["j1 errored (no_runner_fits)", "j2 cancelled (fail_fast)", "b1 errored"]);
}
