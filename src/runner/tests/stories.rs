//! The machine's decisions as stories: an event, and the actions that it must cause.

use super::assignment;
use crate::model::{AttemptId, LogSummary, Moment, Outcome, Recipe, RepoName, Script};
use crate::runner::assignment::{Assignment, AttemptResult, HeldSource, SourceAhead};
use crate::runner::event::{Action, Event, Undelivered};
use crate::runner::machine::{Machine, Times};

fn lease(attempt: u64) -> Event {
    leased(attempt, false)
}

fn leased(attempt: u64, exclusive: bool) -> Event {
    let recipe = Recipe { exclusive, ..Recipe::new(Script::Shell("true".into())) };
    Event::Leased(Box::new(Assignment { lease_ms: 12_000, recipe: recipe.into(), ..assignment(attempt) }))
}

/// A lease of an attempt that takes several slots.
fn large(attempt: u64, slots: u32) -> Event {
    let Event::Leased(assignment) = lease(attempt) else { unreachable!("it is a lease") };
    Event::Leased(Box::new(Assignment { slots, ..*assignment }))
}

fn ended(attempt: u64, outcome: Outcome, log_bytes: u64) -> Event {
    let log = LogSummary { bytes: log_bytes, crc32: 0, missing: None };
    Event::Ended { attempt: AttemptId(attempt), report: Box::new(AttemptResult::new(outcome, None, log)) }
}

fn registered(since: u64, gone: &[u64]) -> Event {
    Event::Registered { since: Moment(since), gone: ids(gone), streams: Vec::new() }
}

fn renewed(since: u64, gone: &[u64]) -> Event {
    Event::Renewed { since: Moment(since), gone: ids(gone) }
}

fn tick(delivered: u64) -> Event {
    Event::Tick { delivered: Moment(delivered) }
}

fn ids(raw: &[u64]) -> Vec<AttemptId> {
    raw.iter().copied().map(AttemptId).collect()
}

/// Returns an action as one line.
fn line(command: &Action) -> String {
    let outcome = |AttemptResult { outcome, .. }: &AttemptResult| {
        if let Outcome::Lost(why) = outcome { format!("lost: {why}") } else { outcome.word().to_owned() }
    };
    match command {
        Action::Register { holding, draining } => {
            let drains = if *draining { ", draining" } else { "" };
            format!("register holding {holding:?}{drains}").replace("AttemptId", "a")
        }
        Action::ResumeStreams(_) => "resume streams".into(),
        Action::PauseStreams => "pause streams".into(),
        Action::TakeAhead { slot, .. } => format!("take source in slot {slot}"),
        Action::Start { slot, assignment } => format!("start {} in slot {slot}", assignment.attempt),
        Action::AskSource { attempt, .. } => format!("ask source of {attempt}"),
        Action::AskSecrets(attempt) => format!("ask secrets of {attempt}"),
        Action::SayStarted(attempt) => format!("say {attempt} started"),
        Action::Cancel(attempt) => format!("cancel {attempt}"),
        Action::Keep { attempt, report } => format!("keep {attempt} {}", outcome(report)),
        Action::Deliver { attempt, report } => format!("deliver {attempt} {}", outcome(report)),
        Action::Mute(attempt) => format!("mute {attempt}"),
        Action::Forget { attempt, .. } => format!("forget {attempt}"),
        Action::SayDraining => "say draining".into(),
        Action::End => "end".into(),
        Action::GiveUp(Undelivered { results, bytes }) => format!("give up {results} results of {bytes} bytes"),
    }
}

const TIMES: Times = Times { idle_exit_ms: None, grace_ms: 0, delivery_ms: 10_000 };

struct Story {
    machine: Machine,
}

impl Story {
    fn new(slots: usize) -> Self {
        Self { machine: Machine::new(Moment(0), slots, TIMES, Vec::new()) }
    }

    /// A runner that has registered at 0.
    fn here(slots: usize) -> Self {
        let mut story = Self::new(slots);
        story.at(0, Event::Connected, &["register holding []"]);
        story.at(0, registered(0, &[]), &["resume streams"]);
        story
    }

    #[track_caller]
    fn at(&mut self, now: u64, event: Event, wanted: &[&str]) {
        let told = format!("at {now} {event:?}");
        let found: Vec<_> = self.machine.handle(Moment(now), event).iter().map(line).collect();
        assert_eq!(found, wanted, "{told}");
    }
}

