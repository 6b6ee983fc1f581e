//! The role that decides and remembers.

use std::net::SocketAddr;

use crate::config::DispatcherSettings;
use crate::shutdown::Stop;

/// Why a dispatcher could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum DispatcherError {}

/// A dispatcher that runs in threads of this process. Dropping it stops it.
pub struct Dispatcher {}

impl Dispatcher {
    /// Opens the data directory, restores what was unfinished, writes the tokens, and listens.
    pub fn start(settings: DispatcherSettings) -> Result<Self, DispatcherError> {
        todo!()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        todo!()
    }

    /// Runs until a message on `stop`, then ends in order.
    pub fn run(self, stop: &crossbeam_channel::Receiver<Stop>) -> Result<(), DispatcherError> {
        todo!()
    }
}
