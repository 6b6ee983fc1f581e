//! Gaps in the dispatcher's own time: it was stopped, its machine slept, or its disk kept it waiting. Silence in that
//! time says nothing about runners, so it is not held against them.

use super::Scheduler;
use super::turn::Turn;
use crate::model::reason::Notice;

impl Scheduler {
    /// Adds the gap to deadlines if this tick comes more than two intervals after the last one.
    ///
    /// The two ticks have two intervals. A gap of some of the shorter intervals matters only for the reconnect window,
    /// which is about as short. Heartbeats and leases have room for a gap of up to two of the longer intervals.
    pub(super) fn forgive_gap(&mut self, turn: &mut Turn) {
        let last = self.last_tick.replace(turn.now).unwrap_or(turn.now);
        let gap = turn.now.since(last);
        if gap > 2 * self.policy.heartbeat_interval_ms {
            self.tables.shift_deadlines(turn.now, gap);
            turn.note(Notice::HeldUp { gap_ms: gap });
        } else if gap > 2 * self.policy.tick_ms {
            // A dispatcher that is always this late would never lose a runner that is away, so all extensions together
            // last no longer than silence may.
            self.tables.shift_returns(turn.now, gap, self.policy.heartbeat_timeout_ms);
        }
    }
}
