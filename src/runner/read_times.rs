//! When the bytes of a stream were read, as far as the dispatcher has to be told: a few pairs of an offset and a
//! moment. Pure.

use crate::model::Moment;

/// The least time between two pairs, at first.
const LEAST_INTERVAL_MS: u64 = 100;
/// The most pairs, which take 256 KiB. When there are so many, every second one is forgotten, and the least time
/// between two of them doubles.
const MAX_PAIRS: usize = 16 * 1024;
/// The most pairs for one piece.
const MAX_AGES: usize = 512;

/// The moments at which the bytes of a stream were read.
#[derive(Debug)]
pub(super) struct ReadTimes {
    pairs: Vec<(u64, Moment)>,
    interval_ms: u64,
}

impl Default for ReadTimes {
    fn default() -> Self {
        Self { pairs: Vec::new(), interval_ms: LEAST_INTERVAL_MS }
    }
}

impl ReadTimes {
    /// Notes when the bytes from `offset` on were read. Leaves it out if the last noted moment is near enough.
    pub(super) fn note(&mut self, offset: u64, now: Moment) {
        if self.pairs.last().is_some_and(|(_, last)| now.since(*last) < self.interval_ms) {
            return;
        }
        if self.pairs.len() >= MAX_PAIRS {
            let mut is_kept = false;
            self.pairs.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.interval_ms *= 2;
        }
        self.pairs.push((offset, now));
    }

    /// Returns pairs of an offset in a piece and the age of the byte there at `now`. The first is at 0.
    pub(super) fn ages(&self, offset: u64, length: u64, now: Moment) -> Vec<(u64, u64)> {
        let next = self.pairs.partition_point(|(at, _)| *at <= offset);
        let Some((first, rest)) = next.checked_sub(1).and_then(|last| self.pairs.get(last..)?.split_first()) else {
            return Vec::new();
        };
        let end = offset.saturating_add(length);
        let within = rest.iter().take_while(|(at, _)| *at < end).map(|(at, read)| (at - offset, now.since(*read)));
        std::iter::once((0, now.since(first.1))).chain(within).take(MAX_AGES).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_has_the_ages_of_its_bytes() {
        let mut times = ReadTimes::default();
        assert_eq!(times.ages(0, 10, Moment(9)), []);
        for (offset, at) in [(0, 1000), (10, 1099), (20, 1100), (30, 5000)] {
            times.note(offset, Moment(at));
        }
        assert_eq!(times.ages(0, 5, Moment(1000)), [(0, 0)]);
        assert_eq!(times.ages(15, 10, Moment(6000)), [(0, 5000), (5, 4900)]);
        assert_eq!(times.ages(20, 11, Moment(6000)), [(0, 4900), (10, 1000)]);
    }

    #[test]
    fn what_is_noted_is_bounded_however_long_it_takes() {
        let mut times = ReadTimes::default();
        (0..2_000_000).for_each(|at| times.note(at, Moment(at * 100)));
        assert!(times.pairs.len() <= MAX_PAIRS && times.pairs.len() > MAX_PAIRS / 2);
        let now = Moment(1_999_999 * 100);
        assert_eq!(times.ages(0, u64::MAX, now).len(), MAX_AGES);
        let newest = times.ages(1_999_999, 1, now);
        assert!(newest[0].1 < times.interval_ms, "{newest:?}");
    }
}