#[test]
fn an_attempt_of_several_slots_starts_only_when_so_many_have_ended() {
    let mut story = Story::here(3);
    story.at(1, large(1, 2), &["start a1 in slot 0"]);
    story.at(2, lease(2), &["start a2 in slot 1"]);
    // Slot 2 is empty, and belongs to the first attempt.
    story.at(3, lease(3), &["deliver a3 lost: the runner has no free slot"]);
    story.at(4, renewed(4, &[1]), &["mute a1", "cancel a1"]);
    story.at(5, large(4, 2), &[]);
    story.at(6, lease(5), &["deliver a5 lost: the runner has no free slot"]);
    story.at(7, ended(1, Outcome::Cancelled, 0), &["forget a1", "start a4 in slot 0"]);
    story.at(8, renewed(8, &[4]), &["mute a4", "cancel a4"]);
    story.at(9, lease(6), &[]);
    story.at(10, lease(7), &[]);
    let both = ["forget a4", "start a6 in slot 0", "start a7 in slot 2"];
    story.at(11, ended(4, Outcome::Cancelled, 0), &both);
}

#[test]
fn an_attempt_is_started_reported_and_forgotten_once_recorded() {
    let mut story = Story::here(1);
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(2, Event::Started(AttemptId(7)), &["say a7 started"]);
    story.at(3, ended(7, Outcome::Passed, 0), &["keep a7 passed", "deliver a7 passed"]);
    assert_eq!(story.machine.holding(), [AttemptId(7)], "held until the dispatcher has it");
    story.at(4, lease(8), &["start a8 in slot 0"]);
    story.at(5, Event::Recorded(AttemptId(7)), &["forget a7"]);
    assert_eq!(story.machine.holding(), [AttemptId(8)]);
}

#[test]
fn a_lease_without_a_free_slot_is_lost_and_does_not_fail() {
    let mut story = Story::here(1);
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(2, lease(8), &["deliver a8 lost: the runner has no free slot"]);
}

#[test]
fn a_lease_heard_twice_is_executed_once() {
    let mut story = Story::here(2);
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(2, lease(7), &[]);
}

#[test]
fn a_lease_for_a_slot_whose_attempt_is_being_ended_waits_for_it() {
    let mut story = Story::here(1);
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(2, renewed(1, &[7]), &["mute a7", "cancel a7"]);
    story.at(3, lease(8), &[]);
    story.at(4, lease(9), &["deliver a9 lost: the runner has no free slot"]);
    story.at(5, ended(7, Outcome::Cancelled, 5), &["forget a7", "start a8 in slot 0"]);
}

#[test]
fn work_goes_on_while_the_dispatcher_is_away_and_is_reported_when_it_is_back() {
    let mut story = Story::here(2);
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(1, lease(8), &["start a8 in slot 1"]);
    story.at(2, Event::Disconnected, &["pause streams"]);
    story.at(3, Event::Started(AttemptId(8)), &[]);
    story.at(4, ended(7, Outcome::Failed(1), 0), &["keep a7 failed"]);
    story.at(5, Event::Connected, &["register holding [a(7), a(8)]"]);
    story.at(6, registered(5, &[]), &["resume streams", "deliver a7 failed", "say a8 started"]);
    story.at(7, ended(8, Outcome::Passed, 0), &["keep a8 passed", "deliver a8 passed"]);
}

#[test]
fn an_attempt_with_a_log_is_handed_to_the_uploader_once_wherever_the_dispatcher_is() {
    let mut story = Story::here(1);
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(2, Event::Disconnected, &["pause streams"]);
    story.at(3, ended(7, Outcome::Passed, 100), &["keep a7 passed", "deliver a7 passed"]);
    story.at(4, Event::Connected, &["register holding [a(7)]"]);
    story.at(5, registered(4, &[]), &["resume streams"]);
}

#[test]
fn what_the_dispatcher_no_longer_holds_is_ended_and_forgotten() {
    let mut story = Story::here(2);
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(1, lease(8), &["start a8 in slot 1"]);
    story.at(2, Event::Disconnected, &["pause streams"]);
    story.at(3, ended(8, Outcome::Passed, 0), &["keep a8 passed"]);
    story.at(4, Event::Connected, &["register holding [a(7), a(8)]"]);
    assert!(story.machine.is_held(AttemptId(7)));
    story.at(5, registered(4, &[7, 8]), &["mute a7", "cancel a7", "forget a8", "resume streams"]);
    assert!(!story.machine.is_held(AttemptId(7)));
    story.at(6, ended(7, Outcome::Cancelled, 0), &["forget a7"]);
    assert!(story.machine.holding().is_empty());
}

#[test]
fn source_that_comes_ahead_goes_to_the_slot_that_the_lease_will_go_to() {
    let mut story = Story::here(2);
    let source = || {
        let (repo, commit) = (RepoName::new("app").unwrap(), "ab".repeat(20).parse().unwrap());
        Event::SourceCame(Box::new(SourceAhead { repo, commit, pack: Vec::new() }))
    };
    story.at(1, source(), &["take source in slot 0"]);
    story.at(2, lease(7), &["start a7 in slot 0"]);
    story.at(3, source(), &["take source in slot 1"]);
    story.at(4, lease(8), &["start a8 in slot 1"]);
    // No slot is free, so the source is not urgent.
    story.at(5, source(), &[]);
}

