//! Stories the scheduler must tell right: a script of events in, the effects that matter out. After every event all
//! invariants are checked.

use std::sync::Arc;

use super::*;
use crate::model::{BranchName, Incarnation, Isolation, LogSummary, Outcome, RepoName, Script};

/// A scheduler with a virtual clock, and shorthand for what happens to it.
struct Story {
    scheduler: Scheduler,
    now: Moment,
    request: u64,
}

fn policy() -> Policy {
    Policy {
        heartbeat_interval_ms: 2_000,
        heartbeat_timeout_ms: 15_000,
        reconnect_ms: 500,
        max_losses: 3,
        queue_timeout_ms: 3_600_000,
        spawn: 0,
        spawn_labels: Vec::new(),
    }
}

fn commit(n: u8) -> CommitId {
    CommitId::from_bytes(&[n; 20]).unwrap()
}

fn task(name: &str) -> TaskSpec {
    TaskSpec::new(name, Script::Shell("true".into()))
}

fn needing(name: &str, needs: &[&str]) -> TaskSpec {
    TaskSpec { needs: needs.iter().map(|need| Arc::from(*need)).collect(), ..task(name) }
}

fn labelled(name: &str, labels: &[&str]) -> TaskSpec {
    TaskSpec { labels: labels.iter().map(|label| Arc::from(*label)).collect(), ..task(name) }
}

fn source(repo: &str, before: Option<u8>, at: u8) -> BuildSource {
    BuildSource {
        repo: RepoName::new(repo).unwrap(),
        branch: BranchName::new("main"),
        commit: commit(at),
        before: before.map(commit),
        range: vec![commit(at)],
        subject: String::new(),
        author: String::new(),
    }
}

impl Story {
    fn new() -> Self {
        Self { scheduler: Scheduler::new(policy()), now: Moment(0), request: 0 }
    }

    fn tell(&mut self, event: Event) -> Vec<String> {
        let effects = self.scheduler.handle(self.now, WallTime(0), event);
        if let Err(broken) = self.scheduler.check_invariants() {
            panic!("{broken}\nafter effects {effects:#?}");
        }
        effects.iter().filter_map(line).collect()
    }

    fn at(&mut self, ms: u64) -> &mut Self {
        self.now = Moment(ms);
        self
    }

    fn observe(&mut self, repo: &str, before: Option<u8>, at: u8, tasks: Vec<TaskSpec>) -> Vec<String> {
        self.request += 1;
        let request = Request(self.request);
        self.tell(Event::CommitObserved { request, source: source(repo, before, at), plan: Ok(tasks), known: None })
    }

    fn join_as(
        &mut self,
        session: u64,
        name: &str,
        incarnation: u64,
        slots: u32,
        labels: &[&str],
        holding: &[u64],
    ) -> Vec<String> {
        self.tell(Event::RunnerJoined(RunnerJoined {
            session: SessionId(session),
            name: name.into(),
            incarnation: Incarnation(incarnation),
            slots,
            labels: labels.iter().map(|label| Arc::from(*label)).collect(),
            isolation: Isolation::Subreaper,
            holding: holding.iter().copied().map(AttemptId).collect(),
            warm: Vec::new(),
            spawned: false,
        }))
    }

    fn join(&mut self, session: u64, name: &str, slots: u32) -> Vec<String> {
        self.join_as(session, name, 1, slots, &[], &[])
    }

    fn finish(&mut self, session: u64, attempt: u64, outcome: Outcome) -> Vec<String> {
        let (session, attempt) = (SessionId(session), AttemptId(attempt));
        self.tell(Event::AttemptFinished { session, attempt, outcome, log: LogSummary::default(), duration_ms: None })
    }

    fn ping(&mut self, session: u64, holding: &[u64]) -> Vec<String> {
        let holding = holding.iter().copied().map(AttemptId).collect();
        self.tell(Event::RunnerPinged { session: SessionId(session), holding })
    }

    fn close(&mut self, session: u64) -> Vec<String> {
        self.tell(Event::SessionClosed { session: SessionId(session) })
    }

    fn cancel(&mut self, build: u64) -> Vec<String> {
        self.tell(Event::CancelAsked { request: Request(0), build: BuildId(build), job: None })
    }

