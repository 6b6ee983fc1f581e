//! The way on which other threads reach the core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::inbox::{Seen, ToCore};
use crate::dispatcher::limits;
use crate::scheduler::{Event, Reply, RequestId};

/// The interval at which a thread that waits for the core checks whether the dispatcher is ending.
const ENDING_CHECK: Duration = Duration::from_secs(1);

/// A way to the core. It outlives the core, so every wait for an answer also checks whether the dispatcher is ending: a
/// core that ends leaves questions in its queue, and the channels for their answers stay open with the queue.
#[derive(Clone)]
pub(crate) struct CoreHandle {
    sender: Sender<ToCore>,
    is_ending: Arc<AtomicBool>,
    /// There is no core, and never will be.
    is_absent: bool,
}

/// The reason why the core has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The core waits for its disk, or has too much to do.
    #[error(
        "the dispatcher cannot write to its disk, or is very busy: nothing is accepted until this passes (see its log)"
    )]
    Busy,
    #[error("the dispatcher is shutting down")]
    Ending,
    /// The stored records are read without a dispatcher.
    #[error("no dispatcher runs: only what is stored can be asked for")]
    Absent,
}

impl CoreHandle {
    pub(crate) fn new(sender: Sender<ToCore>) -> Self {
        Self { sender, is_ending: Arc::default(), is_absent: false }
    }

    /// A way to nowhere, for reading the stored records without a dispatcher. Nothing that is sent arrives.
    pub(crate) fn absent() -> Self {
        Self { is_absent: true, ..Self::new(bounded(1).0) }
    }

    /// Whether no dispatcher runs.
    pub(crate) fn is_absent(&self) -> bool {
        self.is_absent
    }

    /// Sends a message, and waits for room in the core's queue. Returns false if the core has ended.
    pub(crate) fn send(&self, message: ToCore) -> bool {
        self.sender.send(message).is_ok()
    }

    /// Sends the event that `make` builds from the number of the request, and waits for the reply. Returns `None` if
    /// the dispatcher ends first.
    pub(crate) fn ask(&self, make: impl FnOnce(RequestId) -> Event + Send + 'static) -> Option<Reply> {
        self.answered(|answer| ToCore::Ask { make: Box::new(make), answer })
    }

    /// Sends a message that carries a channel for its answer, and waits for the answer. Returns `None` if the
    /// dispatcher ends first.
    pub(crate) fn answered<T>(&self, message: impl FnOnce(Sender<T>) -> ToCore) -> Option<T> {
        let (answer, reply) = bounded(1);
        if !self.send(message(answer)) {
            return None;
        }
        loop {
            match reply.recv_timeout(ENDING_CHECK) {
                Err(RecvTimeoutError::Timeout) if !self.is_ending.load(Ordering::Relaxed) => {}
                end => return end.ok(),
            }
        }
    }

    /// Looks at the core's state, and gives up after `LOOK_MS`: a person is waiting.
    pub(crate) fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(Seen<'_>) -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        if self.is_absent {
            return Err(NoAnswer::Absent);
        }
        let patience = Duration::from_millis(limits::LOOK_MS);
        let (answer, seen) = bounded(1);
        let message = ToCore::Look(Box::new(move |core| drop(answer.send(look(core)))));
        let why = |is_timeout| if is_timeout { NoAnswer::Busy } else { NoAnswer::Ending };
        self.sender.send_timeout(message, patience).map_err(|error| why(error.is_timeout()))?;
        seen.recv_timeout(patience).map_err(|error| why(error.is_timeout()))
    }

    /// Lets every wait for an answer end soon.
    pub(crate) fn set_ending(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }
}
