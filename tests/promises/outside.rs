//! Promises that can be checked outside of the dispatcher: by the messages that pass, the store, and the traces that
//! tasks leave. A record has its own time, so it may stand behind messages that came after it.

use std::collections::{BTreeMap, BTreeSet};

use surveil::model::words::missing_output;
use surveil::model::{AttemptId, Incarnation, JobId, Outcome, Record, RunnerId, RunnerName, SessionId};
use surveil::scheduler::{Effect, Event, RunnerCommand};

use super::checkers::{demand, facts};
use super::history::{Entry, Fact};
use super::terms::Terms;

/// Leases, and whose they are.
#[derive(Default)]
struct Leases {
    names: BTreeMap<RunnerId, RunnerName>,
    exclusive: BTreeSet<JobId>,
    open: BTreeMap<AttemptId, Open>,
}

#[derive(Clone)]
struct Open {
    name: RunnerName,
    is_exclusive: bool,
    leased: u64,
}

impl Leases {
    fn take(&mut self, record: &Record, at: u64) {
        match record {
            Record::RunnerSaved(runner) => drop(self.names.insert(runner.id, runner.name.clone())),
            Record::BuildAdded { jobs, .. } | Record::JobsJoined { jobs, .. } => {
                // A crash undoes decisions that were not durable, and their numbers are used again.
                self.exclusive.retain(|known| jobs.iter().all(|job| job.id != *known));
                self.exclusive.extend(jobs.iter().filter(|job| job.task.recipe.exclusive).map(|job| job.id));
            }
            Record::AttemptLeased(attempt) => {
                let name = self.names.get(&attempt.runner).cloned().unwrap_or_else(|| RunnerName::recorded("?"));
                let is_exclusive = self.exclusive.contains(&attempt.job);
                self.open.insert(attempt.id, Open { name, is_exclusive, leased: at });
            }
            Record::AttemptFinished { attempt, .. } => drop(self.open.remove(attempt)),
            _ => {}
        }
    }
}

/// A runner, and when it was heard.
#[derive(Default)]
struct Heard {
    /// The times at which any message came from the runner, in order.
    at: Vec<u64>,
    /// The time of each registration, with the attempts that it named.
    joins: Vec<(u64, Vec<AttemptId>)>,
    session: Option<SessionId>,
    /// The times at which its newest session ended.
    closed: Vec<u64>,
}

#[derive(Default)]
struct Presence {
    runners: BTreeMap<RunnerName, Heard>,
    sessions: BTreeMap<SessionId, RunnerName>,
    renewed: BTreeMap<AttemptId, Vec<u64>>,
    gave_up: BTreeSet<AttemptId>,
    /// Sessions of runners whose name was taken. Their messages are ignored.
    refused: BTreeSet<SessionId>,
    starts: Vec<u64>,
    held_up: Vec<(u64, u64)>,
}

impl Presence {
    fn hear(&mut self, event: &Event, at: u64) {
        let (session, named): (&SessionId, &[AttemptId]) = match event {
            Event::RunnerJoined(joined) if self.refused.contains(&joined.session) => return,
            Event::RunnerJoined(joined) => {
                let seen = self.runners.entry(joined.name.clone()).or_default();
                seen.session = Some(joined.session);
                seen.joins.push((at, joined.holding.clone()));
                self.sessions.insert(joined.session, joined.name.clone());
                (&joined.session, &joined.holding)
            }
            Event::RunnerPinged { session, holding } => (session, holding),
            Event::AttemptFinished { session, attempt, outcome: Outcome::Lost(_) | Outcome::Cancelled, .. } => {
                self.gave_up.insert(*attempt);
                (session, &[])
            }
            Event::RunnerHeard { session }
            | Event::AttemptStarted { session, .. }
            | Event::AttemptFinished { session, .. }
            | Event::RunnerDraining { session } => (session, &[]),
            Event::SessionClosed { session } => {
                let name = self.sessions.get(session);
                if let Some(seen) = name.and_then(|name| self.runners.get_mut(name))
                    && seen.session == Some(*session)
                {
                    seen.closed.push(at);
                }
                return;
            }
            _ => return,
        };
        let Some(seen) = self.sessions.get(session).and_then(|name| self.runners.get_mut(name)) else { return };
        // Kept in order, also if a result is noted only when it has been answered.
        seen.at.push(seen.at.last().map_or(at, |last| at.max(*last)));
        for attempt in named {
            self.renewed.entry(*attempt).or_default().push(at);
        }
    }