    /// Ticks of both threads every 250 ms until then.
    fn tick_until(&mut self, ms: u64) -> Vec<String> {
        let mut lines = Vec::new();
        while self.now.0 < ms {
            self.now = Moment((self.now.0 + 250).min(ms));
            lines.extend(self.tell(Event::HeartbeatCheck));
            lines.extend(self.tell(Event::LeaseCheck));
        }
        lines
    }
}

/// An effect on one line; `None` for those that no story is about.
fn line(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Persist(record) => match record {
            Record::BuildAdded { build, jobs } => format!("build {} added with {} jobs", build.id, jobs.len()),
            Record::HeadMoved { head: None, .. } => "head dropped".into(),
            Record::AttemptLeased(attempt) => {
                format!("{} leased to {} as {} (number {})", attempt.job, attempt.runner, attempt.id, attempt.number)
            }
            Record::AttemptFinished { attempt, outcome, .. } => format!("{attempt} {}", outcome.word()),
            Record::LateResult { attempt, .. } => format!("{attempt} late"),
            Record::JobQueued { job, .. } => format!("{job} queued"),
            Record::JobWaiting { job } => format!("{job} waiting"),
            Record::JobFinished { job, ending } => format!("{job} {}", ending.word()),
            Record::BuildFinished { build, verdict, .. } => format!("{build} {}", verdict.word()),
            Record::BuildReopened { build } => format!("{build} reopened"),
            Record::HeadMoved { .. } | Record::RunnerSaved(_) | Record::Decided(_) => return None,
        },
        Effect::Send { session, message } => match message {
            ToRunner::Registered { held, gone } => {
                let held: Vec<String> = held.iter().map(|lease| lease.attempt.to_string()).collect();
                format!("> {session} registered, holds {held:?}, gone {gone:?}").replace(['"', '(', ')'], "")
            }
            ToRunner::NameTaken(_) => format!("> {session} name taken"),
            ToRunner::Lease(lease) => format!("> {session} lease {}", lease.attempt),
            ToRunner::Cancel { attempt } => format!("> {session} cancel {attempt}"),
            ToRunner::Recorded { attempt } => format!("> {session} recorded {attempt}"),
            ToRunner::Stale { attempt } => format!("> {session} stale {attempt}"),
            ToRunner::Ack { gone } if gone.is_empty() => return None,
            ToRunner::Ack { gone } => format!("> {session} gone {gone:?}"),
            ToRunner::Drain => format!("> {session} drain"),
        },
        Effect::Reply { reply, .. } => match reply {
            Reply::Accepted { build: Some(build) } => format!("> accepted as {build}"),
            Reply::Accepted { build: None } => "> accepted".into(),
            Reply::Stale { head, .. } => format!("> stale, head is {head:?}"),
            Reply::Done(_) => "> done".into(),
            Reply::Refused(_) => "> refused".into(),
        },
        Effect::CloseSession { session, .. } => format!("> close {session}"),
        Effect::SpawnRunner => "spawn a runner".into(),
        Effect::Note(_) => return None,
    })
}

#[test]
fn a_commit_goes_from_observed_to_passed() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    assert_eq!(
        story.observe("app", None, 1, vec![task("lint")]),
        ["build b1 added with 1 jobs", "> accepted as b1", "j1 leased to r1 as a1 (number 1)", "> s1 lease a1"]
    );
    assert_eq!(story.finish(1, 1, Outcome::Passed), ["a1 passed", "j1 passed", "b1 passed", "> s1 recorded a1"]);
    assert_eq!(story.finish(1, 1, Outcome::Passed), ["> s1 recorded a1"]);
}

#[test]
fn every_promise_comes_after_its_record() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    let lines = story.observe("app", None, 1, vec![task("lint")]);
    let at = |text: &str| lines.iter().position(|line| line.contains(text)).unwrap();
    assert!(at("added") < at("accepted"));
    assert!(at("leased") < at("> s1 lease"));
}

#[test]
fn an_announcement_that_is_repeated_makes_one_build() {
    let mut story = Story::new();
    story.observe("app", None, 1, vec![task("lint")]);
    assert_eq!(story.observe("app", None, 1, vec![task("lint")]), ["> accepted as b1"]);
    story.observe("app", Some(1), 2, vec![task("lint")]);
    assert_eq!(story.observe("app", None, 1, vec![task("lint")]), [format!("> stale, head is Some({:?})", commit(2))]);
}

