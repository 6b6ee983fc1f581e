//! The promises about coming back: when each runner was heard, and whether each lost attempt was lost for a
//! reason that the promises allow, neither too early nor too late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use surveil::model::reason::{ErrorReason, LossReason};
use surveil::model::{AttemptId, Ending, JobId, Outcome, Record, RunnerId, RunnerName, SessionId, TaskSpec};
use surveil::scheduler::{Effect, Event, RunnerCommand, RunnerJoined};

use super::history::{Broken, Entry, Fact, Promise};
use super::presence::Seen;
use super::terms::Terms;

/// All broken promises about coming back in this history.
pub(crate) fn check(entries: &[Entry], terms: &Terms) -> Vec<Broken> {
    let mut watch = Watch::new(*terms);
    for (index, entry) in entries.iter().enumerate() {
        (watch.now, watch.index) = (entry.at, index);
        watch.take(&entry.fact);
    }
    watch.broken
}

/// The dispatcher's input and decisions, as they are seen from outside.
struct Watch<'a> {
    terms: Terms,
    now: u64,
    index: usize,
    started: u64,
    /// Periods in which the dispatcher could not act, in order.
    held_up: Vec<(u64, u64)>,
    runners: BTreeMap<RunnerName, Seen>,
    sessions: BTreeMap<SessionId, RunnerName>,
    durable: Book,
    live: Book,
    cause: Option<&'a Event>,
    /// The join that is being handled, and whether it must be refused.
    joining: Option<(&'a RunnerJoined, bool)>,
    joined_at: u64,
    overtaken: Option<&'a RunnerJoined>,
    broken: Vec<Broken>,
}

#[derive(Default, Clone)]
struct Book {
    names: BTreeMap<RunnerId, RunnerName>,
    drained: BTreeSet<RunnerName>,
    tasks: BTreeMap<JobId, Arc<TaskSpec>>,
    /// Attempts without an outcome.
    open: BTreeMap<AttemptId, Open>,
}

#[derive(Clone)]
struct Open {
    runner: RunnerId,
    is_exclusive: bool,
    renewed: u64,
}

impl Book {
    fn take(&mut self, record: &Record, now: u64) {
        match record {
            Record::RunnerSaved(runner) => {
                self.names.insert(runner.id, runner.name.clone());
                self.drained.remove(&runner.name);
                self.drained.extend(runner.drain.map(|_| runner.name.clone()));
            }
            Record::BuildAdded { jobs, .. } | Record::JobsJoined { jobs, .. } => {
                self.tasks.extend(jobs.iter().map(|job| (job.id, job.task.clone())));
            }
            Record::AttemptLeased(attempt) => {
                let is_exclusive = self.tasks.get(&attempt.job).is_some_and(|task| task.recipe.exclusive);
                self.open.insert(attempt.id, Open { runner: attempt.runner, is_exclusive, renewed: now });
            }
            Record::AttemptFinished { attempt, .. } => drop(self.open.remove(attempt)),
            _ => {}
        }
    }

    /// The open attempt, if that runner executes it.
    fn open_of(&mut self, attempt: AttemptId, name: &RunnerName) -> Option<&mut Open> {
        let open = self.open.get_mut(&attempt)?;
        (self.names.get(&open.runner) == Some(name)).then_some(open)
    }
}

impl<'a> Watch<'a> {
    fn new(terms: Terms) -> Self {
        Self {
            terms,
            now: 0,
            index: 0,
            started: 0,
            held_up: Vec::new(),
            runners: BTreeMap::new(),
            sessions: BTreeMap::new(),
            durable: Book::default(),
            live: Book::default(),
            cause: None,
            joining: None,
            joined_at: 0,
            overtaken: None,
            broken: Vec::new(),
        }
    }

