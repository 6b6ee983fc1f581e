//! git behind a small API. libgit2 reads objects and indexes packs; packs are written and work trees are filled here;
//! the `git` program, where present, only fetches from remote URLs and lists refs that libgit2 cannot read.
//!
//! Three kinds of repository: one that is [`Watched`] (only ever read), a bare [`PackStore`] that receives packs (the
//! dispatcher's mirror and a runner's store are the same thing), and a [`WorkTree`] that is brought to exactly one
//! commit of a store. Called by the observer, the dispatcher and the runner, each for its kinds.
//!
//! Never here: a write to a watched repository; a program that a repository or a commit names (hooks, filters,
//! transports, monitors); a file written outside the place it is for; a URL's secret in an error.

mod credentials;
mod error;
mod hash;
mod incoming;
mod lengths;
mod objects;
mod pack;
mod pack_store;
mod program;
mod receiver;
mod refs;
mod remote;
mod select;
mod stored;
#[cfg(test)]
mod tests;
mod tidy;
mod watched;
mod worktree;

pub use error::GitError;
#[cfg(any(test, fuzzing))]
pub(crate) use objects::{EntryKind, Objects, entries};
pub use pack_store::PackStore;
pub use program::fetch_mirror;
pub use receiver::Receiver;
pub use watched::{BranchSelection, CommitText, Head, Watched};
pub use worktree::WorkTree;
