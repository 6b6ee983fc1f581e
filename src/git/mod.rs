//! git behind a small API. libgit2 does everything local; the `git` program, where present, only fetches from remote
//! URLs and lists refs that libgit2 cannot read.
//!
//! Three kinds of repository: one that is [`Watched`] (only ever read), a bare [`Store`] that receives packs (the
//! dispatcher's mirror and a runner's store are the same thing), and a [`WorkTree`] that is brought to exactly one
//! commit of a store.

mod error;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod measure;
mod objects;
mod pack;
mod program;
mod receiver;
mod refs;
mod select;
mod store;
mod stored;
mod tidy;
mod watched;
mod worktree;

pub use error::GitError;
pub use program::fetch_mirror;
pub use receiver::{Leftovers, Receiver};
pub use store::Store;
pub use watched::{BranchSelection, CommitText, Head, Watched};
pub use worktree::WorkTree;
