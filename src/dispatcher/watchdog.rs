//! The thread that makes sure that the others go on (L2). A thread that everything rests on shows a pulse; where that
//! stands still for too long, the process ends at once, and the next start restores from the store.
//!
//! "Too long" is counted in this thread's own looks and not in time: a process that was stopped, or a machine that
//! slept, has not stalled, because the watchdog stood still with the others. Waiting for the store's disk is no stall
//! either, however long it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{DispatcherError, fatal, faults, limits};
use crate::threads::{self, Thread};

/// How a watched thread shows that it goes on. Costs it an addition.
#[derive(Debug, Clone)]
pub(crate) struct Pulse(Arc<Shown>);

#[derive(Debug)]
struct Shown {
    thread: &'static str,
    beats: AtomicU64,
    /// It waits for the disk.
    is_excused: AtomicBool,
    /// The looks without a beat that it may take.
    patience: u64,
}

impl Pulse {
    /// A thread that beats at least every `interval_ms`, if nothing is wrong.
    pub(crate) fn new(thread: &'static str, interval_ms: u64) -> Self {
        let patience = faults::patience().unwrap_or(limits::STALL_LOOKS) + interval_ms / limits::LOOK_EVERY_MS;
        Self(Arc::new(Shown { thread, beats: AtomicU64::new(0), is_excused: AtomicBool::new(false), patience }))
    }

    /// The thread goes on.
    pub(crate) fn beat(&self) {
        // Nothing is ordered by this; it is only looked whether it changes.
        self.0.beats.fetch_add(1, Ordering::Relaxed);
        faults::strike(self.0.thread);
    }

    /// Does something that may take as long as the disk likes.
    pub(crate) fn excused<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.0.is_excused.store(true, Ordering::Relaxed);
        let result = wait();
        self.0.beats.fetch_add(1, Ordering::Relaxed);
        self.0.is_excused.store(false, Ordering::Relaxed);
        result
    }
}

/// What the watchdog has seen of one thread.
struct Watched {
    pulse: Pulse,
    beats: u64,
    /// Looks in a row at which nothing had changed.
    still: u64,
}

impl Watched {
    /// Looks once more. True if the thread has stood still for too long.
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

/// Starts the thread. It ends when `stop` closes.
pub(crate) fn start(pulses: Vec<Pulse>, stop: Receiver<()>) -> Result<Thread<()>, DispatcherError> {
    let mut watched: Vec<Watched> = pulses.into_iter().map(|pulse| Watched { pulse, beats: 0, still: 0 }).collect();
    let body = move || {
        fatal::guard("watchdog", || {
            let interval = Duration::from_millis(limits::LOOK_EVERY_MS);
            while stop.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                for thread in &mut watched {
                    if thread.look() {
                        fatal::stalled(thread.pulse.0.thread, thread.still);
                    }
                }
            }
        });
    };
    threads::spawn("watchdog", body).map_err(|source| DispatcherError::Thread { name: "watchdog", source })
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
