//! Log lines about what may happen a thousand times a second: one of them tells as much as all.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::Moment;

/// Between two lines about the same.
const EVERY_MS: u64 = 10_000;

/// Says when it is time for another line.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    /// In milliseconds; 0 for at once.
    next: AtomicU64,
}

impl Seldom {
    /// Whether a line is due; true once in ten seconds at most.
    pub(crate) fn is_due(&self, now: Moment) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        let after = now.after(EVERY_MS).0;
        // Of several that ask at the same moment one writes.
        now.0 >= next && self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_due_at_once_and_the_next_after_a_while() {
        let seldom = Seldom::default();
        let due: Vec<u64> = (0..40_000).step_by(100).filter(|ms| seldom.is_due(Moment(*ms))).collect();
        assert_eq!(due, [0, 10_000, 20_000, 30_000]);
    }
}
