//! Sessions: a session is one connection of one peer, from hello to close. Each role has a file of its own.
//!
//! A session never decides. It turns messages into events for the core and calls of operations, and writes their
//! answers.

mod admission;
mod blobs;
mod caches;
mod connection;
pub(crate) mod credentials;
mod error;
mod expansion;
mod foreign;
// Compiled as a part of this module, so that it sees what is private here.
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/dispatcher_gate.rs"]
pub(crate) mod fuzz;
mod gate;
mod log_stream;
mod observer;
mod observers;
mod operator;
mod operator_words;
mod passes;
mod records;
mod report;
mod runner;
mod runner_outbox;
mod secrets;
mod serve;
mod sessions;
mod shared;
mod sources;
mod submission;
mod tool_entries;
mod truncate;
mod wanted_blobs;
mod worker;

pub(crate) use gate::Gate;
pub(crate) use observers::{Observers, Woken};
pub use records::Records;
pub(crate) use runner_outbox::{RunnerOutbox, WeakRunnerOutbox};
pub(crate) use shared::Shared;