#[test]
fn the_source_is_asked_for_when_the_dispatcher_can_hear_it() {
    let mut story = Story::here(1);
    let wanted = || Event::SourceWanted { attempt: AttemptId(7), haves: HeldSource::default() };
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(2, wanted(), &["ask source of a7"]);
    story.at(3, Event::Disconnected, &["pause streams"]);
    story.at(4, wanted(), &[]);
    story.at(5, Event::Connected, &["register holding [a(7)]"]);
    story.at(6, registered(5, &[]), &["resume streams", "ask source of a7"]);
}

#[test]
fn secrets_are_asked_for_when_the_dispatcher_can_hear_it() {
    let mut story = Story::here(1);
    let wanted = || Event::SecretsWanted(AttemptId(7));
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(2, wanted(), &["ask secrets of a7"]);
    story.at(3, Event::Disconnected, &["pause streams"]);
    story.at(4, wanted(), &[]);
    story.at(5, Event::Connected, &["register holding [a(7)]"]);
    story.at(6, registered(5, &[]), &["resume streams", "ask secrets of a7"]);
}

#[test]
fn a_cancel_ends_the_attempt_and_one_that_comes_late_changes_nothing() {
    let mut story = Story::here(1);
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(2, Event::CancelAsked(AttemptId(7)), &["cancel a7"]);
    story.at(3, ended(7, Outcome::Cancelled, 0), &["keep a7 cancelled", "deliver a7 cancelled"]);
    story.at(4, Event::CancelAsked(AttemptId(7)), &[]);
    story.at(5, Event::CancelAsked(AttemptId(99)), &[]);
}

#[test]
fn results_without_an_answer_are_said_again() {
    let mut story = Story::here(1);
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(2, ended(7, Outcome::Passed, 0), &["keep a7 passed", "deliver a7 passed"]);
    assert_eq!(story.machine.next_deadline(Moment(2)), Some(Moment(30_002)));
    story.at(30_001, tick(0), &[]);
    story.at(30_002, tick(0), &["deliver a7 passed"]);
}

#[test]
fn an_exclusive_attempt_is_ended_before_its_lease_can_be_given_to_another() {
    let mut story = Story::here(2);
    story.at(1000, leased(7, true), &["start a7 in slot 0"]);
    story.at(1000, leased(8, false), &["start a8 in slot 1"]);
    // The ping was sent at 2 s. The late reading of its answer does not count.
    story.at(5000, renewed(2000, &[]), &[]);
    story.at(7999, tick(0), &[]);
    story.at(8000, tick(0), &["cancel a7"]);
    let lost = "the runner was cut off from the dispatcher";
    let wanted = [format!("keep a7 lost: {lost}"), format!("deliver a7 lost: {lost}")];
    story.at(8500, ended(7, Outcome::Cancelled, 0), &wanted.each_ref().map(String::as_str));
}

#[test]
fn a_cut_off_exclusive_attempt_that_had_just_passed_has_passed() {
    let mut story = Story::here(1);
    story.at(0, leased(7, true), &["start a7 in slot 0"]);
    story.at(6000, tick(0), &["cancel a7"]);
    story.at(6001, ended(7, Outcome::Passed, 0), &["keep a7 passed", "deliver a7 passed"]);
}

#[test]
fn a_drained_runner_delivers_what_it_holds_and_ends_when_it_was_heard() {
    let mut story = Story::here(1);
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(10, Event::DrainAsked, &["say draining"]);
    story.at(11, ended(7, Outcome::Passed, 0), &["keep a7 passed", "deliver a7 passed"]);
    story.at(12, Event::Recorded(AttemptId(7)), &["forget a7"]);
    story.at(13, renewed(9, &[]), &[]);
    story.at(14, renewed(10, &[]), &["end"]);
}

#[test]
fn a_lease_that_crossed_the_drain_on_its_way_is_still_executed() {
    let mut story = Story::here(1);
    story.at(10, Event::DrainAsked, &["say draining"]);
    story.at(11, lease(7), &["start a7 in slot 0"]);
    story.at(12, renewed(10, &[]), &[]);
    story.at(13, ended(7, Outcome::Passed, 0), &["keep a7 passed", "deliver a7 passed"]);
    story.at(14, Event::Recorded(AttemptId(7)), &["forget a7", "end"]);
}

#[test]
fn a_runner_without_a_dispatcher_drains_at_once() {
    Story::new(1).at(1, Event::DrainAsked, &["end"]);
}

