//! A role's process gives memory back when it has had nothing to do for a while: what its start, or a busy time, needed
//! and being idle does not. Once, until it has been busy again.

use std::io;
use std::time::Duration;

use super::kernel;
use crate::clock;
use crate::threads;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// A process that used less than this share of a processor in that time was idle: heartbeats take less, and the
/// smallest commit more.
const IDLE_SHARE: u32 = 400;

/// Starts the thread, which goes on for as long as the process.
pub fn give_back_when_idle() -> io::Result<()> {
    let thread = threads::spawn("idle", || {
        let mut idleness = Idleness { used: clock::processor_time(), has_more: true };
        loop {
            // Nothing is to be heard here.
            crossbeam_channel::never::<()>().recv_timeout(EVERY).ok();
            if idleness.begins(clock::processor_time())
                && let Err(error) = kernel::give_back_memory()
            {
                log::debug!("could not give memory back: {error}");
            }
        }
    })?;
    // There is nothing to join.
    std::mem::forget(thread);
    Ok(())
}

struct Idleness {
    /// Of the processor, when it was last looked.
    used: Duration,
    /// It has been busy since memory was last given back.
    has_more: bool,
}

impl Idleness {
    /// Whether the process has become idle in the time since the last look. To be asked once in that time.
    fn begins(&mut self, used: Duration) -> bool {
        let is_busy = used.saturating_sub(self.used) >= EVERY / IDLE_SHARE;
        self.used = used;
        self.has_more |= is_busy;
        !is_busy && std::mem::take(&mut self.has_more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_becomes_idle_once_and_again_after_it_was_busy() {
        let mut idleness = Idleness { used: Duration::ZERO, has_more: true };
        let looks = [(300, false), (302, true), (304, false), (320, false), (322, true), (323, false)];
        for (used, begins) in looks {
            assert_eq!(idleness.begins(Duration::from_millis(used)), begins, "{used} ms");
        }
    }
}
