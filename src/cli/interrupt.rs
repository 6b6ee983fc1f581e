//! The commands' answers to Ctrl-C, SIGTERM and SIGHUP. The first signal ends a command in order, a later one harder.
//! One signal more than the command has answers for ends the process at once, as if it had never handled signals.

use crossbeam_channel::{Receiver, bounded};

use super::CliError;
use crate::shutdown::{self, Stop};
use crate::threads;

/// Returns a channel that gets one of `answers` for each signal, in order.
pub(crate) fn answered_by<T: Send + 'static>(answers: Vec<T>) -> Result<Receiver<T>, CliError> {
    let signals = shutdown::signals().map_err(CliError::machine("listen for signals"))?;
    let (sender, receiver) = bounded(answers.len());
    let thread = threads::spawn("interrupt", move || {
        for answer in answers {
            let Ok(signal) = signals.recv() else { return };
            log::debug!("signal {signal}");
            // The channel has room for all answers, so this fails only if the receiver is gone.
            if sender.send(answer).is_err() {
                // The receiver has finished its work and only cleans up. A person who sends a signal now does not want
                // to wait for that.
                return end(signal);
            }
        }
        if let Ok(signal) = signals.recv() {
            end(signal);
        }
    })
    .map_err(CliError::machine("start a thread"))?;
    // The thread waits for signals as long as the process lives, so nothing can join it.
    std::mem::forget(thread);
    Ok(receiver)
}

/// Ends the process at once, as the signal would have done by default.
fn end(signal: i32) {
    // If even this fails, nothing better is left to try.
    drop(signal_hook::low_level::emulate_default_handler(signal));
}

/// For a role without anything to drain: the first signal ends it in order.
pub(crate) fn stop_now() -> Result<Receiver<Stop>, CliError> {
    answered_by(vec![Stop::Now])
}

/// For a runner: the first signal drains it, the second ends its attempts in order.
pub(crate) fn drain_then_stop() -> Result<Receiver<Stop>, CliError> {
    answered_by(vec![Stop::Drain, Stop::Now])
}
