//! The one place that reads clocks.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::{Moment, WallTime};

/// Milliseconds of the monotonic clock since the first call in this process. Stands still while the machine sleeps.
#[expect(clippy::disallowed_methods, reason = "this is the owner of the clock")]
pub fn now() -> Moment {
    static START: OnceLock<Instant> = OnceLock::new();
    Moment(u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// An instant, for deadlines of system calls.
#[expect(clippy::disallowed_methods, reason = "this is the owner of the clock")]
pub fn instant() -> Instant {
    Instant::now()
}

/// Wall-clock time, for people.
#[expect(clippy::disallowed_methods, reason = "this is the owner of the clock")]
pub fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The processor time that all threads of this process have used.
pub fn processor_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    // It begins at zero and only grows, so the conversion does not fail.
    Duration::try_from(used).unwrap_or_default()
}
