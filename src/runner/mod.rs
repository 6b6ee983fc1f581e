//! The role that executes attempts. Each attempt runs in a clean work tree of exactly its commit, all its processes are
//! ended afterwards, and its result survives the absence of the dispatcher and a restart of the runner.
//!
//! One thread decides: `core.rs`, which owns the pure `machine/`. The other threads wait on its behalf: the session's
//! reader and writer (`session.rs`), `heartbeat`, `upload`, a thread for each slot, and a thread for each slot's
//! output. Only `translate.rs` sees both the wire and the model.
//!
//! The runner never reports a failure of its own as a failure of the task: such an attempt is lost.

mod assignment;
mod boottime;
mod core;
mod delivery;
mod environment;
mod event;
// The file is compiled as a part of this room, so that it sees the room's private items.
#[cfg(any(test, fuzzing))]
#[path = "../fuzz/runner.rs"]
pub(crate) mod fuzz;
mod greeting;
mod heartbeat;
mod journal;
mod layout;
mod limits;
mod listening;
mod machine;
mod output;
mod recovery;
mod routes;
mod session;
mod shared_repos;
mod slot;
mod spool;
#[cfg(test)]
mod tests;
mod translate;
mod upload;
mod workspace;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::Receiver;

pub use environment::{AttemptFacts, attempt_environment, inherited};

use layout::Layout;

use crate::config::RunnerSettings;
use crate::process::{Supervisor, detect_isolation};
use crate::shutdown::Stop;
use crate::transport::TransportError;

/// The reason why a runner could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error("could not use the work directory {}", path.display())]
    WorkDirectory { path: PathBuf, source: io::Error },
    #[error("another runner uses the work directory {}: give this one its own with --work", path.display())]
    InUse { path: PathBuf },
    #[error(
        "processes of an earlier runner's attempts in {} do not end: end them, or give this runner a directory of its \
         own with --work",
        path.display()
    )]
    Leftovers { path: PathBuf },
    #[error("could not use the journal {}", path.display())]
    Journal { path: PathBuf, source: io::Error },
    /// The dispatcher refused the token or the protocol version. Only a person can change these.
    #[error(
        "{0}: check that --token-file names a copy of the dispatcher's tokens/runner, and that both run one version"
    )]
    Refused(String),
    /// The runner was told to end, and the dispatcher was away or took no results for too long.
    #[error(
        "could not deliver everything to the dispatcher (results: {results}, output: {bytes} bytes): the rest stays in {}, \
         and the next start of this runner there delivers it",
        path.display()
    )]
    Undelivered { results: usize, bytes: u64, path: PathBuf },
    #[error("could not listen for the dispatcher")]
    Listen(#[from] TransportError),
    #[error("could not start the thread {name}")]
    Thread { name: &'static str, source: io::Error },
    /// A thread that the runner depends on has ended, by a panic that was printed.
    #[error("the thread {0} has ended")]
    ThreadEnded(&'static str),
    #[error("could not draw a random number")]
    Random(#[source] getrandom::Error),
}

/// Executes attempts until a message arrives on `stop`. Waits for a dispatcher that is away.
pub fn run(settings: RunnerSettings, stop: &Receiver<Stop>) -> Result<(), RunnerError> {
    let isolation = detect_isolation();
    // `/proc/self/exe` is this very program, even if a newer one has replaced its file.
    let executor = move |layout: &Layout| -> Box<dyn slot::Execute> {
        Box::new(Supervisor::new("/proc/self/exe".into(), isolation).keeping_open(layout.attempts()))
    };
    core::run(&settings, isolation, Arc::new(executor), stop)
}
