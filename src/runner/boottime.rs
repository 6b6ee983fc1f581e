//! The clock that leases are judged by. It goes on while the machine sleeps, as the dispatcher's clock does meanwhile.

use rustix::time::{ClockId, clock_gettime};

use crate::model::Moment;

/// Returns the milliseconds of `CLOCK_BOOTTIME`.
pub(super) fn now() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Moment(seconds * 1000 + nanos / 1_000_000)
}