#[test]
fn a_known_announcement_moves_the_head_and_makes_no_second_build() {
    let mut story = Story::new();
    story.observe("app", None, 1, vec![]);
    story.observe("app", Some(1), 2, vec![]);
    story.observe("app", Some(2), 1, vec![]);
    let (request, known) = (Request(9), Some(BuildId(2)));
    let again = Event::CommitObserved { request, source: source("app", Some(1), 2), plan: Ok(vec![]), known };
    assert_eq!(story.tell(again), ["> accepted as b2"]);
    assert_eq!(story.scheduler.heads(&RepoName::new("app").unwrap()), [(BranchName::new("main"), commit(2))]);
}

#[test]
fn a_commit_without_tasks_is_errored() {
    let mut story = Story::new();
    let plan = Err("no tasks".into());
    let event = Event::CommitObserved { request: Request(1), source: source("app", None, 1), plan, known: None };
    assert_eq!(story.tell(event), ["build b1 added with 0 jobs", "b1 errored", "> accepted as b1"]);
}

#[test]
fn needs_are_a_graph_and_a_failure_skips_what_hangs_on_it() {
    let mut story = Story::new();
    story.join(1, "w1", 4);
    story.observe(
        "app",
        None,
        1,
        vec![task("a"), needing("b", &["a"]), needing("c", &["b"]), needing("d", &["b", "c"]), task("e")],
    );
    assert_eq!(
        story.finish(1, 1, Outcome::Passed),
        [
            "a1 passed",
            "j1 passed",
            "j2 queued",
            "> s1 recorded a1",
            "j2 leased to r1 as a3 (number 1)",
            "> s1 lease a3"
        ]
    );
    assert_eq!(
        story.finish(1, 3, Outcome::Failed(1)),
        ["a3 failed", "j2 failed", "j4 skipped", "j3 skipped", "> s1 recorded a3"]
    );
    assert_eq!(story.finish(1, 2, Outcome::Passed), ["a2 passed", "j5 passed", "b1 failed", "> s1 recorded a2"]);
}

#[test]
fn an_allowed_failure_stops_nothing() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    let lint = TaskSpec { allow_failure: true, ..task("lint") };
    story.observe("app", None, 1, vec![lint, needing("test", &["lint"])]);
    story.finish(1, 1, Outcome::Failed(1));
    assert_eq!(story.finish(1, 2, Outcome::Passed), ["a2 passed", "j2 passed", "b1 passed", "> s1 recorded a2"]);
}

#[test]
fn a_failed_attempt_is_tried_again_as_often_as_the_task_says() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![TaskSpec { retries: 1, ..task("test") }]);
    assert_eq!(
        story.finish(1, 1, Outcome::TimedOut),
        ["a1 timed_out", "j1 queued", "> s1 recorded a1", "j1 leased to r1 as a2 (number 2)", "> s1 lease a2"]
    );
    assert_eq!(story.finish(1, 2, Outcome::Failed(1)), ["a2 failed", "j1 failed", "b1 failed", "> s1 recorded a2"]);
}

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
    assert_eq!(story.tick_until(2_250), ["a1 lost", "j1 queued", "j1 leased to r2 as a2 (number 2)", "> s3 lease a2"]);
    assert_eq!(story.join_as(4, "w1", 1, 1, &[], &[1]), ["> s4 registered, holds [], gone [AttemptId1]"]);
    assert_eq!(story.finish(4, 1, Outcome::Passed), ["a1 late", "> s4 stale a1"]);
    assert_eq!(story.finish(3, 2, Outcome::Passed), ["a2 passed", "j1 passed", "b1 passed", "> s3 recorded a2"]);
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
    assert_eq!(lines, ["> close s1", "a1 lost", "j1 queued"]);
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
    assert_eq!(story.tick_until(15_500), ["a1 lost", "j1 queued", "j1 leased to r1 as a2 (number 2)", "> s1 lease a2"]);
}

#[test]
fn a_job_is_not_leased_once_more_to_a_runner_that_is_about_to_be_lost() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a")]);
    // Heard a little later than the lease was given, so that the lease runs out before the silence is long enough.
    story.tick_until(400);
    story.tell(Event::AttemptStarted { session: SessionId(1), attempt: AttemptId(1) });
    assert_eq!(story.tick_until(16_000), ["a1 lost", "j1 queued", "> close s1"]);
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
            vec![format!("a{n} lost"), "j1 queued".into()]
        } else {
            vec!["a3 lost".into(), "j1 errored".into(), "b1 errored".into()]
        };
        assert_eq!(lines, last, "runner {n}");
    }
}

