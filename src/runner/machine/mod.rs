//! The runner's decisions. Pure: an event and the time go in, actions come out. Owns the held attempts, the slots, the
//! results that are not answered yet, and whether the runner drains or stops. Does no I/O and never reads a clock. The
//! core calls it and performs its actions in order.
//!
//! Moments are of `CLOCK_BOOTTIME`, which goes on while the machine sleeps: a runner that slept must not believe that
//! its leases slept, too.

mod attempt;
mod departure;
mod room;

use std::collections::{BTreeMap, VecDeque};
use std::mem;

use super::assignment::{Assignment, AttemptResult};
use super::event::{Action, Event, Offsets, Undelivered};
use super::limits::{EXCLUSIVE_CHECK_MS, RESULTS_REPEAT_MS};
use crate::model::reason::LossReason;
use crate::model::{AttemptId, LogSummary, Moment, Outcome};
use attempt::{AttemptPhase, EarlyEnd, HeldAttempt};

/// The runner's state.
#[derive(Debug)]
pub(super) struct Machine {
    /// The attempt that each slot executes.
    slots: Vec<Option<AttemptId>>,
    held: BTreeMap<AttemptId, HeldAttempt>,
    /// Leases that came while every slot was still ending an attempt that is no longer wanted.
    waiting: VecDeque<Box<Assignment>>,
    /// Requests of slots that were made while the dispatcher was away.
    wanted: BTreeMap<AttemptId, Action>,
    link: Connection,
    /// The time since which leases are surely renewed: the last answered ping was sent then.
    renewed: Moment,
    leaving: Departure,
    idle_since: Moment,
    times: Times,
}

/// The time limits of a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// Idle time after which the runner drains.
    pub(super) idle_exit_ms: Option<u64>,
    /// Time between TERM and KILL.
    pub(super) grace_ms: u64,
    /// Time after which a draining runner without attempts gives up a dispatcher that takes nothing.
    pub(super) delivery_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    Away,
    /// The registration is sent and not answered.
    Registering,
    Here,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Departure {
    /// The runner stays.
    No,
    /// The runner drains. The dispatcher was told at `told`, and has `heard` of it. Since `delivering` nothing executes
    /// and the dispatcher has taken nothing.
    Draining { told: Option<Moment>, heard: bool, delivering: Option<Moment> },
    /// The runner stops. Every slot was empty at `since`.
    Stopping { since: Option<Moment> },
    /// The runner was told to end.
    Over,
}

impl Machine {
    /// A runner with `slots` slots and the undelivered results of earlier runs.
    pub(super) fn new(now: Moment, slots: usize, times: Times, undelivered: Vec<(AttemptId, AttemptResult)>) -> Self {
        let ended = |report| AttemptPhase::Ended { report, said: None };
        let held = |report| HeldAttempt { phase: ended(report), slots: 1, exclusive_ms: None, ending: None };
        Self {
            slots: vec![None; slots],
            held: undelivered.into_iter().map(|(attempt, report)| (attempt, held(report))).collect(),
            waiting: VecDeque::new(),
            wanted: BTreeMap::new(),
            link: Connection::Away,
            renewed: now,
            leaving: Departure::No,
            idle_since: now,
            times,
        }
    }

