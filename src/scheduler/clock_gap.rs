//! The dispatcher's own pauses: it was stopped, its machine slept, its disk kept it waiting. What it did not hear in
//! that time says nothing about others.

use super::Scheduler;
use super::tables::Presence;
use super::turn::Turn;

impl Scheduler {
    /// A tick that comes late by more than two intervals means a pause, and everything that runs against a deadline
    /// gets the gap added.
    ///
    /// The two ticks have two intervals. A gap of a few of the shorter one matters for nothing but the reconnect
    /// window, which is about as short; heartbeats and leases have room for gaps up to two of the longer one.
    pub(super) fn forgive_gap(&mut self, turn: &mut Turn) {
        let last = self.last_tick.replace(turn.now).unwrap_or(turn.now);
        let gap = turn.now.since(last);
        if gap > 2 * self.policy.heartbeat_interval_ms {
            self.forgive_long(turn, gap);
        } else if gap > 2 * self.policy.tick_ms {
            self.forgive_short(turn, gap);
        }
    }

    fn forgive_long(&mut self, turn: &mut Turn, gap: u64) {
        // What was set since the dispatcher woke up has all of its time already, so nothing gets more than that.
        let policy = &self.policy;
        for lease in self.leases.values_mut() {
            let whole = turn.now.after(policy.lease_ms(lease.exclusive));
            lease.deadline = lease.deadline.after(gap).min(whole);
        }
        for member in self.roster.members_mut() {
            member.last_heard = member.last_heard.after(gap).min(turn.now);
            let is_restored = member.incarnation.is_none();
            if let Presence::Away { since, until } = &mut member.presence {
                let window = if is_restored { policy.heartbeat_timeout_ms } else { policy.reconnect_ms };
                *until = until.after(gap).min(turn.now.after(window));
                *since = since.after(gap).min(turn.now);
            }
        }
        for since in self.fitted.values_mut().chain(self.jobs.values_mut().map(|job| &mut job.queued_since)) {
            *since = since.after(gap).min(turn.now);
        }
        turn.note(format!("the dispatcher was held up for {gap} ms: every lease is extended by as much"));
    }

    /// A dispatcher that is always this late would never lose anybody who is away, so all of this together ends when
    /// silence would have ended it.
    fn forgive_short(&mut self, turn: &Turn, gap: u64) {
        let (window, most) = (self.policy.reconnect_ms, self.policy.heartbeat_timeout_ms);
        for member in self.roster.members_mut() {
            if let Presence::Away { since, until } = &mut member.presence {
                let extended = until.after(gap).min(turn.now.after(window)).min(since.after(most));
                *until = extended.max(*until);
            }
        }
    }
}
