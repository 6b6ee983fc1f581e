//! Errors about typed values and named files that cannot be used.

use std::io;
use std::path::PathBuf;

use super::tasks::TaskFileError;
use crate::model::RepoNameError;

/// A mistake in a value or a file, with advice on what to write instead.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("could not read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "there is no token at {}: start the dispatcher first, which writes it, or name a copy of it with --token-file",
        path.display()
    )]
    TokenMissing { path: PathBuf },
    #[error("{} holds no token: a single line without spaces was expected", path.display())]
    TokenMalformed { path: PathBuf },
    #[error("{} holds no credential: delete it, and join again", path.display())]
    JoinedMalformed { path: PathBuf },
    #[error("could not write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// Another try is useless, because a pipe can be read only once.
    #[error("no token came through {}: a single line without spaces was expected", path.display())]
    TokenPipe { path: PathBuf },
    #[error("`{0}` is not a size: write a whole number of bytes, or one with a unit, such as 64MiB, 500kB or 1GiB")]
    Size(String),
    #[error("`{0}` is not a duration: write numbers with units (d, h, m, s, ms), such as 90s, 20m or 1h30m")]
    Duration(String),
    #[error(transparent)]
    RepoName(#[from] RepoNameError),
    #[error("the URL of repository {0} is too long to name the directory of its mirror")]
    MirrorName(String),
    #[error(transparent)]
    TaskFile(#[from] TaskFileError),
}
