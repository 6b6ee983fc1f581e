//! How long a runner waits before it dials the dispatcher again. Pure.

use super::limits::{NAME_TAKEN_MAX_MS, REDIAL_FIRST_MS, REDIAL_MAX_MS};

/// Returns the longest pause between two tries. A dispatcher that starts again waits for the runners of its stored
/// attempts as long as its timeout; within that time a runner must try several times.
pub(super) fn longest_pause_ms(patience_ms: Option<u64>) -> u64 {
    patience_ms.map_or(REDIAL_MAX_MS, |patience_ms| REDIAL_MAX_MS.min(patience_ms / 4)).max(REDIAL_FIRST_MS)
}

/// Returns the longest pause of a runner whose name has been taken for `taken_ms`. A predecessor that vanished is given
/// up within the dispatcher's timeout, and the runner must come in soon after. If the name is taken for much longer,
/// another runner lives by it, and only a person changes that.
pub(super) fn longest_pause_without_name_ms(patience_ms: Option<u64>, taken_ms: u64) -> u64 {
    let is_owned = taken_ms > patience_ms.unwrap_or(0).saturating_mul(2);
    if is_owned { NAME_TAKEN_MAX_MS } else { longest_pause_ms(patience_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the pauses of a long timeout, a dispatcher with a short one that was away for a while gave up runners that
    /// were just about to dial again.
    #[test]
    fn a_runner_tries_several_times_within_its_dispatchers_timeout() {
        for timeout_ms in [1_000, 2_500, 12_000, 60_000] {
            assert!(4 * longest_pause_ms(Some(timeout_ms)) <= timeout_ms);
        }
        assert_eq!([None, Some(60_000)].map(longest_pause_ms), [REDIAL_MAX_MS; 2]);
        assert_eq!(longest_pause_ms(Some(0)), REDIAL_FIRST_MS);
    }

    /// The predecessor of a machine that lost its power is given up after the dispatcher's timeout. A name that is
    /// taken for longer belongs to another runner.
    #[test]
    fn a_runner_without_its_name_tries_often_for_as_long_as_its_predecessor_may_be_in_the_way() {
        for taken_ms in [0, 15_000, 30_000] {
            assert_eq!(longest_pause_without_name_ms(Some(15_000), taken_ms), REDIAL_MAX_MS);
        }
        assert_eq!(longest_pause_without_name_ms(Some(15_000), 30_001), NAME_TAKEN_MAX_MS);
    }
}