    /// Applies one event and returns the actions that follow, in the order in which they must happen.
    pub(super) fn handle(&mut self, now: Moment, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        // Before the event: the time without work counts from the last event that found an attempt here.
        if !self.held.is_empty() {
            self.idle_since = now;
        }
        match event {
            Event::Connected => {
                self.link = Connection::Registering;
                let draining = matches!(self.leaving, Departure::Draining { .. });
                out.push(Action::Register { holding: self.holding(), draining });
            }
            Event::Registered { since, gone, streams } => self.registered(now, since, &gone, streams, &mut out),
            Event::Disconnected => self.disconnected(&mut out),
            Event::SourceCame(ahead) => {
                // The lease will go to this slot. If no slot is free, the source is not urgent.
                if let Some(slot) = self.slots.iter().position(Option::is_none) {
                    out.push(Action::TakeAhead { slot, ahead });
                }
            }
            Event::Leased(assignment) => self.leased(now, assignment, &mut out),
            Event::LeaseUnreadable { attempt, why } => self.refuse(now, attempt, why, &mut out),
            Event::SourceWanted { attempt, haves } => {
                self.ask(attempt, Action::AskSource { attempt, haves }, &mut out);
            }
            Event::SecretsWanted(attempt) => self.ask(attempt, Action::AskSecrets(attempt), &mut out),
            Event::Started(attempt) => self.started(attempt, &mut out),
            Event::CancelAsked(attempt) => self.cancel(now, attempt, &mut out),
            Event::Renewed { since, gone } => self.renewed(since, &gone, &mut out),
            Event::Ended { attempt, report } => self.ended(now, attempt, *report, &mut out),
            Event::Recorded(attempt) | Event::Fenced(attempt) => {
                self.gone(attempt, &mut out);
                self.delivered(now);
            }
            Event::DrainAsked => self.drain(now, &mut out),
            Event::StopAsked => self.stop(&mut out),
            Event::Tick { delivered } => self.delivered(delivered),
        }
        self.look_at_time(now, &mut out);
        out
    }

    /// Returns the attempts that are executing, or whose results the dispatcher has not taken yet.
    pub(super) fn holding(&self) -> Vec<AttemptId> {
        self.held.keys().copied().collect()
    }

    /// Whether the attempt is held, and the dispatcher has not let it go.
    pub(super) fn is_held(&self, attempt: AttemptId) -> bool {
        self.held.get(&attempt).is_some_and(|held| held.ending != Some(EarlyEnd::Gone))
    }

    /// Counts the results that the dispatcher has not taken, as far as is known.
    pub(super) fn undelivered(&self) -> Undelivered {
        let mut left = Undelivered::default();
        for held in self.held.values() {
            if let AttemptPhase::Ended { report, .. } = &held.phase {
                left.results += 1;
                left.bytes += report.bytes();
            }
        }
        left
    }

    /// Returns the time since which leases are surely renewed.
    pub(super) fn surely_renewed(&self) -> Moment {
        self.renewed
    }

