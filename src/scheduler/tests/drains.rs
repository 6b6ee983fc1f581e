//! Stories of drains: an operator keeps jobs from a runner until it is resumed.

use super::*;

/// The restarted runner is the one that a service manager starts again: told to end once more, it would never stop
/// ending. Sabotage tried: a drain that belongs to the process, as it did; the last lines lease j2.
#[test]
fn a_drained_runner_that_is_started_again_stays_idle_until_it_is_resumed() {
    let mut story = Story::new();
    story.join_as(1, "w1", 1, 2, &[], &[]);
    story.observe("app", None, 1, vec![task("a")]);
    assert_eq!(story.drain(1), ["w1 drained, i1 ends", "> s1 drain", "> done"], "recorded before anybody hears of it");
    assert_eq!(story.observe("app", Some(1), 2, vec![task("a")]), ["build b2 added with 1 jobs", "> accepted as b2"]);
    story.tell(Event::RunnerDraining { session: SessionId(1) });
    assert_eq!(story.state_of("w1"), "draining");
    assert!(story.finish(1, 1, Outcome::Passed).iter().all(|line| !line.contains("lease")));
    story.close(1);
    assert_eq!(story.state_of("w1"), "drained", "it is listed although it is not there");

    assert_eq!(story.join_as(2, "w1", 2, 2, &[], &[]), ["> s2 registered, holds [], gone [], drained"]);
    assert_eq!(story.state_of("w1"), "drained");
    assert!(story.tick_until(10_000).iter().all(|line| !line.contains("lease")));
    assert_eq!(story.resume(1), ["> done", "j2 leased to r1 as a2 (number 1)", "> s2 lease a2"]);
    assert_eq!(story.state_of("w1"), "connected");
}

#[test]
fn a_drain_outlives_the_dispatcher() {
    for ending in [None, Some(Incarnation(1))] {
        let runner = Runner {
            id: RunnerId(1),
            name: RunnerName::new("w1").unwrap(),
            first_seen: WallTime(0),
            drain: Some(DrainOrder { ending }),
            ordered: None,
        };
        let restored = Snapshot { runners: vec![runner], last_runner: 1, ..Snapshot::default() };
        let mut story = Story { scheduler: Scheduler::restore(policy(), Moment(0), restored), ..Story::new() };
        story.observe("app", None, 1, vec![task("a")]);
        // The process that was told to end may not have heard of it.
        let told: &[&str] = match ending {
            Some(_) => &["> s1 registered, holds [], gone []", "> s1 drain"],
            None => &["> s1 registered, holds [], gone [], drained"],
        };
        assert_eq!(story.join(1, "w1", 1), told);
        story.close(1);
        assert_eq!(story.join_as(2, "w1", 2, 1, &[], &[]), ["> s2 registered, holds [], gone [], drained"]);
        assert!(story.resume(1).contains(&"> s2 lease a1".to_owned()));
    }
}

/// A lease that is restored has a member for its runner, which must know of the drain.
#[test]
fn a_drained_runner_with_a_restored_lease_gets_no_second_job() {
    let mut story = Story::restored();
    story.drain(1);
    assert_eq!(story.join_as(1, "w1", 1, 2, &[], &[1]), ["> s1 registered, holds [a1], gone [], drained"]);
    assert_eq!(story.finish(1, 1, Outcome::Passed), ["a1 passed", "j1 passed", "j2 queued", "> s1 recorded a1"]);
}

#[test]
fn a_runner_that_is_away_when_it_is_drained_is_told_when_it_comes_back() {
    let mut story = Story::new();
    story.join(1, "w1", 2);
    story.observe("app", None, 1, vec![task("a")]);
    story.close(1);
    assert_eq!(story.drain(1), ["w1 drained, i1 ends", "> done"]);
    assert_eq!(story.join_as(2, "w1", 1, 2, &[], &[1]), ["> s2 registered, holds [a1], gone []", "> s2 drain"]);
    story.tell(Event::RunnerDraining { session: SessionId(2) });
    assert_eq!(story.observe("app", Some(1), 2, vec![task("a")]), ["build b2 added with 1 jobs", "> accepted as b2"]);
    assert_eq!(story.join_as(3, "w2", 1, 1, &[], &[])[1..], ["j2 leased to r2 as a2 (number 1)", "> s3 lease a2"]);
}

