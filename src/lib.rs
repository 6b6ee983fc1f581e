//! Surveil is continuous integration for people with git repositories and machines of their own.
//!
//! Three roles exchange line-delimited JSON over TCP. The *observer* watches a repository and announces its commits.
//! The *dispatcher* decides and remembers. *Runners* execute the commit's tasks. All decisions of the dispatcher are
//! made in one pure room ([`scheduler`]), and no effect leaves before its cause is durable.
//!
//! The rooms, in reading order: the nouns ([`model`]), the wire ([`protocol`]) and the decisions ([`scheduler`]); then
//! the rooms with side effects: the store, git, processes, TCP; then the three roles; then the command line.
//!
//! Only `model`, `protocol` and `scheduler` are meant for other programs. The other rooms are public for `main.rs`,
//! tests and benches alone, and may change at any time.

pub mod model;
pub mod protocol;
pub mod scheduler;

#[doc(hidden)]
pub mod blobs;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod dispatcher;
mod error_chain;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
#[doc(hidden)]
pub mod git;
mod locked;
mod log_limiter;
#[doc(hidden)]
pub mod observer;
#[doc(hidden)]
pub mod process;
mod quoting;
#[doc(hidden)]
pub mod runner;
#[doc(hidden)]
pub mod shutdown;
#[doc(hidden)]
pub mod store;
#[doc(hidden)]
pub mod threads;
#[doc(hidden)]
pub mod transport;