    /// Returns the time of the next tick, if no event comes before.
    pub(super) fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let exclusive = self.running_exclusive().next().map(|_| now.after(EXCLUSIVE_CHECK_MS));
        let is_here = self.link == Connection::Here;
        let repeat = self.held.values().filter_map(|held| match &held.phase {
            AttemptPhase::Ended { said: Some(said), .. } if is_here => Some(said.after(RESULTS_REPEAT_MS)),
            AttemptPhase::Ended { .. } | AttemptPhase::Waiting | AttemptPhase::Executing { .. } => None,
        });
        repeat.chain(exclusive).chain(self.departure_deadline()).min()
    }

    fn registered(&mut self, now: Moment, since: Moment, gone: &[AttemptId], streams: Offsets, out: &mut Vec<Action>) {
        self.link = Connection::Here;
        self.renewed = since;
        for attempt in gone {
            self.gone(*attempt, out);
        }
        out.push(Action::ResumeStreams(streams));
        for (attempt, held) in &mut self.held {
            match &mut held.phase {
                AttemptPhase::Executing { started: true } => out.push(Action::SayStarted(*attempt)),
                // Results with streams follow their streams.
                AttemptPhase::Ended { report, said } if !report.has_bytes() => {
                    *said = Some(now);
                    out.push(Action::Deliver { attempt: *attempt, report: report.clone() });
                }
                AttemptPhase::Waiting | AttemptPhase::Executing { .. } | AttemptPhase::Ended { .. } => {}
            }
        }
        out.extend(mem::take(&mut self.wanted).into_values());
        if let Departure::Draining { told, heard, .. } = &mut self.leaving {
            (*told, *heard) = (Some(now), false);
            out.push(Action::SayDraining);
        }
    }

    /// Asks the dispatcher for something that a slot needs, now or when it is here.
    fn ask(&mut self, attempt: AttemptId, question: Action, out: &mut Vec<Action>) {
        match self.link {
            Connection::Here => out.push(question),
            Connection::Away | Connection::Registering => drop(self.wanted.insert(attempt, question)),
        }
    }

    fn disconnected(&mut self, out: &mut Vec<Action>) {
        self.link = Connection::Away;
        for held in self.held.values_mut() {
            if let AttemptPhase::Ended { said, .. } = &mut held.phase {
                *said = None;
            }
        }
        out.push(Action::PauseStreams);
    }

    fn leased(&mut self, now: Moment, assignment: Box<Assignment>, out: &mut Vec<Action>) {
        let attempt = assignment.attempt;
        if self.held.contains_key(&attempt) {
            // The same lease came twice. Its result is on its way, or will be.
            return;
        }
        if matches!(self.leaving, Departure::Stopping { .. } | Departure::Over) {
            return self.refuse(now, attempt, "the runner is stopping".into(), out);
        }
        let exclusive_ms = assignment.exclusive_ms(self.times.grace_ms);
        if exclusive_ms == Some(0) {
            let why = "its grace period is too long for an exclusive task: start it with a shorter --grace";
            return self.refuse(now, attempt, why.into(), out);
        }
        let hold = |phase| HeldAttempt { phase, slots: assignment.slots, exclusive_ms, ending: None };
        if let Some(slot) = self.slot_for(assignment.slots) {
            self.held.insert(attempt, hold(AttemptPhase::Executing { started: false }));
            self.slots[slot] = Some(attempt);
            out.push(Action::Start { slot, assignment });
            return;
        }
        // The dispatcher counts a slot as free when it lets an attempt go. Here the attempt's processes must end first.
        if self.has_room_soon(assignment.slots) {
            self.held.insert(attempt, hold(AttemptPhase::Waiting));
            self.waiting.push_back(assignment);
        } else {
            self.refuse(now, attempt, "the runner has no free slot".into(), out);
        }
    }

    fn refuse(&mut self, now: Moment, attempt: AttemptId, why: String, out: &mut Vec<Action>) {
        let phase = AttemptPhase::Ended { report: AttemptResult::lost(why), said: None };
        self.held.insert(attempt, HeldAttempt { phase, slots: 1, exclusive_ms: None, ending: None });
        self.deliver(now, attempt, out);
    }

    fn started(&mut self, attempt: AttemptId, out: &mut Vec<Action>) {
        let Some(held) = self.held.get_mut(&attempt) else { return };
        if let AttemptPhase::Executing { started } = &mut held.phase {
            *started = true;
            if self.link == Connection::Here {
                out.push(Action::SayStarted(attempt));
            }
        }
    }

    fn cancel(&mut self, now: Moment, attempt: AttemptId, out: &mut Vec<Action>) {
        let Some(held) = self.held.get_mut(&attempt) else { return };
        match held.phase {
            AttemptPhase::Executing { .. } => self.end_early(attempt, EarlyEnd::Cancelled, out),
            AttemptPhase::Waiting => {
                let report = AttemptResult::new(Outcome::Cancelled, None, LogSummary::default());
                held.phase = AttemptPhase::Ended { report, said: None };
                self.waiting.retain(|a| a.attempt != attempt);
                self.deliver(now, attempt, out);
            }
            // The attempt has ended, and its result says how.
            AttemptPhase::Ended { .. } => {}
        }
    }

    fn renewed(&mut self, since: Moment, gone: &[AttemptId], out: &mut Vec<Action>) {
        self.renewed = self.renewed.max(since);
        if let Departure::Draining { told: Some(told), heard, .. } = &mut self.leaving {
            *heard |= since >= *told;
        }
        for attempt in gone {
            self.gone(*attempt, out);
        }
    }

    fn ended(&mut self, now: Moment, attempt: AttemptId, mut report: AttemptResult, out: &mut Vec<Action>) {
        for slot in &mut self.slots {
            if *slot == Some(attempt) {
                *slot = None;
            }
        }
        self.wanted.remove(&attempt);
        if let Some(held) = self.held.get_mut(&attempt) {
            if held.ending == Some(EarlyEnd::Gone) {
                self.held.remove(&attempt);
                out.push(Action::Forget { attempt, has_spool: report.has_bytes() });
            } else {
                if let (Outcome::Cancelled, Some(why)) = (&report.outcome, held.ending.and_then(EarlyEnd::loss)) {
                    report.outcome = Outcome::Lost(LossReason::CutOff { text: why.into() });
                }
                out.push(Action::Keep { attempt, report: report.clone() });
                held.phase = AttemptPhase::Ended { report, said: None };
                self.deliver(now, attempt, out);
            }
        }
        let is_stopping = matches!(self.leaving, Departure::Stopping { .. } | Departure::Over);
        // Leases that waited may have room now: the first of them, and those behind it as long as they have, too.
        while self.waiting.front().is_some_and(|next| is_stopping || self.slot_for(next.slots).is_some())
            && let Some(assignment) = self.waiting.pop_front()
        {
            self.held.remove(&assignment.attempt);
            self.leased(now, assignment, out);
        }
    }

    /// Delivers a result if that is possible now. A result with streams goes to the uploader at once, which keeps it
    /// while the dispatcher is away.
    fn deliver(&mut self, now: Moment, attempt: AttemptId, out: &mut Vec<Action>) {
        let Some(HeldAttempt { phase: AttemptPhase::Ended { report, said }, .. }) = self.held.get_mut(&attempt) else {
            return;
        };
        if !report.has_bytes() {
            if self.link != Connection::Here {
                return;
            }
            *said = Some(now);
        }
        out.push(Action::Deliver { attempt, report: report.clone() });
    }

    /// The dispatcher has recorded the result, or does not hold the lease any more: ends an executing attempt, and
    /// forgets one that has ended.
    fn gone(&mut self, attempt: AttemptId, out: &mut Vec<Action>) {
        match self.held.get(&attempt).map(|held| &held.phase) {
            Some(AttemptPhase::Executing { .. }) => {
                out.push(Action::Mute(attempt));
                self.end_early(attempt, EarlyEnd::Gone, out);
            }
            Some(AttemptPhase::Waiting) => {
                self.waiting.retain(|a| a.attempt != attempt);
                self.held.remove(&attempt);
            }
            Some(AttemptPhase::Ended { report, .. }) => {
                out.push(Action::Forget { attempt, has_spool: report.has_bytes() });
                self.held.remove(&attempt);
            }
            None => {}
        }
    }

    fn end_early(&mut self, attempt: AttemptId, early: EarlyEnd, out: &mut Vec<Action>) {
        let Some(held) = self.held.get_mut(&attempt) else { return };
        if held.ending.is_none() {
            out.push(Action::Cancel(attempt));
        }
        // `Gone` is final. Otherwise the first reason is the one that is reported.
        if held.ending.is_none() || early == EarlyEnd::Gone {
            held.ending = Some(early);
        }
    }

    /// Decides everything that follows from the time alone, or from having nothing left to do.
    fn look_at_time(&mut self, now: Moment, out: &mut Vec<Action>) {
        let limit = now.since(self.renewed);
        let cut_off: Vec<_> = self.running_exclusive().filter(|(_, ms)| limit >= *ms).map(|(a, _)| a).collect();
        for attempt in cut_off {
            self.end_early(attempt, EarlyEnd::CutOff, out);
        }
        self.repeat_results(now, out);
        self.depart(now, out);
    }

    fn repeat_results(&mut self, now: Moment, out: &mut Vec<Action>) {
        if self.link != Connection::Here {
            return;
        }
        for (attempt, held) in &mut self.held {
            if let AttemptPhase::Ended { report, said: Some(said) } = &mut held.phase
                && now.since(*said) >= RESULTS_REPEAT_MS
            {
                *said = now;
                out.push(Action::Deliver { attempt: *attempt, report: report.clone() });
            }
        }
    }

    /// Returns the exclusive attempts that are not being ended yet, each with its limit.
    fn running_exclusive(&self) -> impl Iterator<Item = (AttemptId, u64)> {
        let running = self.held.iter().filter(|(_, h)| h.phase.is_executing() && h.ending.is_none());
        running.filter_map(|(attempt, held)| Some((*attempt, held.exclusive_ms?)))
    }
}
