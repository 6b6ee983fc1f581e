//! The role that executes attempts: in clean trees of exactly the commit, with every process ended afterwards, with
//! nothing lost when the dispatcher is away or the runner itself starts again.
//!
//! One thread decides (`core.rs`, which owns the pure `machine/`); the others wait for something on its behalf: the
//! session's reader and writer (`session.rs`), `heartbeat`, `upload`, a thread for each slot, and one for each
//! attempt's output. Only `translate.rs` sees both the wire and the model.
//!
//! It must never report a failure of its own as a failure of the task: that is an attempt lost.

mod assignment;
mod boottime;
mod core;
mod delivery;
mod environment;
mod event;
// Compiled as a part of this room, so that it sees what is private here.
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

/// Why a runner could not start or had to end.
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
    /// The token or the protocol version, which only a person can change.
    #[error(
        "{0}: check that --token-file names a copy of the dispatcher's tokens/runner, and that both run one version"
    )]
    Refused(String),
    /// The runner was told to end, and the dispatcher was away or took nothing for too long.
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
    /// A thread that everything depends on is gone, by a panic that was printed.
    #[error("the thread {0} has ended")]
    ThreadEnded(&'static str),
    #[error("could not draw a random number")]
    Random(#[source] getrandom::Error),
}

/// Executes attempts until a message on `stop`. A dispatcher that is away is waited for.
pub fn run(settings: RunnerSettings, stop: &Receiver<Stop>) -> Result<(), RunnerError> {
    let isolation = detect_isolation();
    // This very program, also after its file was replaced by a newer one.
    let executor = move |layout: &Layout| -> Box<dyn slot::Execute> {
        Box::new(Supervisor::new("/proc/self/exe".into(), isolation).keeping_open(layout.attempts()))
    };
    core::run(&settings, isolation, Arc::new(executor), stop)
}
