//! The limits that the dispatcher of a history was given, which the promises are checked against.

/// Durations are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) heartbeat_ms: u64,
    pub(crate) timeout_ms: u64,
    pub(crate) reconnect_ms: u64,
    pub(crate) lease_check_ms: u64,
    pub(crate) queue_timeout_ms: u64,
    pub(crate) max_losses: u32,
}

impl Terms {
    /// Duration of a lease after each renewal.
    pub(crate) fn lease_ms(&self, exclusive: bool) -> u64 {
        if exclusive { 2 * self.timeout_ms + 30_000 } else { self.timeout_ms }
    }

    /// Longest delay until something is noticed: the time between ticks, and two gaps that are too short to be
    /// forgiven, or that look too short from outside.
    pub(crate) fn slack_ms(&self) -> u64 {
        5 * self.heartbeat_ms
    }
}
