//! Returns a role's unused memory to the system when its process is idle: memory that its start or a busy time needed.

use std::io;
use std::time::Duration;

use super::kernel;
use crate::{clock, threads};

/// Interval between two checks.
const EVERY: Duration = Duration::from_secs(1);

/// A process that used less processor time than this in one interval is idle.
const IDLE: Duration = Duration::from_millis(10);

/// Processor time that the process must have used since it last returned memory. A commit takes more; heartbeats take
/// seconds to reach it.
const WORTH_IT: Duration = Duration::from_millis(5);

/// Starts the thread, which lives as long as the process.
pub fn give_back_when_idle() -> io::Result<()> {
    let thread = threads::spawn("idle", || {
        let mut idleness = Idleness { used: clock::processor_time(), given_back: None };
        loop {
            // No message ever comes: this is a pause.
            crossbeam_channel::never::<()>().recv_timeout(EVERY).ok();
            if idleness.is_due(clock::processor_time())
                && let Err(error) = kernel::give_back_memory()
            {
                log::debug!("could not give memory back: {error}");
            }
        }
    })?;
    // It never ends, so there is nothing to join.
    std::mem::forget(thread);
    Ok(())
}

struct Idleness {
    /// Processor time at the last check.
    used: Duration,
    /// Processor time when memory was last returned, if it ever was.
    given_back: Option<Duration>,
}

impl Idleness {
    /// Whether to return memory now. Called once in each interval.
    fn is_due(&mut self, used: Duration) -> bool {
        let is_idle = used.saturating_sub(self.used) < IDLE;
        self.used = used;
        // A start always leaves something, however short it was.
        let is_worth_it = self.given_back.is_none_or(|given_back| used.saturating_sub(given_back) >= WORTH_IT);
        let is_due = is_idle && is_worth_it;
        if is_due {
            self.given_back = Some(used);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_when_it_is_idle_and_something_was_done_since() {
        let mut idleness = Idleness { used: Duration::ZERO, given_back: None };
        let looks = [(30, false), (32, true), (33, false), (36, false), (37, true), (60, false), (61, true)];
        for (used, is_due) in looks {
            assert_eq!(idleness.is_due(Duration::from_millis(used)), is_due, "{used} ms");
        }
    }
}