#[test]
fn a_runner_that_is_not_connected_is_drained_before_it_connects() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.close(1);
    assert_eq!(story.state_of("w1"), "gone");
    assert_eq!(story.drain(1), ["w1 drained", "> done"]);
    story.observe("app", None, 1, vec![task("a")]);
    assert_eq!(story.join_as(2, "w1", 1, 1, &[], &[]), ["> s2 registered, holds [], gone [], drained"]);
}

/// The process cannot be told to stay. It ends, and the next one takes jobs.
#[test]
fn a_runner_that_is_resumed_while_it_ends_takes_jobs_when_it_is_started_again() {
    let mut story = Story::new();
    story.join(1, "w1", 2);
    story.observe("app", None, 1, vec![task("a")]);
    story.drain(1);
    let runner = RunnerName::recorded("w1");
    let order = Event::ResumeAsked { request: RequestId(0), runner: RunnerId(1), by: None };
    let effects = story.scheduler.handle(story.now, WallTime(0), order);
    assert!(effects.contains(&Effect::Reply {
        request: RequestId(0),
        reply: Reply::Done(OrderDone::Resumed { runner, ends: true })
    }));
    assert_eq!(story.observe("app", Some(1), 2, vec![task("a")]), ["build b2 added with 1 jobs", "> accepted as b2"]);
    story.finish(1, 1, Outcome::Passed);
    story.close(1);
    let lines = story.join_as(2, "w1", 2, 1, &[], &[]);
    assert_eq!(lines[..2], ["> s2 registered, holds [], gone []", "j2 leased to r1 as a2 (number 1)"]);
}

#[test]
fn an_order_that_changes_nothing_is_done_and_records_nothing() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    assert_eq!(story.resume(1), ["> done"]);
    story.drain(1);
    assert_eq!(story.drain(1), ["> done"], "the process that ends is not told twice");
    story.close(1);
    story.join_as(2, "w1", 2, 1, &[], &[]);
    assert_eq!(story.drain(1), ["> done"], "an idle process is not told to end: it would be started again");
}

#[test]
fn whoever_drained_and_resumed_a_runner_is_known_also_when_it_is_gone() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    let ordered = |story: &Story| story.scheduler.runners(story.now).pop().unwrap().ordered;
    assert_eq!(ordered(&story), None);
    story.drain(1);
    assert_eq!(ordered(&story).unwrap().by.as_deref(), Some("alice"));
    story.close(1);
    assert_eq!(ordered(&story).unwrap().by.as_deref(), Some("alice"));
    story.join_as(2, "w1", 2, 1, &[], &[]);
    story.resume(1);
    assert_eq!(ordered(&story).unwrap().by.as_deref(), Some("bob"));
}

/// Their numbered names come again with each start of the dispatcher.
#[test]
fn a_drain_of_a_runner_that_the_dispatcher_started_ends_with_it() {
    let mut story = Story::new();
    let spawned = |session, incarnation| {
        Event::RunnerJoined(RunnerJoined { spawned: true, ..joined(session, "w1-spawned-1", incarnation) })
    };
    story.tell(spawned(1, 1));
    assert_eq!(story.drain(1), ["w1-spawned-1 drained, i1 ends", "> s1 drain", "> done"]);
    // A dispatcher that was killed meanwhile has the record, and the process may come back to the next one.
    let runner = story.scheduler.known_runners.values().cloned().collect();
    let restored = Snapshot { runners: runner, last_runner: 1, ..Snapshot::default() };
    for (incarnation, told) in [(1, "> s2 drain"), (2, "> s2 lease a1")] {
        let scheduler = Scheduler::restore(policy(), Moment(0), restored.clone());
        let mut next = Story { scheduler, ..Story::new() };
        next.observe("app", None, 1, vec![task("a")]);
        assert_eq!(next.tell(spawned(2, incarnation)).last().unwrap(), told);
    }
    story.close(1);
    assert_eq!(story.state_of("w1-spawned-1"), "gone");
}

