//! The decisions. Facts go in, commands come out: [`Scheduler::handle`] is told an event and answers with effects.
//! No clock, socket, thread, file or dice in here; time is an argument.

mod effect;
mod event;

pub use effect::{Effect, Lease, Reply, ToRunner};
pub use event::{Event, Request, Restored, RestoredBuild, RunnerJoined};