    fn take(&mut self, fact: &'a Fact) {
        match fact {
            Fact::Started => {
                self.started = self.now;
                self.runners.clear();
                self.live.open.values_mut().for_each(|open| open.renewed = self.now);
            }
            Fact::Crashed(_) => {
                self.live = self.durable.clone();
                self.joining = None;
            }
            Fact::HeldUp { until } => self.hold_up(*until),
            Fact::Arrived(event) => {
                self.settle_join();
                (self.cause, self.overtaken) = (Some(event), None);
                self.hear(event);
            }
            Fact::Decided(Effect::Persist(record)) => {
                self.judge(record);
                if let Record::RunnerSaved(runner) = record
                    && let Some(seen) = self.runners.get_mut(&runner.name)
                {
                    seen.order(runner.drain.is_some(), self.now, &self.terms);
                }
                self.live.take(record, self.now);
            }
            Fact::Decided(Effect::Send { session, message }) => self.judge_message(*session, message),
            Fact::Decided(Effect::CloseSession { session, .. }) => self.close(*session),
            Fact::Committed(record) => self.durable.take(record, self.now),
            _ => {}
        }
    }

    fn fail(&mut self, promise: Promise, text: String) {
        self.broken.push(Broken { promise, text, after: self.index });
    }

    fn hold_up(&mut self, until: u64) {
        match self.held_up.last_mut() {
            // Between two that only touch, the core was awake for a moment and has seen the first.
            Some((_, end)) if *end > self.now => *end = (*end).max(until),
            _ => self.held_up.push((self.now, until)),
        }
    }

    /// The time since `from` without the dispatcher's pauses, in which it was able to notice something.
    fn awake_since(&self, from: u64) -> u64 {
        self.awake(from, 2 * self.terms.heartbeat_ms)
    }

    /// Like [`Self::awake_since`], but only longer gaps count as pauses.
    fn awake(&self, from: u64, pause: u64) -> u64 {
        let long = self.held_up.iter().filter(|(begin, end)| end - begin > pause);
        let slept: u64 = long.map(|(begin, end)| end.min(&self.now).saturating_sub(*begin.max(&from))).sum();
        (self.now - from).saturating_sub(slept)
    }

    fn hear(&mut self, event: &'a Event) {
        match event {
            Event::RunnerJoined(joined) => self.join(joined),
            Event::RunnerPinged { session, holding } => {
                self.heard(*session);
                let Some(name) = self.current(*session) else { return };
                for attempt in holding {
                    if let Some(open) = self.live.open_of(*attempt, &name) {
                        open.renewed = self.now;
                    }
                }
            }
            Event::RunnerHeard { session }
            | Event::AttemptStarted { session, .. }
            | Event::AttemptFinished { session, .. } => self.heard(*session),
            Event::RunnerDraining { session } => {
                self.heard(*session);
                if let Some(seen) = self.current(*session).and_then(|name| self.runners.get_mut(&name)) {
                    seen.drain(self.now, &self.terms);
                }
            }
            Event::DrainAsked { runner, .. } => {
                let name = self.live.names.get(runner);
                if let Some(seen) = name.and_then(|name| self.runners.get_mut(name)) {
                    seen.drain(self.now, &self.terms);
                }
            }
            Event::SessionClosed { session } => self.close(*session),
            _ => {}
        }
    }

    /// The runner that this session belongs to now.
    fn current(&self, session: SessionId) -> Option<RunnerName> {
        let name = self.sessions.get(&session)?;
        (self.runners.get(name)?.session == Some(session)).then(|| name.clone())
    }

    fn heard(&mut self, session: SessionId) {
        if let Some(seen) = self.current(session).and_then(|name| self.runners.get_mut(&name)) {
            seen.heard = self.now;
        }
    }

    fn close(&mut self, session: SessionId) {
        let now = self.now;
        if let Some(seen) = self.current(session).and_then(|name| self.runners.get_mut(&name)) {
            seen.be_useless(now, &self.terms);
            (seen.session, seen.gone_at) = (None, now);
        }
    }

    fn join(&mut self, joined: &'a RunnerJoined) {
        let seen = self.runners.entry(joined.name.clone()).or_default();
        if seen.incarnation == Some(joined.incarnation) && joined.session < seen.newest {
            // A newer session of the same process has overtaken this one. It counts if the newer one is unknown by now.
            self.overtaken = Some(joined);
            return;
        }
        self.accept(joined);
    }

