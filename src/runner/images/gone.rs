//! Whether the containers of an earlier process are gone, for attempts that wait for it.

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::calls::CallError;

/// Tells attempts when the containers are gone. Nothing is ever sent: the end of the thread disconnects it.
#[derive(Debug)]
pub(super) struct Gone {
    receiver: Receiver<()>,
}

impl Gone {
    /// There are no such containers.
    pub(super) fn already() -> Self {
        Self { receiver: bounded(0).1 }
    }

    /// Returns also the end to drop when they are gone.
    pub(super) fn soon() -> (Self, Sender<()>) {
        let (removing, receiver) = bounded(0);
        (Self { receiver }, removing)
    }

    /// Waits until the containers are gone, or could not be removed.
    pub(super) fn wait(&self, cancel: &Receiver<()>) -> Result<(), CallError> {
        select! {
            recv(self.receiver) -> _ => Ok(()),
            recv(cancel) -> _ => Err(CallError::Cancelled),
        }
    }
}
