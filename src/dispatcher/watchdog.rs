//! The watchdog makes sure that the dispatcher's vital threads make progress (L2). Each of them has a pulse. If a pulse
//! does not beat for too long, the process ends at once, and the next start restores from the store.
//!
//! "Too long" is counted in checks of the watchdog and not in time. A process that was stopped, or a machine that
//! slept, has not stalled, because the watchdog stood still as well. Waiting for the store's disk is no stall either,
//! however long it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{DispatcherError, fatal, faults, limits};
use crate::threads::Thread;

/// The pulse of a watched thread. A beat costs one atomic addition.
#[derive(Debug, Clone)]
pub(crate) struct Pulse(Arc<Shown>);

#[derive(Debug)]
struct Shown {
    thread: &'static str,
    beats: AtomicU64,
    /// Whether the thread is waiting for the disk.
    is_excused: AtomicBool,
    /// The number of checks without a beat after which the thread has stalled.
    patience: u64,
}

impl Pulse {
    /// Returns the pulse of a thread that beats at least every `interval_ms`.
    pub(crate) fn new(thread: &'static str, interval_ms: u64) -> Self {
        let patience = faults::patience().unwrap_or(limits::STALL_LOOKS) + interval_ms / limits::LOOK_EVERY_MS;
        Self(Arc::new(Shown { thread, beats: AtomicU64::new(0), is_excused: AtomicBool::new(false), patience }))
    }

    /// Notes that the thread makes progress.
    pub(crate) fn beat(&self) {
        // Relaxed is enough: the watchdog only compares the count with the last one, and no other memory depends on it.
        self.0.beats.fetch_add(1, Ordering::Relaxed);
        faults::strike(self.0.thread);
    }

    /// Runs `wait`, which may take as long as the disk needs, without counting as stalled.
    pub(crate) fn excused<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.0.is_excused.store(true, Ordering::Relaxed);
        let result = wait();
        self.0.beats.fetch_add(1, Ordering::Relaxed);
        self.0.is_excused.store(false, Ordering::Relaxed);
        result
    }
}

/// The watchdog's view of one thread.
struct Watched {
    pulse: Pulse,
    beats: u64,
    /// Checks in a row at which the count had not changed.
    still: u64,
}

impl Watched {
    /// Checks the thread once. Returns true if it has stalled.
    fn look(&mut self) -> bool {
        let Shown { beats, is_excused, patience, .. } = &*self.pulse.0;
        let seen = beats.load(Ordering::Relaxed);
        if seen != self.beats || is_excused.load(Ordering::Relaxed) {
            (self.beats, self.still) = (seen, 0);
        } else {
            self.still += 1;
        }
        self.still > *patience
    }
}

/// Starts the watchdog's thread, which ends when `stop` closes.
pub(crate) fn start(pulses: Vec<Pulse>, stop: Receiver<()>) -> Result<Thread<()>, DispatcherError> {
    let mut watched: Vec<Watched> = pulses.into_iter().map(|pulse| Watched { pulse, beats: 0, still: 0 }).collect();
    let interval = Duration::from_millis(limits::LOOK_EVERY_MS);
    fatal::start("watchdog", move || {
        while stop.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            for thread in &mut watched {
                if thread.look() {
                    fatal::stalled(thread.pulse.0.thread, thread.still);
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(interval_ms: u64) -> Watched {
        Watched { pulse: Pulse::new("core", interval_ms), beats: 0, still: 0 }
    }

    #[test]
    fn a_thread_that_beats_now_and_then_has_not_stalled() {
        let mut thread = watched(0);
        for _ in 0..10 {
            thread.pulse.beat();
            for _ in 0..=limits::STALL_LOOKS {
                assert!(!thread.look());
            }
        }
        assert!(thread.look());
    }

    #[test]
    fn a_thread_with_a_long_interval_has_that_much_more_time() {
        let mut thread = watched(20 * limits::LOOK_EVERY_MS);
        let looks = std::iter::repeat_with(|| thread.look()).take_while(|stalled| !stalled).count();
        assert_eq!(looks as u64, limits::STALL_LOOKS + 20);
    }

    #[test]
    fn waiting_for_the_disk_is_no_stall_and_what_comes_after_it_is() {
        let mut thread = watched(0);
        let pulse = thread.pulse.clone();
        pulse.excused(|| {
            for _ in 0..10 * limits::STALL_LOOKS {
                assert!(!thread.look());
            }
        });
        let looks = std::iter::repeat_with(|| thread.look()).take_while(|stalled| !stalled).count();
        assert_eq!(looks as u64, limits::STALL_LOOKS + 1, "the end of the wait was a beat");
    }
}
