//! Surveil is continuous integration for people with git repositories and machines of their own.
//!
//! Three roles talk line-delimited JSON over TCP. The *observer* watches a repository and announces its commits; the
//! *dispatcher* decides and remembers; *runners* execute the commit's tasks. Everything the dispatcher decides is
//! decided in one pure place ([`scheduler`]) and nothing it promises leaves before it is durable.
//!
//! The rooms, in reading order: the nouns ([`model`]), the wire ([`protocol`]), the decisions ([`scheduler`]); then
//! what touches the world: the store, git, processes, TCP; then the three roles; then the command line.

pub mod model;
pub mod protocol;
pub mod scheduler;

pub mod cli;
pub mod clock;
pub mod config;
pub mod dispatcher;
mod error_chain;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod git;
mod locked;
pub mod observer;
pub mod process;
pub mod runner;
pub mod shutdown;
pub mod store;
pub mod threads;
pub mod transport;