    /// Returns the moment before which every message that passed the proxy has been heard: no process takes longer.
    fn surely_heard(&self, at: u64, terms: &Terms) -> u64 {
        let paused = self.held_up.iter().filter(|(begin, end)| *begin <= at && at < end + terms.slack_ms());
        let awake = at.saturating_sub(terms.slack_ms());
        paused.map(|(begin, _)| *begin).fold(awake, u64::min)
    }

    /// The reason for which an attempt may be given up at that time, if there is one.
    fn reason(&self, attempt: AttemptId, lease: &Open, at: u64, terms: &Terms) -> Option<&'static str> {
        if self.gave_up.contains(&attempt) {
            return Some("its runner said so");
        }
        let seen = self.runners.get(&lease.name)?;
        let came_without =
            |(when, holding): &(u64, Vec<AttemptId>)| *when >= lease.leased && !holding.contains(&attempt);
        if seen.joins.iter().any(came_without) {
            return Some("its runner came back without it");
        }
        let started = self.starts.iter().rev().find(|start| **start <= at).copied().unwrap_or(0);
        let sure = self.surely_heard(at, terms);
        let last = |times: &[u64]| times.iter().rev().find(|time| **time <= sure).copied().unwrap_or(0).max(started);
        let renewed = self.renewed.get(&attempt).map_or(0, |times| last(times)).max(lease.leased).max(started);
        if at.saturating_sub(renewed) >= terms.lease_ms(lease.is_exclusive) {
            return Some("its lease ran out");
        }
        if lease.is_exclusive {
            return None;
        }
        if at.saturating_sub(last(&seen.at)) >= terms.timeout_ms {
            return Some("its runner was silent");
        }
        let is_away = |closed: &&u64| {
            let is_back = seen.joins.iter().any(|(when, _)| when > closed && *when <= sure);
            **closed >= started && at.saturating_sub(**closed) >= terms.reconnect_ms && !is_back
        };
        seen.closed.iter().find(is_away).map(|_| "its runner was away")
    }
}

/// No attempt is given up while its runner is present and names it: not for a broken connection alone (S12), not for a
/// restart (S11), not for slowness (S32).
pub(super) fn s12(story: &[Entry], terms: &Terms) -> Result<(), String> {
    let (mut leases, mut presence) = (Leases::default(), Presence::default());
    presence.refused.extend(facts(story).filter_map(|fact| match fact {
        Fact::Released(Effect::Send { session, message: RunnerCommand::NameTaken { .. } }) => Some(*session),
        _ => None,
    }));
    for Entry { at, fact } in story {
        match fact {
            Fact::Started => presence.starts.push(*at),
            Fact::HeldUp { until } => presence.held_up.push((*at, *until)),
            Fact::Arrived(event) => presence.hear(event, *at),
            Fact::Decided(Effect::Persist(record)) => {
                if let Record::AttemptFinished { attempt, outcome: Outcome::Lost(why), .. } = record
                    && let Some(lease) = leases.open.get(attempt)
                {
                    let reason = presence.reason(*attempt, lease, *at, terms);
                    demand(reason.is_some(), || format!("{attempt} of {} is lost at {at} ({why})", lease.name))?;
                }
                leases.take(record, *at);
            }
            _ => {}
        }
    }
    Ok(())
}

