//! The errors that end a runner.

use std::io;
use std::path::PathBuf;

use crate::transport::TransportError;

/// The reason why a runner could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error("every attempt shall be guarded (--isolation), but {why}")]
    NotGuarded { why: String },
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
    /// The dispatcher refused the token, the credential or the protocol version, and said what to do: only a person can
    /// change these.
    #[error("{0}")]
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
    /// The container tool that the operator named cannot be used.
    #[error("{0}")]
    ImageTool(String),
    #[error("could not draw a random number")]
    Random(#[source] getrandom::Error),
}

impl RunnerError {
    /// Whether a full disk is the cause, which may pass.
    pub(super) fn is_disk_full(&self) -> bool {
        matches!(self, Self::WorkDirectory { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}
