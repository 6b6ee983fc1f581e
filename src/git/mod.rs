//! git behind a small API. libgit2 reads objects and indexes packs. This room writes packs and fills work trees itself.
//! The `git` program is optional: it fetches from remote URLs and lists refs that libgit2 cannot read.
//!
//! A person's own repository, in which a command is typed, is a [`Local`] one: it is only asked what a name means in
//! it. There are three kinds of repository beside it. A [`Watched`] repository is only ever read. A bare [`PackStore`]
//! receives packs: the dispatcher's mirror and a runner's store are both of this kind. A [`WorkTree`] is brought to
//! exactly one commit of a store. The observer, the dispatcher and the runner call this room, each for its own kinds.
//!
//! This room never writes to a watched repository, never starts a program that a repository or a commit names (hooks,
//! filters, transports, monitors), never writes a file outside the directory it was given, and never puts a URL's
//! secret into an error.

mod attributes;
mod clean_tree;
mod commit_files;
mod commit_object;
mod commit_text;
mod credentials;
mod database;
mod deltas;
mod discovery;
mod encoding;
mod error;
mod facts;
mod hash;
mod history;
mod incoming;
mod large;
mod lengths;
mod lfs;
mod local;
mod local_env;
mod objects;
mod pack;
mod pack_store;
mod partial_clone;
mod pointer;
mod program;
mod receiver;
mod refs;
mod remote;
mod select;
mod small_pack;
mod stored;
mod submodules;
#[cfg(test)]
pub(crate) mod tests;
mod tidy;
mod tree_changes;
mod uncommitted;
mod watched;
mod worktree;

pub use clean_tree::CleanTree;
pub use commit_text::CommitText;
pub use credentials::without_secrets;
pub use discovery::RepositoryPlace;
pub use error::GitError;
pub use history::Facts;
pub use local::{Difference, Local, NamedCommit};
pub use local_env::is_local_variable;
#[cfg(any(test, fuzzing))]
pub(crate) use objects::{EntryKind, Objects, entries};
pub use pack_store::{KnownFacts, PackStore};
#[cfg(any(test, fuzzing))]
pub(crate) use pointer::PointerFile;
pub use program::fetch_mirror;
pub use receiver::Receiver;
#[cfg(any(test, fuzzing))]
pub(crate) use submodules::fuzz;
pub use tree_changes::MAX_CHANGED_PATHS;
pub use uncommitted::UncommittedWork;
pub use watched::{Absence, BranchSelection, Head, Range, RefGlob, SourcePlaces, Watched};
pub use worktree::{TreeSource, WorkTree, remove_directory};