    fn accept(&mut self, joined: &'a RunnerJoined) {
        let now = self.now;
        let seen = self.runners.entry(joined.name.clone()).or_default();
        let is_refused = seen.session.is_some() && seen.incarnation != Some(joined.incarnation);
        (self.joining, self.joined_at) = (Some((joined, is_refused)), now);
        if is_refused {
            return;
        }
        self.sessions.insert(joined.session, joined.name.clone());
        // A draining runner says so again a moment later.
        seen.is_draining &= seen.incarnation == Some(joined.incarnation);
        if seen.session.is_none() {
            seen.useful_since = now;
        }
        (seen.session, seen.incarnation, seen.heard) = (Some(joined.session), Some(joined.incarnation), now);
        (seen.labels, seen.slots, seen.newest) = (joined.labels.clone(), joined.slots, joined.session);
        seen.is_drained = self.live.drained.contains(&joined.name);
        for attempt in &joined.holding {
            if let Some(open) = self.live.open_of(*attempt, &joined.name) {
                open.renewed = now;
            }
        }
    }

    /// S13: attempts that a returning runner no longer holds are given up at once.
    fn settle_join(&mut self) {
        let Some((joined, false)) = self.joining.take() else { return };
        let forgotten = self.live.open.iter().find(|(attempt, open)| {
            self.live.names.get(&open.runner) == Some(&joined.name)
                && !joined.holding.contains(attempt)
                && open.renewed < self.joined_at
                && !open.is_exclusive
        });
        if let Some((attempt, _)) = forgotten {
            let text = format!("{} came back without {attempt}, which is still leased to it", joined.name);
            self.fail(Promise::S13, text);
        }
    }

    /// S14. Also checks that no held attempt is reported as gone.
    fn judge_message(&mut self, session: SessionId, message: &RunnerCommand) {
        if let (RunnerCommand::Registered { .. } | RunnerCommand::NameTaken { .. }, Some(joined)) =
            (message, self.overtaken.take())
        {
            self.accept(joined);
        }
        match (message, self.joining) {
            (RunnerCommand::Registered { .. }, Some((joined, true))) => {
                let text = format!("a second process of {} was let in beside the first", joined.name);
                self.fail(Promise::S14, text);
            }
            (RunnerCommand::NameTaken { .. }, Some((joined, false))) => {
                self.fail(Promise::S14, format!("{} was refused although it is not connected", joined.name));
            }
            _ => {}
        }
        if let RunnerCommand::Registered { gone, .. } | RunnerCommand::Ack { gone } = message
            && let Some(name) = self.current(session)
            && let Some(attempt) = gone.iter().find(|attempt| self.live.open_of(**attempt, &name).is_some())
        {
            let text = format!("{attempt} is leased to {name} and called gone");
            self.fail(Promise::S11, text);
        }
    }

    fn judge(&mut self, record: &Record) {
        match record {
            Record::AttemptFinished { attempt, outcome: Outcome::Lost(why), .. } => self.judge_loss(*attempt, why),
            Record::JobFinished { job, ending: Ending::Errored(reason) }
                if matches!(**reason, ErrorReason::NoRunnerFits { .. }) =>
            {
                self.judge_expiry(*job);
            }
            _ => {}
        }
    }

    /// Whether this attempt may be given up now.
    fn judge_loss(&mut self, attempt: AttemptId, why: &LossReason) {
        let Some(open) = self.live.open.get(&attempt).cloned() else { return };
        let Some(name) = self.live.names.get(&open.runner).cloned() else { return };
        if !self.cause.is_none_or(|cause| can_be_why(cause, why)) {
            self.fail(Promise::S7, format!("{attempt} is lost as {why:?}, because of {:?}", self.cause));
        }
        match self.cause {
            Some(Event::AttemptFinished { session, attempt: said, .. }) => {
                if *said != attempt || self.current(*session) != Some(name) {
                    self.fail(Promise::S7, format!("{attempt} is lost because of a result that is not its own"));
                }
            }
            Some(Event::RunnerJoined(joined)) => {
                if joined.name != name || joined.holding.contains(&attempt) {
                    self.fail(Promise::S11, format!("{attempt} is lost although {name} came back with it"));
                }
            }
            Some(Event::HeartbeatCheck | Event::LeaseCheck) => self.judge_silence(attempt, &open, &name, why),
            cause => {
                let text = format!("{attempt} is lost at once, because of {cause:?}");
                self.fail(Promise::S12, text);
            }
        }
    }

