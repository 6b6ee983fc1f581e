//! The error type of this room. A cause is a source, never pasted into the text.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::CommitId;
use crate::quoting::shell_path;

/// The commits that an error names, and the digits of each.
const NAMED_MAX: usize = 5;
const NAMED_DIGITS: usize = 12;

/// The longest part of a path that an error shows.
const SHOWN_CHARS_MAX: usize = 200;

/// An error of git, with the repository, store or object that it concerns.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// A person's own repository has no such commit.
    #[error("{} has no commit `{}`: fetch it first, or name another one", path.display(), revision.escape_debug())]
    NoCommit { path: PathBuf, revision: String },
    #[error(
        "HEAD of {} has no commit yet: make one with `git commit`; `surveil try` and `surveil run` take the work tree as it is",
        path.display()
    )]
    Unborn { path: PathBuf },
    /// The commit was pushed just now, and the push is not accepted yet.
    #[error(
        "{} has no commit `{}` yet: until a push is accepted, git alone finds what was pushed, so call surveil in a \
         post-receive hook and not in pre-receive or update",
        path.display(), revision.escape_debug()
    )]
    Quarantined { path: PathBuf, revision: String },
    /// HEAD of a repository names a branch that does not exist, and others do. The text says which, and what to type.
    #[error("{text}")]
    OtherBranch { text: String },
    /// An abbreviation that fits several commits, of which the first few are named.
    #[error(
        "`{}` means several commits in {}: give more digits{}",
        revision.escape_debug(), path.display(), some_of(commits)
    )]
    AmbiguousCommit { path: PathBuf, revision: String, commits: Vec<CommitId> },
    #[error("could not open {} as a git repository", path.display())]
    Open { path: PathBuf, source: git2::Error },
    /// libgit2 and git refuse repositories of other users, because their configuration names programs to run.
    #[error(
        "repository {} belongs to another user; to trust it, run: git config --global --add safe.directory {}",
        path.display(), shell_path(path)
    )]
    Owner { path: PathBuf },
    /// The refs are in a storage that libgit2 does not know, such as reftable, and git does not read it either.
    #[error(
        "could not read the refs of {}: they are stored in a format that only the git program reads (reftable needs \
         version 2.45 or later)",
        path.display()
    )]
    RefStorage { path: PathBuf, source: Box<GitError> },
    #[error("could not {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// One of git's own files does not hold what it should.
    #[error("{} is broken: {why}", path.display())]
    Broken { path: PathBuf, why: &'static str },
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
    /// A commit object that git refuses as well.
    #[error("commit {id} is broken: {why}")]
    BrokenCommit { id: String, why: &'static str },
    #[error("tree {id} is broken: {why}")]
    BrokenTree { id: String, why: &'static str },
    /// Content that cannot be put on a disk, or would be written where it must not be: a fault of the commit, wherever
    /// it is checked out.
    #[error("commit {} cannot be checked out: {path:?} {why}", commit.short())]
    Content { commit: CommitId, path: String, why: String },
    /// Another object names this one as an object of a type that it is not of. A fault of the commit, not damage.
    #[error("object {id} in {} is not a {wanted}", path.display())]
    WrongType { wanted: &'static str, id: String, path: PathBuf },
    #[error("{} has no work tree, so there is no uncommitted work", path.display())]
    NoWorkTree { path: PathBuf },
    /// The index cannot be read, or the state of the work tree cannot be told.
    #[error("could not read the work tree of {}", path.display())]
    WorkTree { path: PathBuf, source: git2::Error },
    #[error("could not read {}", path.display())]
    WorkFile { path: PathBuf, source: git2::Error },
    /// A changed or new file is larger than a file of a build may be.
    #[error(
        "{path} has {}, and a file of a build may have at most {} (the dispatcher's --max-file): name it in .gitignore, \
         or raise --max-file",
        in_unit(*size, *limit), in_unit(*limit, *limit)
    )]
    LargeWork { path: String, size: u64, limit: u64 },
    #[error("could not build a pack from {}", path.display())]
    Build { path: PathBuf, source: git2::Error },
    #[error("the receiver of the pack stopped it")]
    Stopped,
    /// The received bytes are not a pack, or not a complete one; or the disk has no room for it, which
    /// [`GitError::is_disk_full`] tells.
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
    /// The git program ended with an error. `detail` is the last thing that it printed, without the secrets of URLs.
    #[error("could not {action}: {detail}")]
    Program { action: String, detail: String },
    #[error("could not {action}: nothing moved for {seconds} s, so the git program was ended")]
    Stalled { action: String, seconds: u64 },
    #[error("could not {action}: the git program was ended after {seconds} s")]
    TooLong { action: String, seconds: u64 },
}

impl GitError {
    /// For `map_err`: wraps an I/O error with the action and the path.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// Whether a store is damaged: an object that was in it is missing or unreadable. False for faults of the commit
    /// itself, and for a disk that is full or does not answer.
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
            | Self::RefStorage { .. }
            | Self::NoCommit { .. }
            | Self::Unborn { .. }
            | Self::OtherBranch { .. }
            | Self::Quarantined { .. }
            | Self::AmbiguousCommit { .. }
            | Self::NoRemote { .. }
            | Self::SeveralRemotes { .. }
            | Self::Format { .. }
            | Self::BrokenCommit { .. }
            | Self::BrokenTree { .. }
            | Self::Content { .. }
            | Self::WrongType { .. }
            | Self::NoWorkTree { .. }
            | Self::WorkTree { .. }
            | Self::WorkFile { .. }
            | Self::LargeWork { .. }
            | Self::Build { .. }
            | Self::Stopped
            | Self::BrokenPack { .. }
            | Self::TooLarge { .. }
            | Self::Keep { .. }
            | Self::NoProgram { .. }
            | Self::Program { .. }
            | Self::Stalled { .. }
            | Self::TooLong { .. } => false,
        }
    }

    /// Whether a disk is full, which is nobody's fault and may pass.
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

/// Formats a size in the unit that suits the limit, so that the two can be compared.
fn in_unit(size: u64, limit: u64) -> String {
    const MIB: u64 = 1 << 20;
    match limit {
        ..MIB => format!("{size} bytes"),
        _ => format!("{:.1} MiB", size as f64 / MIB as f64),
    }
}

/// Returns the path of an entry of a tree for people. A long one is shown without its middle.
pub(super) fn shown_path(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let count = text.chars().count();
    if count <= SHOWN_CHARS_MAX {
        return text.into_owned();
    }
    let half = SHOWN_CHARS_MAX / 2;
    let (first, last) = (text.chars().take(half), text.chars().skip(count - half));
    first.chain(['…']).chain(last).collect()
}

/// Formats ` (4f2a91c04f2a, 4f2a0d9e7c1f and 3 more)`; nothing if no commit is known.
fn some_of(commits: &[CommitId]) -> String {
    let shown: Vec<String> =
        commits.iter().take(NAMED_MAX).map(|id| id.to_string()[..NAMED_DIGITS].to_owned()).collect();
    let more = match commits.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    if shown.is_empty() { String::new() } else { format!(" ({}{more})", shown.join(", ")) }
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
