//! How often a dispatcher is asked that did not answer in time. Pure.

use super::super::limits::{FIRST_PAUSE_MS, MAX_PAUSE_MS};
use crate::model::Moment;

/// Whether the dispatcher may be asked. After a silence it is asked once in a while, by one request, and all others are
/// misses at once: a build with thousands of look-ups must not wait for each of them.
#[derive(Debug, Default)]
pub(super) struct Patience(Option<Pause>);

#[derive(Debug)]
struct Pause {
    until: Moment,
    length_ms: u64,
}

impl Patience {
    /// Whether a request may be sent now. After a silence, that is one, and the next pause begins with it.
    pub(super) fn admits(&mut self, now: Moment) -> bool {
        let Some(pause) = &mut self.0 else { return true };
        if now < pause.until {
            return false;
        }
        pause.length_ms = (2 * pause.length_ms).min(MAX_PAUSE_MS);
        pause.until = Moment(now.0 + pause.length_ms);
        true
    }

    /// Notes that an answer came.
    pub(super) fn answered(&mut self) {
        self.0 = None;
    }

    /// Notes that none came in time. Requests that were sent together are one silence.
    pub(super) fn silent(&mut self, now: Moment) {
        self.0.get_or_insert(Pause { until: Moment(now.0 + FIRST_PAUSE_MS), length_ms: FIRST_PAUSE_MS });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::tool_cache::limits::SHARED_TIME;

    #[test]
    fn a_silent_dispatcher_is_asked_less_and_less_often_until_it_answers() {
        let mut patience = Patience::default();
        assert!(patience.admits(Moment(0)) && patience.admits(Moment(0)));
        patience.silent(Moment(2_000));
        patience.silent(Moment(2_001));
        assert!(!patience.admits(Moment(2_001)) && !patience.admits(Moment(1_999 + FIRST_PAUSE_MS)));
        assert!(patience.admits(Moment(2_000 + FIRST_PAUSE_MS)));
        assert!(!patience.admits(Moment(2_000 + FIRST_PAUSE_MS)), "one request asks whether it is back");
        patience.silent(Moment(4_000 + FIRST_PAUSE_MS));
        assert!(!patience.admits(Moment(1_999 + 3 * FIRST_PAUSE_MS)));
        assert!(patience.admits(Moment(2_000 + 3 * FIRST_PAUSE_MS)));
        patience.answered();
        assert!(patience.admits(Moment(2_000 + 3 * FIRST_PAUSE_MS)));
    }

    /// A build that does nothing but look up, one after the other, with a dispatcher that answers nothing: it loses a
    /// small part of its time.
    #[test]
    fn a_build_with_thousands_of_look_ups_loses_little_time_by_a_dispatcher_that_is_away() {
        let (mut patience, wait) = (Patience::default(), u64::try_from(SHARED_TIME.as_millis()).unwrap());
        let (mut now, mut lost) = (0, 0);
        for _ in 0..5_000 {
            // A compilation.
            now += 200;
            if patience.admits(Moment(now)) {
                (now, lost) = (now + wait, lost + wait);
                patience.silent(Moment(now));
            }
        }
        assert!(lost > 0 && lost < now / 10, "{lost} of {now} ms");
    }
}