    /// A loss that a tick found: the runner was silent or away for long enough, and not for much longer.
    fn judge_silence(&mut self, attempt: AttemptId, open: &Open, name: &RunnerName, why: &LossReason) {
        let terms = &self.terms;
        let lease = (Promise::S32, open.renewed, terms.lease_ms(open.is_exclusive));
        let presence = match self.runners.get(name) {
            None => (Promise::S11, self.started, terms.timeout_ms),
            Some(Seen { session: Some(_), heard, .. }) => (Promise::S32, *heard, terms.timeout_ms),
            Some(Seen { session: None, gone_at, .. }) => (Promise::S12, *gone_at, terms.reconnect_ms),
        };
        let causes = if open.is_exclusive { vec![lease] } else { vec![lease, presence] };
        // A runner that was silent for too long is disconnected and loses all its attempts at once.
        let silence = self.runners.get(name).filter(|seen| seen.gone_at == self.now).map(|seen| seen.heard);
        let was_silent = silence.is_some_and(|heard| self.awake_since(heard) > terms.timeout_ms) && !open.is_exclusive;
        // The reconnect window is short, and so are the pauses that count for it; but those end with the timeout.
        let over = |promise: Promise, since: u64, limit: u64| match promise {
            Promise::S12 => {
                let within = self.awake(since, 2 * terms.lease_check_ms).checked_sub(limit);
                within.or(self.awake_since(since).checked_sub(terms.timeout_ms))
            }
            _ => self.awake_since(since).checked_sub(limit),
        };
        let late = causes.iter().filter_map(|(promise, since, limit)| over(*promise, *since, *limit)).max();
        match late {
            Some(late) if late > terms.slack_ms() => {
                let text = format!("{attempt} of {name} was given up {late} ms late ({why})");
                self.fail(Promise::L1, text);
            }
            None if !was_silent => {
                let plainly = causes.iter().any(|(_, since, limit)| self.now - since > *limit);
                let promise = if plainly { Promise::S33 } else { causes[causes.len() - 1].0 };
                self.fail(promise, format!("{attempt} of {name} was given up too early ({why})"));
            }
            _ => {}
        }
    }

    /// A job that no runner fits has waited for the whole limit, and no fitting runner was there at any time.
    fn judge_expiry(&mut self, job: JobId) {
        let (Some(task), terms) = (self.live.tasks.get(&job), &self.terms) else { return };
        let fits = |seen: &&Seen| {
            task.placement.slots.0 <= seen.slots
                && task.placement.labels.iter().all(|label| seen.labels.contains(label))
        };
        let useful_until = |seen: &Seen| {
            if seen.session.is_some()
                && !seen.is_draining
                && !seen.is_drained
                && self.now - seen.useful_since > 2 * self.terms.lease_check_ms
            {
                self.now
            } else {
                seen.useful_until
            }
        };
        let last = self.runners.values().filter(fits).map(useful_until).max();
        if let Some(last) = last.filter(|last| self.now - last + terms.slack_ms() < terms.queue_timeout_ms) {
            self.fail(Promise::L1, format!("{job} is given up, and at {last} ms there was a runner that fits"));
        }
    }
}

/// Whether a loss for this reason can follow from this event.
fn can_be_why(cause: &Event, why: &LossReason) -> bool {
    match why {
        LossReason::Silent { .. } => matches!(cause, Event::HeartbeatCheck),
        LossReason::ConnectionClosed | LossReason::LeaseExpired => matches!(cause, Event::LeaseCheck),
        LossReason::RunnerRestarted | LossReason::NotHeld => matches!(cause, Event::RunnerJoined(_)),
        LossReason::RunnerStopped => matches!(cause, Event::AttemptFinished { outcome: Outcome::Cancelled, .. }),
        LossReason::DiskFull { .. }
        | LossReason::SourceMissing { .. }
        | LossReason::CutOff { .. }
        | LossReason::Interrupted { .. }
        | LossReason::Reported { .. } => {
            matches!(cause, Event::AttemptFinished { outcome: Outcome::Lost(said), .. } if said == why)
        }
        LossReason::Recorded(_) => false,
    }
}
