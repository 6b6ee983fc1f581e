//! Turns signals into messages.

use std::io;

use crossbeam_channel::{Receiver, bounded};
pub use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::threads;

/// Returns a channel that gets the number of each SIGINT, SIGTERM and SIGHUP. The thread behind it lives as long as the
/// process.
pub fn signals() -> io::Result<Receiver<i32>> {
    let (sender, receiver) = bounded(8);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let thread = threads::spawn("signals", move || {
        for signal in signals.forever() {
            if sender.try_send(signal).is_err() {
                // The receiver is gone, or eight signals are waiting. In both cases this signal adds nothing.
                continue;
            }
        }
    })?;
    // It blocks in the kernel for as long as the process lives; there is nothing to join.
    std::mem::forget(thread);
    Ok(receiver)
}

/// The order to a role to end, sent over a channel. A closed channel means [`Stop::Now`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Finish the attempts that are held, take no new ones, then end.
    Drain,
    /// End now, but in order: child processes are ended, and files are whole.
    Now,
}
