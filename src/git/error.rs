//! What can go wrong with git, one enum for the room. The cause is a source, never pasted into the text.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::CommitId;

/// What went wrong with git, and where.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("could not open {} as a git repository", path.display())]
    Open { path: PathBuf, source: git2::Error },
    /// libgit2 and git refuse repositories of other users, because their configuration names programs to run.
    #[error(
        "repository {0} belongs to another user; to trust it, run: git config --global --add safe.directory {0}",
        path.display()
    )]
    Owner { path: PathBuf },
    #[error("could not {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A file that git keeps for itself does not hold what it should.
    #[error("{} is broken: {why}", path.display())]
    Broken { path: PathBuf, why: &'static str },
    #[error("HEAD of {} is detached and names no branch: say which to watch, for example {suggestion}", path.display())]
    Detached { path: PathBuf, suggestion: String },
    #[error(
        "repository {} has no remote to fetch from: add one with `git remote add origin URL`, or leave out --fetch to \
         watch the repository itself",
        path.display()
    )]
    NoRemote { path: PathBuf },
    #[error(
        "repository {} has several remotes and none is called origin ({names}): give the URL of the one to watch \
         instead of the path",
        path.display()
    )]
    SeveralRemotes { path: PathBuf, names: String },
    /// The commit has an id of the other object format, SHA-1 or SHA-256.
    #[error("commit {} cannot be in {}, which has another object format", commit.short(), path.display())]
    Format { commit: CommitId, path: PathBuf },
    #[error("could not read {kind} {id} in {}", path.display())]
    Object { kind: &'static str, id: String, path: PathBuf, source: git2::Error },
    #[error("tree {id} is broken: {why}")]
    BrokenTree { id: String, why: &'static str },
    /// A tree that would write where it must not.
    #[error("commit {} cannot be checked out: entry {name:?} of tree {tree} {why}", commit.short())]
    Hostile { commit: CommitId, tree: String, name: String, why: &'static str },
    #[error("could not build a pack from {}", path.display())]
    Build { path: PathBuf, source: git2::Error },
    #[error("whoever receives the pack stopped it")]
    Stopped,
    /// What arrived is no pack, or not all of one; or there was no room for it, which [`GitError::is_disk_full`] tells.
    #[error("could not index the pack received into {}", path.display())]
    BrokenPack { path: PathBuf, source: git2::Error },
    /// The commit or part of its tree is not in the store. The remedy is to send all of it.
    #[error("commit {} is incomplete in {}: {missing} is missing", commit.short(), path.display())]
    Incomplete { commit: CommitId, path: PathBuf, missing: String },
    #[error("file {file} of commit {} has {size} bytes, more than {limit}", commit.short())]
    TooLarge { commit: CommitId, file: String, size: usize, limit: usize },
    #[error("`{keep}` cannot be kept: {why}")]
    Keep { keep: String, why: &'static str },
    #[error("could not {action}: the git program could not be started")]
    NoProgram { action: String, source: io::Error },
    /// The git program ended with an error; `detail` is the last thing it said, without the secrets of URLs.
    #[error("could not {action}: {detail}")]
    Program { action: String, detail: String },
    #[error("could not {action}: the git program was ended after {seconds} s")]
    TooLong { action: String, seconds: u64 },
}

impl GitError {
    /// For `map_err`: an I/O error with what was being done, and to what.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// Whether it says that a store is not what it was: something in it is missing or unreadable that was there. What a
    /// commit itself is to blame for is not, nor is a disk that is full or does not answer.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Object { .. } | Self::Broken { .. } | Self::Incomplete { .. } => {
                !self.is_disk_full()
            }
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            }
            Self::Owner { .. }
            | Self::Detached { .. }
            | Self::NoRemote { .. }
            | Self::SeveralRemotes { .. }
            | Self::Format { .. }
            | Self::BrokenTree { .. }
            | Self::Hostile { .. }
            | Self::Build { .. }
            | Self::Stopped
            | Self::BrokenPack { .. }
            | Self::TooLarge { .. }
            | Self::Keep { .. }
            | Self::NoProgram { .. }
            | Self::Program { .. }
            | Self::TooLong { .. } => false,
        }
    }

    /// Whether it says that there is no room left on a disk, which is nobody's fault and may heal.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            }
            if let Some(git) = error.downcast_ref::<git2::Error>() {
                return git.message().contains("No space left") || git.message().contains("quota exceeded");
            }
            cause = error.source();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_errors_whoever_noticed() {
        let path = PathBuf::from("/x");
        let io = |kind: io::ErrorKind| GitError::io("write", Path::new("/x"))(kind.into());
        let pack = |text| GitError::BrokenPack { path: path.clone(), source: git2::Error::from_str(text) };
        assert!(io(io::ErrorKind::StorageFull).is_disk_full());
        assert!(pack("cannot extend packfile 'x': No space left on device").is_disk_full());
        assert!(!io(io::ErrorKind::PermissionDenied).is_disk_full());
        assert!(!pack("wrong pack signature").is_disk_full());
        assert!(!GitError::Stopped.is_disk_full());
    }
}