#[test]
fn a_loss_before_the_task_started_is_not_held_against_the_job() {
    let mut story = Story::new();
    story.observe("app", None, 1, vec![task("a")]);
    for n in 1..=5 {
        story.join(n, &format!("w{n}"), 1);
        story.close(n);
        assert_eq!(story.tick_until(n * 1_000), [format!("a{n} lost"), "j1 queued".into()]);
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
    assert_eq!(lines, ["a20 lost", "j1 errored", "b1 errored", "> s1 recorded a20"]);
}

#[test]
fn a_cancel_is_in_force_at_once_and_the_slot_stays_taken_until_the_runner_has_ended_it() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a"), needing("b", &["a"])]);
    assert_eq!(
        story.cancel(1),
        ["a1 cancelled", "> s1 cancel a1", "j1 cancelled", "j2 skipped", "b1 cancelled", "> done"]
    );
    story.observe("app", Some(1), 2, vec![task("a")]);
    assert_eq!(
        story.finish(1, 1, Outcome::Cancelled),
        ["> s1 recorded a1", "j3 leased to r1 as a2 (number 1)", "> s1 lease a2"]
    );
    assert_eq!(story.cancel(1), ["> refused"]);
}

#[test]
fn the_result_of_a_cancelled_attempt_gets_the_same_answer_also_when_its_runner_was_given_up() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a")]);
    story.cancel(1);
    story.close(1);
    assert!(story.tick_until(1_000).is_empty());
    assert_eq!(story.join_as(2, "w1", 1, 1, &[], &[1]), ["> s2 registered, holds [], gone [AttemptId1]"]);
    assert_eq!(story.finish(2, 1, Outcome::Cancelled), ["> s2 recorded a1"]);
}

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
            "a1 lost",
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
    assert_eq!(reasons[0].1, "queued for 0 s: no connected runner offers the label gpu");
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
    assert_eq!(story.tell(Event::LeaseCheck), ["j1 errored", "b1 errored"]);
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
    assert_eq!(story.tick_until(60_000), ["a1 lost", "j1 queued"]);
    assert!(story.tick_until(68_750).is_empty());
    assert_eq!(story.tick_until(70_000), ["j1 errored", "j2 errored", "b1 errored"]);
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

#[test]
fn a_runner_that_was_asked_to_drain_is_told_again_when_it_comes_back() {
    let mut story = Story::new();
    story.join(1, "w1", 2);
    story.observe("app", None, 1, vec![task("a")]);
    story.close(1);
    let asked = Event::DrainAsked { request: Request(2), runner: RunnerId(1) };
    assert_eq!(story.tell(asked), ["> done"]);
    assert_eq!(story.join_as(2, "w1", 1, 2, &[], &[1]), ["> s2 registered, holds [a1], gone []", "> s2 drain"]);
    assert_eq!(story.observe("app", Some(1), 2, vec![task("a")]), ["build b2 added with 1 jobs", "> accepted as b2"]);
    assert_eq!(story.join_as(3, "w2", 1, 1, &[], &[])[1..], ["j2 leased to r2 as a2 (number 1)", "> s3 lease a2"]);
}

#[test]
fn a_runner_whose_infrastructure_fails_rests_longer_each_time() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a")]);
    assert_eq!(story.finish(1, 1, Outcome::Lost("disk full".into())), ["a1 lost", "j1 queued", "> s1 recorded a1"]);
    assert_eq!(story.tick_until(1_000), ["j1 leased to r1 as a2 (number 2)", "> s1 lease a2"]);
    story.finish(1, 2, Outcome::Lost("disk full".into()));
    assert!(story.tick_until(2_750).is_empty());
    assert_eq!(story.tick_until(3_000), ["j1 leased to r1 as a3 (number 3)", "> s1 lease a3"]);
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

#[test]
fn what_a_dispatcher_hears_after_it_was_held_up_is_not_forgiven_that_time() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.join(2, "w2", 1);
    story.observe("app", None, 1, vec![task("a"), task("b")]);
    story.tick_until(1_000);
    // What waited in the sockets comes before the first tick.
    story.now = Moment(600_000);
    story.ping(1, &[1]);
    story.close(2);
    assert_eq!(story.tick_until(601_000), ["a2 lost", "j2 queued"]);
    assert_eq!(story.tick_until(616_000), ["> close s1", "a1 lost", "j1 queued"]);
}

