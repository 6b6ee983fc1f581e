//! The errors that end an observer.

use std::path::PathBuf;

use super::session::DialError;
use crate::git::GitError;
use crate::model::RepoName;

/// Why an observer could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ObserverError {
    #[error("could not observe {}: give the path of a git repository", path.display())]
    Open { path: PathBuf, source: Box<GitError> },
    #[error(transparent)]
    Dial(DialError),
    #[error(
        "the dispatcher knows another repository by the name {repo}: {text}; observe this one under another name with \
         --name"
    )]
    NameTaken { repo: RepoName, text: String },
    #[error("there is no repository to observe: give the path of one")]
    NoRepository,
    #[error("the thread that observes {repo} panicked")]
    Panicked { repo: RepoName },
    #[error("could not start a thread")]
    Thread(#[source] std::io::Error),
}
