//! The text of a commit as people and tasks are told it. Reads one object and nothing else.

use super::encoding::decoded;
use super::error::GitError;
use super::objects::Objects;
use crate::model::CommitId;

/// A commit's subject and author, and when it was committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitText {
    pub subject: String,
    pub author: String,
    /// The committer's time in seconds since 1970. git accepts commits without one.
    pub committed_s: Option<i64>,
}

impl CommitText {
    /// Reads a commit's text in the encoding that the commit names. Bytes that mean nothing in it are replaced.
    pub(super) fn read(objects: &Objects, commit: CommitId) -> Result<Self, GitError> {
        let commit = objects.commit(commit)?;
        let encoding = commit.headers("encoding").next();
        let decoded = |bytes: &[u8]| decoded(bytes, encoding);
        let (name, email) = commit.author();
        let author = format!("{} <{}>", decoded(name), decoded(email));
        Ok(Self { subject: decoded(&commit.subject()), author, committed_s: commit.committed_s() })
    }
}
