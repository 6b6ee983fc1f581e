//! Delays between tries. Pure arithmetic: the caller asks for a delay and does the waiting.

use std::time::Duration;

/// The pause of a role after a refusal that only a person can end, with another token or program.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// Delays between tries: growing, jittered, bounded.
#[derive(Debug, Clone)]
pub struct Backoff {
    first_ms: u64,
    max_ms: u64,
    /// The upper bound of the next delay; `None` before the first try.
    base_ms: Option<u64>,
    /// The state of a xorshift generator, never 0. Jitter needs no better random numbers.
    dice: u64,
}

impl Backoff {
    /// The first try comes at once. The later delays have a base of `first_ms`, which doubles up to `max_ms`. A delay
    /// is random between half of its base and the base, so that `max_ms` is never exceeded, and peers that lost the
    /// same dispatcher at the same moment do not reconnect in step.
    pub fn new(first_ms: u64, max_ms: u64, seed: u64) -> Self {
        // An odd multiplier spreads seeds such as 1, 2, 3, which process ids tend to be.
        let dice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self { first_ms: first_ms.clamp(1, max_ms.max(1)), max_ms: max_ms.max(1), base_ms: None, dice }
    }

    /// Returns the delay before the next try.
    pub fn next_delay(&mut self) -> Duration {
        let Some(base_ms) = self.base_ms else {
            self.base_ms = Some(self.first_ms);
            return Duration::ZERO;
        };
        self.base_ms = Some(base_ms.saturating_mul(2).min(self.max_ms));
        let half = base_ms / 2;
        Duration::from_millis(base_ms - half + self.roll() % (half + 1))
    }

    /// Limits all later delays.
    pub fn limit(&mut self, max_ms: u64) {
        self.max_ms = max_ms.max(1);
        self.first_ms = self.first_ms.min(self.max_ms);
        self.base_ms = self.base_ms.map(|base_ms| base_ms.min(self.max_ms));
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.base_ms = None;
    }

    fn roll(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        // The caller takes a remainder, and the low bits are the weakest.
        self.dice >> 11
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_try_comes_at_once_and_later_ones_ever_more_slowly_up_to_a_bound() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(100, 1_000, seed);
            assert_eq!(backoff.next_delay(), Duration::ZERO);
            for base in [100, 200, 400, 800, 1_000, 1_000, 1_000] {
                let delay = backoff.next_delay().as_millis();
                assert!((base / 2..=base).contains(&delay), "seed {seed}: {delay} around {base}");
            }
        }
    }

    #[test]
    fn a_limit_bounds_the_waits_that_follow() {
        let mut backoff = Backoff::new(100, 3_000, 7);
        for _ in 0..8 {
            backoff.next_delay();
        }
        backoff.limit(50);
        assert!((0..20).all(|_| backoff.next_delay().as_millis() <= 50));
        backoff.reset();
        backoff.next_delay();
        assert!(backoff.next_delay().as_millis() <= 50);
        backoff.limit(3_000);
        assert!((0..20).any(|_| backoff.next_delay().as_millis() > 1_000));
    }

    #[test]
    fn a_success_starts_over() {
        let mut backoff = Backoff::new(100, 1_000, 7);
        for _ in 0..5 {
            backoff.next_delay();
        }
        backoff.reset();
        assert_eq!(backoff.next_delay(), Duration::ZERO);
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }

    #[test]
    fn runners_with_different_seeds_come_back_at_different_moments() {
        let delays: std::collections::BTreeSet<_> = (0..500)
            .map(|seed| {
                let mut backoff = Backoff::new(2_000, 60_000, seed);
                backoff.next_delay();
                backoff.next_delay()
            })
            .collect();
        assert!(delays.len() > 250, "{} different delays", delays.len());
    }

    #[test]
    fn odd_settings_do_not_panic() {
        for (first, max) in [(0, 0), (5, 1), (u64::MAX, u64::MAX), (1, u64::MAX)] {
            let mut backoff = Backoff::new(first, max, 0);
            for _ in 0..80 {
                assert!(backoff.next_delay() <= Duration::from_millis(max.max(1)));
            }
        }
    }
}