#[test]
fn a_drained_runner_tells_every_new_session() {
    let mut story = Story::here(1);
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(2, Event::DrainAsked, &["say draining"]);
    story.at(3, Event::Disconnected, &["pause streams"]);
    story.at(4, Event::Connected, &["register holding [a(7)], draining"]);
    story.at(5, registered(4, &[]), &["resume streams", "say draining"]);
}

#[test]
fn a_drained_runner_without_a_dispatcher_gives_up_in_bounded_time_after_its_last_attempt() {
    let mut story = Story::here(2);
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(1, lease(8), &["start a8 in slot 1"]);
    story.at(2, Event::Disconnected, &["pause streams"]);
    story.at(3, Event::DrainAsked, &[]);
    story.at(4, ended(7, Outcome::Passed, 100), &["keep a7 passed", "deliver a7 passed"]);
    // The other attempt may execute for any time.
    story.at(60_000, tick(0), &[]);
    story.at(70_000, ended(8, Outcome::Failed(1), 20), &["keep a8 failed", "deliver a8 failed"]);
    assert_eq!(story.machine.next_deadline(Moment(70_000)), Some(Moment(80_000)));
    story.at(79_999, tick(0), &[]);
    story.at(80_000, tick(0), &["give up 2 results of 120 bytes"]);
}

#[test]
fn a_drained_runner_stays_while_the_dispatcher_takes_what_it_has() {
    let mut story = Story::here(1);
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(2, Event::DrainAsked, &["say draining"]);
    story.at(3, ended(7, Outcome::Passed, 1 << 30), &["keep a7 passed", "deliver a7 passed"]);
    story.at(10_003, tick(9_000), &[]);
    assert_eq!(story.machine.next_deadline(Moment(10_003)), Some(Moment(19_000)));
    story.at(18_000, Event::Disconnected, &["pause streams"]);
    story.at(18_500, Event::Connected, &["register holding [a(7)], draining"]);
    story.at(18_600, registered(18_500, &[]), &["resume streams", "say draining"]);
    // A reconnect is no progress.
    story.at(19_000, tick(9_000), &["give up 1 results of 1073741824 bytes"]);
}

#[test]
fn a_stopped_runner_ends_everything_and_says_so() {
    let mut story = Story::here(1);
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(2, Event::StopAsked, &["cancel a7"]);
    let (keep, deliver) = ("keep a7 cancelled", "deliver a7 cancelled");
    story.at(3, ended(7, Outcome::Cancelled, 0), &[keep, deliver]);
    assert_eq!(story.machine.next_deadline(Moment(3)), Some(Moment(1003)));
    story.at(4, Event::Recorded(AttemptId(7)), &["forget a7", "end"]);
}

#[test]
fn a_stopped_runner_does_not_wait_long_for_an_answer() {
    let mut story = Story::here(1);
    story.at(1, lease(7), &["start a7 in slot 0"]);
    story.at(2, ended(7, Outcome::Passed, 0), &["keep a7 passed", "deliver a7 passed"]);
    story.at(3, Event::StopAsked, &[]);
    story.at(1002, tick(0), &[]);
    story.at(1003, tick(0), &["end"]);
}

#[test]
fn a_runner_ends_after_being_idle_for_as_long_as_it_was_told() {
    let mut story =
        Story { machine: Machine::new(Moment(0), 1, Times { idle_exit_ms: Some(100), ..TIMES }, Vec::new()) };
    story.at(0, Event::Connected, &["register holding []"]);
    story.at(0, registered(0, &[]), &["resume streams"]);
    story.at(99, lease(7), &["start a7 in slot 0"]);
    story.at(500, ended(7, Outcome::Passed, 0), &["keep a7 passed", "deliver a7 passed"]);
    story.at(510, Event::Recorded(AttemptId(7)), &["forget a7"]);
    assert_eq!(story.machine.next_deadline(Moment(510)), Some(Moment(610)));
    story.at(609, tick(0), &[]);
    story.at(610, tick(0), &["say draining"]);
    story.at(611, renewed(610, &[]), &["end"]);
}

#[test]
fn what_an_earlier_run_ended_is_registered_and_delivered() {
    let log = LogSummary { bytes: 5, crc32: 0, missing: None };
    let report = |log| AttemptResult::new(Outcome::Passed, None, log);
    let undelivered = vec![(AttemptId(7), report(LogSummary::default())), (AttemptId(8), report(log))];
    let mut story = Story { machine: Machine::new(Moment(0), 1, TIMES, undelivered) };
    story.at(0, Event::Connected, &["register holding [a(7), a(8)]"]);
    story.at(0, registered(0, &[]), &["resume streams", "deliver a7 passed"]);
}
