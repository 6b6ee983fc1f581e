//! git behind a small API. libgit2 does everything local; the `git` program, where present, only fetches from remote
//! URLs and lists refs that libgit2 cannot read.
//!
//! Three kinds of repository: one that is [`Watched`] (only ever read), a bare [`Store`] that receives packs (the
//! dispatcher's mirror and a runner's store are the same thing), and a [`WorkTree`] that is brought to exactly one
//! commit of a store.

use std::path::{Path, PathBuf};

use crate::model::{BranchName, CommitId};

/// What went wrong with git, and where.
#[derive(Debug, thiserror::Error)]
pub enum GitError {}

/// Which branches to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BranchSelection {
    /// The one that HEAD names.
    Main,
    /// Those whose names match one of these globs (`*` also matches `/`).
    Matching(Vec<String>),
}

/// A branch and the commit it is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub branch: BranchName,
    pub commit: CommitId,
}

/// What people read of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitText {
    pub subject: String,
    pub author: String,
}

/// A repository that is watched. Never changed.
pub struct Watched {}

impl Watched {
    /// Opens a bare repository, a work tree or a linked worktree, of any object format and ref storage.
    pub fn open(path: &Path) -> Result<Self, GitError> {
        todo!()
    }

    /// The selected branches. Empty for an unborn HEAD. An unreadable repository is an error, never an empty list.
    pub fn heads(&self, selection: &BranchSelection) -> Result<Vec<Head>, GitError> {
        todo!()
    }

    /// First-parent commits after `before` up to and including `head`, oldest first, the newest `limit` of them; `head`
    /// alone where `before` is absent, unknown here, or not a first-parent ancestor.
    pub fn range(&self, before: Option<CommitId>, head: CommitId, limit: usize) -> Result<Vec<CommitId>, GitError> {
        todo!()
    }

    /// Whether the repository has this commit.
    pub fn has(&self, commit: CommitId) -> bool {
        todo!()
    }

    pub fn describe(&self, commit: CommitId) -> Result<CommitText, GitError> {
        todo!()
    }

    /// Builds a pack: the commit objects of `commits` and everything of their trees that is not in the trees of `haves`
    /// (those of `haves` that this repository has). `sink` gets it in pieces and stops it by returning false.
    pub fn pack(
        &self,
        commits: &[CommitId],
        haves: &[CommitId],
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), GitError> {
        todo!()
    }

    /// Directories in which a change of refs shows, for file-system notification.
    pub fn notify_paths(&self) -> Vec<PathBuf> {
        todo!()
    }

    /// Updates from the repository's own remote, with the `git` program.
    pub fn fetch(&self) -> Result<(), GitError> {
        todo!()
    }
}

/// Makes or updates a local bare mirror of a remote URL with the `git` program, hardened. Returns nothing; open the
/// mirror with [`Watched::open`].
pub fn fetch_mirror(url: &str, mirror: &Path) -> Result<(), GitError> {
    todo!()
}

/// A bare repository that receives packs and keeps only what was sent: whole trees, no history.
pub struct Store {}

impl Store {
    /// Opens the store, or makes it, for the object format of `like`.
    pub fn open(path: &Path, like: CommitId) -> Result<Self, GitError> {
        todo!()
    }

    /// Starts to receive a pack.
    pub fn receive(&self) -> Result<Receiver, GitError> {
        todo!()
    }

    /// Whether the commit and its whole tree were received.
    pub fn has(&self, commit: CommitId) -> bool {
        todo!()
    }

    /// A file of the commit, `None` where there is none (or it is no file). Refuses one larger than `limit` bytes.
    pub fn read_file(&self, commit: CommitId, path: &str, limit: usize) -> Result<Option<Vec<u8>>, GitError> {
        todo!()
    }

    /// Names of the executable files directly in a directory of the commit, sorted; empty where there is no directory.
    pub fn executables(&self, commit: CommitId, directory: &str) -> Result<Vec<String>, GitError> {
        todo!()
    }

    /// As [`Watched::pack`], for one commit.
    pub fn pack(
        &self,
        commit: CommitId,
        haves: &[CommitId],
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), GitError> {
        todo!()
    }

    /// Merges many small packs into one, when there are more than is good for lookups. Cheap when there is nothing to do.
    pub fn tidy(&self) -> Result<(), GitError> {
        todo!()
    }
}

/// A pack on its way into a store. Dropped before [`Receiver::finish`], it leaves nothing behind.
pub struct Receiver {}

impl Receiver {
    pub fn write(&mut self, piece: &[u8]) -> Result<(), GitError> {
        todo!()
    }

    /// Verifies the pack, makes it durable (file and directory synced if `durable`), and then checks that `commit` is
    /// there with its whole tree. A commit that is not complete afterwards is an error of its own variant, so that the
    /// caller can ask for all of it.
    pub fn finish(self, commit: CommitId, durable: bool) -> Result<(), GitError> {
        todo!()
    }
}

/// A directory that is brought to exactly one commit at a time. It has no `.git`; its index lies beside it.
pub struct WorkTree {}

impl WorkTree {
    /// Opens `directory`, or makes it, for commits of the store at `store`. The index is `<directory>.index`.
    pub fn open(store: &Path, directory: &Path) -> Result<Self, GitError> {
        todo!()
    }

    /// Makes the directory exactly the commit's tree: changed files restored, untracked and ignored ones gone, but for
    /// `keep` (paths relative to the directory, never outside it). Afterwards verifies what is there.
    /// Goes from commit to commit by the difference.
    pub fn check_out(&mut self, commit: CommitId, keep: &[String]) -> Result<(), GitError> {
        todo!()
    }

    /// The commit the tree was last brought to.
    pub fn commit(&self) -> Option<CommitId> {
        todo!()
    }

    /// Moves a tree that cannot be cleaned out of the way (to `quarantine`), so that a fresh one can take its place.
    pub fn quarantine(self, quarantine: &Path) -> Result<(), GitError> {
        todo!()
    }
}
