//! The dispatcher: the role that decides, and remembers its decisions.
//!
//! Threads: `accept` turns connections into sessions. Each session has a thread that reads. `core` owns the scheduler
//! and the store. `logs` writes output to disk. `heartbeat` and `redistribute` turn time into events. `spawner` starts
//! runners if jobs wait and no runner fits. `retention` removes old builds and checks the mirrors.

mod authority;
mod backup;
mod caches;
mod capacity;
mod choice;
mod core;
mod data_dir;
mod fatal;
mod faults;
// Compiled as a part of this room, so that it sees what is private here.
#[cfg(any(test, fuzzing))]
#[path = "../fuzz/dispatcher.rs"]
pub(crate) mod fuzz;
mod grants;
mod limits;
mod listening;
mod logs;
mod metrics;
mod mirrors;
mod operations;
mod pin;
mod pools;
mod retention;
mod schedules;
mod secrets;
mod session;
mod start;
mod tokens;
mod translate;
mod trust;
mod warnings;
mod watchdog;

use std::io;
use std::path::PathBuf;

pub use backup::{BackupError, Copied, Restored, back_up, check, restore};
pub use pin::pin;
pub use session::Records;
pub use start::Dispatcher;

use crate::config::TaskFileError;
use crate::store::StoreError;
use crate::transport::{CertificateError, TransportError};

/// An error at the start of a dispatcher, or the error with which it ended.
#[derive(Debug, thiserror::Error)]
pub enum DispatcherError {
    #[error("could not set up the data directory at {}", path.display())]
    DataDir { path: PathBuf, source: io::Error },
    #[error("could not read or write the token {}", path.display())]
    Token { path: PathBuf, source: io::Error },
    #[error(
        "could not read the certificate authority's key {}: bring it back from a backup, or remove it, and give every \
         peer the new pin",
        path.display()
    )]
    Authority { path: PathBuf, source: io::Error },
    #[error("could not write {} of the certificate authority", path.display())]
    AuthorityUnwritten { path: PathBuf, source: io::Error },
    #[error("could not make a certificate")]
    Certificate { source: CertificateError },
    #[error("could not create a join token: {why}")]
    JoinToken { why: String },
    #[error("could not start thread {name}")]
    Thread { name: &'static str, source: io::Error },
    #[error("could not read the operator's file {}", path.display())]
    ReadSettings { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Settings(TaskFileError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Listen(TransportError),
}