#[test]
fn a_dispatcher_that_is_held_up_before_its_first_tick_declares_nobody_dead() {
    let mut story = Story::new();
    story.scheduler = Scheduler::restore(policy(), Moment(0), Restored::default());
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
    story.observe("app", None, 1, vec![TaskSpec { exclusive: true, ..task("deploy") }]);
    story.join(2, "w2", 1);
    story.close(1);
    for second in (2..60).step_by(2) {
        assert!(story.tick_until(second * 1_000).is_empty(), "{second}");
        story.ping(2, &[]);
    }
    let lines = story.tick_until(61_000);
    assert_eq!(lines, ["a1 lost", "j1 queued", "j1 leased to r2 as a2 (number 2)", "> s2 lease a2"]);
}

#[test]
fn an_exclusive_attempt_waits_for_its_deadline_when_another_process_takes_its_runners_name() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![TaskSpec { exclusive: true, ..task("deploy") }]);
    story.close(1);
    assert_eq!(story.join_as(2, "w1", 2, 1, &[], &[]), ["> s2 registered, holds [], gone []"]);
    story.close(2);
    assert_eq!(story.join_as(3, "w1", 2, 1, &[], &[]), ["> s3 registered, holds [], gone []"]);
    for second in (2..60).step_by(2) {
        assert!(story.tick_until(second * 1_000).is_empty(), "{second}");
        story.ping(3, &[]);
    }
    assert_eq!(story.tick_until(61_000), ["a1 lost", "j1 queued", "j1 leased to r1 as a2 (number 2)", "> s3 lease a2"]);
    story.close(3);
    let lines = story.join_as(4, "w1", 2, 1, &[], &[]);
    assert_eq!(lines[1..3], ["a2 lost", "j1 queued"], "the same process never got it");
}

#[test]
fn work_without_a_runner_starts_one_here() {
    let mut story = Story::new();
    story.scheduler = Scheduler::new(Policy { spawn: 1, spawn_labels: vec!["os=linux".into()], ..policy() });
    story.observe("app", None, 1, vec![labelled("a", &["os=linux"]), labelled("b", &["gpu"])]);
    assert_eq!(story.tick_until(5_000), ["spawn a runner"]);
    assert_eq!(story.tick_until(10_500), ["spawn a runner"]);
}

#[test]
fn a_restored_scheduler_gives_runners_the_time_to_come_back() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a"), needing("b", &["a"])]);
    let build = crate::model::Build {
        id: BuildId(1),
        source: source("app", None, 1),
        created_at: WallTime(0),
        finished_at: None,
        verdict: None,
        problem: None,
    };
    let job = |id: u64, task: TaskSpec, state: JobState| crate::model::Job {
        id: JobId(id),
        build: BuildId(1),
        task: Arc::new(task),
        state,
        attempts: u32::from(id == 1),
        failures: 0,
        losses: 0,
    };
    let lease = crate::model::Attempt {
        id: AttemptId(1),
        job: JobId(1),
        build: BuildId(1),
        number: 1,
        runner: RunnerId(1),
        reason: String::new(),
        leased_at: WallTime(0),
        finished_at: None,
        duration_ms: None,
        outcome: None,
        log: LogSummary::default(),
    };
    let restored = Restored {
        builds: vec![RestoredBuild {
            build,
            jobs: vec![
                job(1, task("a"), JobState::Leased(AttemptId(1))),
                job(2, needing("b", &["a"]), JobState::Waiting),
            ],
            leases: vec![lease],
        }],
        runners: vec![crate::model::Runner { id: RunnerId(1), name: "w1".into(), first_seen: WallTime(0) }],
        last_build: 1,
        last_job: 2,
        last_attempt: 1,
        last_runner: 1,
        ..Restored::default()
    };
    let mut story =
        Story { scheduler: Scheduler::restore(policy(), Moment(0), restored.clone()), now: Moment(0), request: 0 };
    assert!(story.tick_until(14_000).is_empty());
    assert_eq!(story.join_as(1, "w1", 1, 1, &[], &[1]), ["> s1 registered, holds [a1], gone []"]);
    assert_eq!(
        story.finish(1, 1, Outcome::Passed),
        [
            "a1 passed",
            "j1 passed",
            "j2 queued",
            "> s1 recorded a1",
            "j2 leased to r1 as a2 (number 1)",
            "> s1 lease a2"
        ]
    );
    let mut story = Story { scheduler: Scheduler::restore(policy(), Moment(0), restored), now: Moment(0), request: 0 };
    assert_eq!(story.tick_until(15_500), ["a1 lost", "j1 queued"]);
}

