//! A rate limit for log lines about events that may happen a thousand times a second. A few lines tell as much as all
//! of them, and unauthenticated connections cannot fill the disk. Reads no clock: the caller says when it is.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::model::Moment;

/// The interval over which lines are counted.
const EVERY_MS: u64 = 10_000;

/// Decides whether another line may be written.
#[derive(Debug)]
pub(crate) struct LogLimiter {
    most: u32,
    /// The start of the present interval, in milliseconds.
    since: AtomicU64,
    count: AtomicU32,
}

impl LogLimiter {
    /// Returns a limiter that allows at most `most` lines in ten seconds.
    pub(crate) fn new(most: u32) -> Self {
        Self { most, since: AtomicU64::new(0), count: AtomicU32::new(0) }
    }

    /// Returns whether a line may be written, and counts it as written. Two threads that ask at the same moment may
    /// write one line more.
    pub(crate) fn is_due(&self, now: Moment) -> bool {
        if now.0.saturating_sub(self.since.load(Ordering::Relaxed)) >= EVERY_MS {
            self.since.store(now.0, Ordering::Relaxed);
            self.count.store(0, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed) < self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(most: u32) -> Vec<u64> {
        let limiter = LogLimiter::new(most);
        (0..30_000).step_by(100).filter(|ms| limiter.is_due(Moment(*ms))).collect()
    }

    #[test]
    fn the_first_lines_are_due_at_once_and_more_after_a_while() {
        assert_eq!(due(1), [0, 10_000, 20_000]);
        assert_eq!(due(2), [0, 100, 10_000, 10_100, 20_000, 20_100]);
    }
}
