//! Signals become messages.

use std::io;

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::threads;

/// A channel that gets one message for each SIGINT, SIGTERM or SIGHUP, the signal's number in it. The thread behind it
/// lives as long as the process.
pub fn signals() -> io::Result<Receiver<i32>> {
    let (sender, receiver) = bounded(8);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let thread = threads::spawn("signals", move || {
        for signal in signals.forever() {
            if sender.try_send(signal).is_err() {
                // Nobody listens any more, or eight signals are waiting: either way this one adds nothing.
                continue;
            }
        }
    })?;
    // It blocks in the kernel for as long as the process lives; there is nothing to join.
    std::mem::forget(thread);
    Ok(receiver)
}

/// How a role is asked to end. It gets these over a channel; a channel that closes means [`Stop::Now`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Finish what is held, accept nothing new, then end.
    Drain,
    /// End now, in order: children ended, files whole.
    Now,
}
