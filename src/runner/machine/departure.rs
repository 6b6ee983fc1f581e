//! The departure of a runner: when it drains or stops, what it waits for meanwhile, and when it ends. It decides
//! nothing about the result of an attempt.

use std::collections::BTreeSet;
use std::mem;

use super::attempt::EarlyEnd;
use super::{Connection, Departure, Machine};
use crate::model::Moment;
use crate::runner::event::Action;
use crate::runner::limits::{DRAIN_HEARD_MS, LAST_WORDS_MS};

impl Machine {
    /// Begins to drain: what is held is finished, and nothing new is taken.
    pub(super) fn drain(&mut self, now: Moment, out: &mut Vec<Action>) {
        if self.leaving != Departure::No {
            return;
        }
        let is_here = self.link == Connection::Here;
        self.leaving = Departure::Draining { told: is_here.then_some(now), heard: false, delivering: None };
        if is_here {
            out.push(Action::SayDraining);
        }
    }

    /// Begins to stop: attempts that execute are ended, and leases that wait are dropped.
    pub(super) fn stop(&mut self, out: &mut Vec<Action>) {
        if matches!(self.leaving, Departure::Stopping { .. } | Departure::Over) {
            return;
        }
        self.leaving = Departure::Stopping { since: None };
        for assignment in mem::take(&mut self.waiting) {
            self.held.remove(&assignment.attempt);
        }
        let executing: BTreeSet<_> = self.slots.iter().flatten().copied().collect();
        for attempt in executing {
            self.end_early(attempt, EarlyEnd::Stopped, out);
        }
    }

    /// Drains a runner that has been idle for too long, and ends one that has nothing left to wait for.
    pub(super) fn depart(&mut self, now: Moment, out: &mut Vec<Action>) {
        if self.leaving == Departure::No
            && self.times.idle_exit_ms.is_some_and(|ms| self.held.is_empty() && now.since(self.idle_since) >= ms)
        {
            self.drain(now, out);
        }
        let executes = self.slots.iter().any(Option::is_some);
        let end = match &mut self.leaving {
            Departure::Draining { told, heard, .. } if self.held.is_empty() => {
                let is_late = told.is_some_and(|told| now.since(told) >= DRAIN_HEARD_MS);
                (*heard || is_late || self.link == Connection::Away).then_some(Action::End)
            }
            // A lease may have crossed the drain on its way.
            Departure::Draining { delivering, .. } if executes => {
                *delivering = None;
                None
            }
            Departure::Draining { delivering, .. } => {
                let since = *delivering.get_or_insert(now);
                (now.since(since) >= self.times.delivery_ms).then(|| Action::GiveUp(self.undelivered()))
            }
            Departure::Stopping { since } if !executes => {
                let is_late = now.since(*since.get_or_insert(now)) >= LAST_WORDS_MS;
                (self.held.is_empty() || is_late || self.link != Connection::Here).then_some(Action::End)
            }
            Departure::Stopping { .. } | Departure::No | Departure::Over => None,
        };
        if let Some(end) = end {
            self.leaving = Departure::Over;
            out.push(end);
        }
    }

    /// Returns the time at which [`Self::depart`] may decide something, if no event comes before.
    pub(super) fn departure_deadline(&self) -> Option<Moment> {
        let is_idle = self.held.is_empty();
        match self.leaving {
            Departure::Draining { told: Some(told), heard: false, .. } if is_idle => Some(told.after(DRAIN_HEARD_MS)),
            Departure::Draining { delivering: Some(since), .. } if !is_idle => {
                Some(since.after(self.times.delivery_ms))
            }
            Departure::Stopping { since: Some(since) } => Some(since.after(LAST_WORDS_MS)),
            Departure::No => match self.times.idle_exit_ms {
                Some(ms) if is_idle => Some(self.idle_since.after(ms)),
                Some(_) | None => None,
            },
            Departure::Draining { .. } | Departure::Stopping { since: None } | Departure::Over => None,
        }
    }

    /// The dispatcher took something at `at`. The patience of a draining runner starts anew.
    pub(super) fn delivered(&mut self, at: Moment) {
        if let Departure::Draining { delivering: Some(since), .. } = &mut self.leaving {
            *since = at.max(*since);
        }
    }
}