/// An attempt that a returning runner does not name is given up before the runner hears anything else.
pub(super) fn s13(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut leases = Leases::default();
    let mut forgotten: BTreeMap<SessionId, (RunnerName, Vec<AttemptId>)> = BTreeMap::new();
    for Entry { at, fact } in story {
        match fact {
            Fact::Committed(record) => leases.take(record, *at),
            Fact::Arrived(Event::RunnerJoined(joined)) => {
                let is_missing = |(attempt, lease): &(&AttemptId, &Open)| {
                    lease.name == joined.name && !lease.is_exclusive && !joined.holding.contains(attempt)
                };
                let missing = leases.open.iter().filter(is_missing).map(|(attempt, _)| *attempt).collect();
                forgotten.insert(joined.session, (joined.name.clone(), missing));
            }
            Fact::Released(Effect::Send { session, message: RunnerCommand::Registered { .. } }) => {
                let Some((name, missing)) = forgotten.remove(session) else { continue };
                let still = missing.iter().find(|attempt| leases.open.contains_key(attempt));
                demand(still.is_none(), || format!("{name} came back without {still:?}, which it still holds"))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// No process is admitted under the name of another connected process.
pub(super) fn s14(story: &[Entry], terms: &Terms) -> Result<(), String> {
    let mut joins: BTreeMap<SessionId, (RunnerName, Incarnation, u64)> = BTreeMap::new();
    // Admitted runners, and when each was heard last. After a silence for which a dispatcher closes the session they
    // do not count: a later message may reach a session that the dispatcher has already closed.
    let mut there: BTreeMap<SessionId, u64> = BTreeMap::new();
    for Entry { at, fact } in story {
        match fact {
            Fact::Started | Fact::Crashed(_) => there.clear(),
            Fact::Arrived(Event::RunnerJoined(joined)) => {
                joins.insert(joined.session, (joined.name.clone(), joined.incarnation, *at));
            }
            Fact::Arrived(Event::SessionClosed { session }) | Fact::Decided(Effect::CloseSession { session, .. }) => {
                there.remove(session);
                joins.remove(session);
            }
            Fact::Arrived(Event::RunnerPinged { session, .. } | Event::RunnerHeard { session }) => {
                let is_let_go = |heard: &u64| at.saturating_sub(*heard) + terms.heartbeat_ms >= terms.timeout_ms;
                if there.get(session).is_some_and(is_let_go) {
                    there.remove(session);
                }
                there.entry(*session).and_modify(|heard| *heard = *at);
            }
            Fact::Released(Effect::Send { session, message: RunnerCommand::Registered { .. } }) => {
                let Some((name, incarnation, joined_at)) = joins.get(session) else { continue };
                let is_other = |(other, heard): &(&SessionId, &u64)| {
                    let (of, its, _) = &joins[*other];
                    of == name && its != incarnation && at.saturating_sub(**heard) < terms.timeout_ms
                };
                let other = there.iter().find(is_other);
                demand(other.is_none(), || format!("{name} was let in beside {other:?}"))?;
                // The runner was heard when it asked to be admitted; the answer may have come much later.
                there.insert(*session, *joined_at);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The stored log is a prefix of what the task wrote.
pub(super) fn s15(story: &[Entry], _: &Terms) -> Result<(), String> {
    facts(story).try_for_each(|fact| match fact {
        Fact::LogRead { attempt, is_true, .. } => demand(*is_true, || format!("the log of {attempt} is not its own")),
        _ => Ok(()),
    })
}

/// If a result says that nothing is missing, the log is complete, with the stated length and checksum. A cancelled
/// attempt has its outcome before its log has ended, so there is no result that says so.
pub(super) fn s16(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut sealed = BTreeMap::new();
    for fact in facts(story) {
        match fact {
            Fact::Committed(Record::AttemptFinished { attempt, outcome, log, .. })
                if *outcome != Outcome::Cancelled && missing_output(outcome, log).is_none() =>
            {
                sealed.insert(*attempt, (log.bytes, log.crc32));
            }
            Fact::LogRead { attempt, bytes, crc32, is_whole, .. } => {
                let Some(due) = sealed.get(attempt) else { continue };
                let is_right = *is_whole && *due == (*bytes, *crc32);
                demand(is_right, || format!("the log of {attempt} has {bytes} bytes, and {due:?} is recorded"))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// When a runner reports an attempt, no process of the attempt is left.
pub(super) fn s19(story: &[Entry], _: &Terms) -> Result<(), String> {
    facts(story).try_for_each(|fact| match fact {
        Fact::Left { attempt } => Err(format!("something of {attempt} is left, and it is reported as ended")),
        _ => Ok(()),
    })
}

/// No process of a killed runner is left.
pub(super) fn s22(story: &[Entry], _: &Terms) -> Result<(), String> {
    facts(story).try_for_each(|fact| match fact {
        Fact::Remained { name, processes } => Err(format!("of {name}, which was killed, this is left: {processes:?}")),
        _ => Ok(()),
    })
}
