//! The commands' answers to Ctrl-C, SIGTERM and SIGHUP. The first signal ends a command in order, a later one harder.
//! One signal more than the command has answers for ends the process at once, as if it had never handled signals.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crossbeam_channel::{Receiver, bounded};

use super::{CliError, ExitCode};
use crate::shutdown::{self, SIGHUP, SIGTERM, Stop};
use crate::threads;

/// The first signal that came, as long as there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct FirstSignal(Arc<AtomicI32>);

impl FirstSignal {
    /// The exit code of a command that a signal has ended.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self.0.load(Ordering::Relaxed) {
            SIGTERM => ExitCode::Terminated,
            SIGHUP => ExitCode::HungUp,
            _ => ExitCode::Interrupted,
        }
    }

    fn note(&self, signal: i32) {
        // Of two signals, the first one has ended the command.
        let _ = self.0.compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Returns a channel that gets one of `answers` for each signal, in order.
pub(crate) fn answered_by<T: Send + 'static>(answers: Vec<T>) -> Result<Receiver<T>, CliError> {
    noted_and_answered_by(answers).map(|(receiver, _)| receiver)
}

/// Like [`answered_by`], for a command whose exit code names the signal.
pub(crate) fn noted_and_answered_by<T: Send + 'static>(
    answers: Vec<T>,
) -> Result<(Receiver<T>, FirstSignal), CliError> {
    let first = FirstSignal::default();
    let noted = first.clone();
    let signals = shutdown::signals().map_err(CliError::machine("listen for signals"))?;
    let (sender, receiver) = bounded(answers.len());
    let thread = threads::spawn("interrupt", move || {
        for answer in answers {
            let Ok(signal) = signals.recv() else { return };
            log::debug!("signal {signal}");
            // Before the answer, so that the code is there when the answer is read.
            noted.note(signal);
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
    Ok((receiver, first))
}

/// Does this when the first signal comes, which then ends the process as it would have by default.
pub(crate) fn before_the_end(tidy: impl FnOnce() + Send + 'static) -> Result<(), CliError> {
    let signals = shutdown::signals().map_err(CliError::machine("listen for signals"))?;
    let thread = threads::spawn("interrupt", move || {
        if let Ok(signal) = signals.recv() {
            tidy();
            end(signal);
        }
    })
    .map_err(CliError::machine("start a thread"))?;
    // The thread waits for a signal as long as the process lives, so nothing can join it.
    std::mem::forget(thread);
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::SIGINT;

    #[test]
    fn the_exit_code_names_the_first_signal() {
        for (signals, code) in [(&[SIGINT][..], 130), (&[SIGTERM, SIGINT], 143), (&[SIGHUP], 129), (&[], 130)] {
            let first = FirstSignal::default();
            signals.iter().for_each(|signal| first.note(*signal));
            assert_eq!(first.exit_code().number(), code, "{signals:?}");
        }
    }
}
