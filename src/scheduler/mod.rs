//! The scheduler: it decides which runner gets which job, when an attempt is lost, and how a build ends. It holds the
//! unfinished builds and the runners that are there. Finished builds leave it and live in the store alone.
//!
//! It has no clock, socket, thread, file or random number. Its callers are the dispatcher's core, the simulation and
//! the tests. They drive it as follows.
//!
//! - **Events.** [`Scheduler::handle`] applies one event and returns its effects. The caller passes every event once,
//!   in the order in which the events happened. One event carries facts of the store, `build` of
//!   [`Event::RerunAsked`]: the records that concern it are committed before these facts are read. There is no error: a
//!   refusal is an effect.
//! - **Effects.** The caller carries them out in the order in which they were returned, over all events. A
//!   [`Effect::Persist`] must be durable before any later effect leaves. The caller may handle several events, commit
//!   the records of all of them together, and then release the other effects. The state is then ahead of the store
//!   until the commit. If a commit fails for good, the caller must drop the scheduler together with the effects that it
//!   holds back, and make another with [`Scheduler::restore`].
//! - **Ticks.** A deadline has no consequence by itself, but at the next tick: [`Event::HeartbeatCheck`] every
//!   `heartbeat_interval_ms`, [`Event::LeaseCheck`] every `tick_ms`. Ticks that come too late tell the scheduler that
//!   its caller was held up (`clock_gap.rs`).
//! - **Time.** `now` is monotonic: it never goes back. It may start anywhere, and starts anew after a restart. `at` is
//!   wall-clock time: it is written into records for people, may jump, and decides nothing.
//! - **Questions.** The methods of `questions.rs` and `explain.rs` read the state. The caller commits before it shows
//!   an answer, because the state may be ahead of the store.
//!
//! `handle.rs` passes each event to its file: `intake.rs` has what observers and operators ask for, `again.rs` the
//! orders by which finished builds go on, `cancels.rs` the builds that are cancelled without an operator, `members.rs`
//! the runners, `drains.rs` the drains of operators, `attempts.rs` the leases, `outputs.rs` the outputs of attempts,
//! `jobs.rs` the jobs and builds, `spawns.rs` the runners that are started on demand. `state.rs` has the state. Leases,
//! runners, the queue and all deadlines are in `tables/`, which keeps them in step.

mod again;
mod artifacts;
mod attempts;
mod cancels;
mod clock_gap;
mod drains;
mod effect;
mod event;
mod expansion;
mod explain;
mod handle;
mod health;
mod intake;
mod invariants;
mod jobs;
mod members;
mod outputs;
mod policy;
mod questions;
mod refs;
mod restore;
mod same_tasks;
mod schedules;
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