#[test]
fn a_job_that_only_drained_runners_fit_says_so() {
    let mut story = Story::new();
    story.join_as(1, "w1", 1, 1, &["gpu"], &[]);
    story.join(2, "w2", 1);
    story.drain(1);
    story.close(1);
    story.observe("app", None, 1, vec![labelled("a", &["gpu"])]);
    let fit = |story: &Story| {
        let reasons = story.scheduler.explain(story.now, BuildId(1));
        let JobStatus::NoRunnerFits { fit, .. } = reasons[0].1.clone() else { panic!("{reasons:?}") };
        fit
    };
    let labels = vec![Label::new("gpu").unwrap()];
    assert_eq!(fit(&story), MissingFit::Labels { labels }, "what a runner offers is known while it is there");
    story.join_as(3, "w1", 2, 1, &["gpu"], &[]);
    let runners = vec![RunnerName::recorded("w1")];
    assert_eq!(fit(&story), MissingFit::Drained { runners: runners.clone(), more: 0 });
    let concerns = story.scheduler.concerns(Moment(20_000));
    assert_eq!(concerns, [Concern::NoRunnerFits(MissingFit::Drained { runners, more: 0 })]);
    for number in 0..7 {
        story.join_as(10 + number, &format!("x{number}"), 1, 1, &["gpu"], &[]);
        story.cancel(1);
        story.drain(3 + number);
    }
    story.observe("app", Some(1), 2, vec![labelled("a", &["gpu"])]);
    let reasons = story.scheduler.explain(story.now, BuildId(2));
    let names = ["w1", "x0", "x1", "x2", "x3"].map(RunnerName::recorded).to_vec();
    let fit = MissingFit::Drained { runners: names, more: 3 };
    assert_eq!(reasons[0].1, JobStatus::NoRunnerFits { waited_ms: 0, fit });
}

/// S40.
#[test]
fn a_job_that_asks_for_more_isolation_than_runners_offer_says_what_they_offer_and_which_would_do() {
    let mut story = Story::new();
    story.join_as(1, "w1", 1, 1, &["can=guarded", "gpu"], &[]);
    story.join_as(2, "w2", 1, 1, &["can=guarded", "can=sealed"], &[]);
    story.join(3, "w3", 1);
    let status = |story: &Story, build| story.scheduler.explain(story.now, BuildId(build))[0].1.clone();
    let runners = |names: &[&str]| names.iter().map(|name| RunnerName::recorded(name)).collect::<Vec<_>>();
    story.observe("app", None, 1, vec![labelled("a", &["can=sealed", "gpu"])]);
    let fit = MissingFit::Combination { labels: ["can=sealed", "gpu"].map(|it| Label::new(it).unwrap()).to_vec() };
    assert_eq!(status(&story, 1), JobStatus::NoRunnerFits { waited_ms: 0, fit });
    // The only runner that fits is busy.
    story.observe("other", None, 1, vec![labelled("a", &["can=sealed"])]);
    story.observe("third", None, 1, vec![labelled("a", &["can=sealed"])]);
    let waits = JobStatus::InQueue { waited_ms: 0, before: 0, only: runners(&["w2"]) };
    assert_eq!(status(&story, 3), waits);
    story.drain(2);
    let fit = MissingFit::Drained { runners: runners(&["w2"]), more: 0 };
    assert_eq!(status(&story, 3), JobStatus::NoRunnerFits { waited_ms: 0, fit });
    story.close(2);
    story.tell(Event::HeartbeatCheck);
    let fit = |runners, most| MissingFit::Tier { asked: Tier::Sealed, most, runners, more: 0 };
    let told = JobStatus::NoRunnerFits { waited_ms: 0, fit: fit(runners(&["w1"]), Tier::Guarded) };
    assert_eq!(status(&story, 3), told);
    assert_eq!(status(&story, 1), told, "with the label gpu, too");
    story.close(1);
    let told = JobStatus::NoRunnerFits { waited_ms: 0, fit: fit(runners(&["w3"]), Tier::Shared) };
    assert_eq!(status(&story, 3), told);
}
