//! Ctrl-C and its relatives, as each command wants them. The first signal ends in order, a later one harder, and one
//! more than the command has an answer for ends the process at once, as if it had never asked for signals.

use crossbeam_channel::{Receiver, bounded};

use super::error::CliError;
use crate::shutdown::{self, Stop};
use crate::threads;

/// A channel that gets `answers` one after the other, one for each signal.
pub(crate) fn answered_by<T: Send + 'static>(answers: Vec<T>) -> Result<Receiver<T>, CliError> {
    let signals = shutdown::signals().map_err(CliError::machine("listen for signals"))?;
    let (sender, receiver) = bounded(answers.len());
    let thread = threads::spawn("interrupt", move || {
        for answer in answers {
            let Ok(signal) = signals.recv() else { return };
            log::debug!("signal {signal}");
            if sender.send(answer).is_err() {
                // Whoever had an answer is done and only tidies up; who sends a signal now wants no more of that.
                return end(signal);
            }
        }
        if let Ok(signal) = signals.recv() {
            end(signal);
        }
    })
    .map_err(CliError::machine("start a thread"))?;
    // It waits for signals for as long as the process lives; there is nothing to join.
    std::mem::forget(thread);
    Ok(receiver)
}

/// Ends the process here and now, as the signal would have done by itself.
fn end(signal: i32) {
    // Where even that is refused, nothing better is left.
    drop(signal_hook::low_level::emulate_default_handler(signal));
}

/// For a role without anything to drain: the first signal ends it in order.
pub(crate) fn stop_now() -> Result<Receiver<Stop>, CliError> {
    answered_by(vec![Stop::Now])
}

/// For a runner: the first signal lets it finish what it holds, the second ends that in order.
pub(crate) fn drain_then_stop() -> Result<Receiver<Stop>, CliError> {
    answered_by(vec![Stop::Drain, Stop::Now])
}
