//! The decisions. Facts go in, commands come out: [`Scheduler::handle`] is told an event and answers with effects.
//! No clock, socket, thread, file or dice in here; time is an argument.
//!
//! It holds what is unfinished and who is there; finished work leaves it, and lives in the store alone. Whoever calls
//! it (the dispatcher's core, the simulation, the tests) makes the records durable before any later effect leaves.

mod attempts;
mod clock_gap;
mod effect;
mod event;
mod explain;
mod handle;
mod health;
mod intake;
mod invariants;
mod jobs;
mod members;
mod policy;
mod questions;
mod restore;
mod spawns;
mod state;
mod tables;
#[cfg(test)]
mod tests;
mod turn;

pub use effect::{Effect, Lease, Reply, RunnerCommand};
pub use event::{Event, RequestId, RunnerJoined};
pub use policy::{Policy, Pool};
pub use questions::{JobCounts, RunnerView};
pub use state::Scheduler;