#[test]
fn a_rerun_makes_new_attempts_beside_the_old_ones() {
    let mut story = Story::new();
    story.join(1, "w1", 2);
    story.observe("app", None, 1, vec![task("a"), task("b"), needing("c", &["b"])]);
    story.finish(1, 1, Outcome::Passed);
    story.finish(1, 2, Outcome::Failed(1));
    let build = crate::model::Build {
        id: BuildId(1),
        source: source("app", None, 1),
        created_at: WallTime(0),
        finished_at: Some(WallTime(0)),
        verdict: Some(crate::model::Verdict::Failed),
        problem: None,
    };
    let job = |id: u64, task: TaskSpec, ending: crate::model::Ending| crate::model::Job {
        id: JobId(id),
        build: BuildId(1),
        task: Arc::new(task),
        state: JobState::Finished(ending),
        attempts: 1,
        failures: 1,
        losses: 0,
    };
    use crate::model::Ending;
    let jobs = vec![
        job(1, task("a"), Ending::Passed),
        job(2, task("b"), Ending::Failed),
        job(3, needing("c", &["b"]), Ending::Skipped("b did not pass".into())),
    ];
    let restored = RestoredBuild { build, jobs, leases: vec![] };
    assert_eq!(
        story.tell(Event::RerunAsked { request: Request(1), build: restored, failed_only: true }),
        ["b1 reopened", "j2 queued", "j3 waiting", "> done", "j2 leased to r1 as a3 (number 2)", "> s1 lease a3"]
    );
    story.finish(1, 3, Outcome::Passed);
    assert_eq!(story.finish(1, 4, Outcome::Passed), ["a4 passed", "j3 passed", "b1 passed", "> s1 recorded a4"]);
}

#[test]
fn an_exclusive_job_that_was_cancelled_runs_again_only_after_its_attempt_has_ended() {
    let mut story = Story::new();
    let deploy = TaskSpec { exclusive: true, ..task("deploy") };
    story.join(1, "w1", 1);
    story.join(2, "w2", 1);
    story.observe("app", None, 1, vec![deploy.clone()]);
    story.cancel(1);
    let rerun = Event::RerunAsked { request: Request(1), build: cancelled_build(deploy), failed_only: true };
    assert_eq!(story.tell(rerun.clone()), ["> refused"]);
    // Cut off, it may still be ending what it did not even hear is cancelled.
    story.close(1);
    for second in (2..60).step_by(2) {
        assert!(story.tick_until(second * 1_000).is_empty(), "{second}");
        story.ping(2, &[]);
        assert_eq!(story.tell(rerun.clone()), ["> refused"]);
    }
    story.tick_until(61_000);
    let again = ["b1 reopened", "j1 queued", "> done", "j1 leased to r2 as a2 (number 2)", "> s2 lease a2"];
    assert_eq!(story.tell(rerun.clone()), again);

    let restored = Restored { last_build: 1, last_job: 1, last_attempt: 1, last_runner: 2, ..Restored::default() };
    story.scheduler = Scheduler::restore(policy(), story.now, restored);
    assert_eq!(story.tell(rerun.clone()), ["> refused"], "nobody knows any more whether it has ended");
    story.now = story.now.after(60_000);
    assert_eq!(story.tell(rerun), ["b1 reopened", "j1 queued", "> done"]);
}

/// Build b1 as the store has it after its one job was cancelled.
fn cancelled_build(task: TaskSpec) -> RestoredBuild {
    let build = crate::model::Build {
        id: BuildId(1),
        source: source("app", None, 1),
        created_at: WallTime(0),
        finished_at: Some(WallTime(0)),
        verdict: Some(crate::model::Verdict::Cancelled),
        problem: None,
    };
    let job = crate::model::Job {
        id: JobId(1),
        build: BuildId(1),
        task: Arc::new(task),
        state: JobState::Finished(crate::model::Ending::Cancelled),
        attempts: 1,
        failures: 0,
        losses: 0,
    };
    RestoredBuild { build, jobs: vec![job], leases: vec![] }
}
