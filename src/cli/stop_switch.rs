//! Ctrl-C in a command that waits for the dispatcher: the first signal ends the wait, so that the command can give a
//! last order. A second one ends the process at once.

use std::sync::{Arc, Mutex};

use super::interrupt::{self, FirstSignal};
use super::{CliError, ExitCode};
use crate::threads;
use crate::transport::Stream;

/// Set by the first signal.
pub(crate) struct StopSwitch {
    signal: FirstSignal,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_set: bool,
    /// The connection on which the command waits.
    awaited: Option<Stream>,
}

impl StopSwitch {
    /// Answers signals from now on.
    pub(crate) fn new() -> Result<Self, CliError> {
        let (stops, signal) = interrupt::noted_and_answered_by(vec![()])?;
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let thread = threads::spawn("stop", move || {
            if stops.recv().is_ok() {
                let mut state = threads::lock(&shared);
                state.is_set = true;
                if let Some(stream) = state.awaited.take() {
                    stream.close();
                }
            }
        })
        .map_err(CliError::machine("start a thread"))?;
        // It waits for a signal as long as the process lives, so nothing can join it.
        std::mem::forget(thread);
        Ok(Self { signal, state })
    }

    /// Whether a signal came.
    pub(crate) fn is_set(&self) -> bool {
        threads::lock(&self.state).is_set
    }

    /// Closes the connection when a signal comes, or now if one came already. Only the last connection counts.
    pub(crate) fn closes(&self, stream: Stream) {
        let mut state = threads::lock(&self.state);
        if state.is_set {
            stream.close();
        } else {
            state.awaited = Some(stream);
        }
    }

    /// Returns what `work` makes; `None` if a signal came meanwhile, whatever `work` met then.
    pub(crate) fn unless_set<T>(&self, work: impl FnOnce() -> Result<T, CliError>) -> Result<Option<T>, CliError> {
        match work() {
            Err(_) if self.is_set() => Ok(None),
            result => result.map(Some),
        }
    }

    /// The exit code of a command that the signal has ended.
    pub(crate) fn exit_code(&self) -> ExitCode {
        self.signal.exit_code()
    }
}
