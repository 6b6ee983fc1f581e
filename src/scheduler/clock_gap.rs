//! The dispatcher's own pauses: it was stopped, its machine slept, its disk kept it waiting. What it did not hear in
//! that time says nothing about others.

use super::Scheduler;
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
        self.tables.shift_deadlines(turn.now, gap);
        turn.note(format!("the dispatcher was held up for {gap} ms: every lease is extended by as much"));
    }

    /// A dispatcher that is always this late would never lose a runner that is away, so all of this together ends when
    /// silence would have ended it.
    fn forgive_short(&mut self, turn: &Turn, gap: u64) {
        self.tables.shift_returns(turn.now, gap, self.policy.heartbeat_timeout_ms);
    }
}
