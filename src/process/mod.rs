//! One attempt's processes: started in their own session, timed out, ended politely and then firmly with every
//! descendant, and their end named.
//!
//! A slot has a [`Supervisor`]: a small process of this same program that starts each command, adopts whatever the
//! command leaves behind, sweeps it, and ends everything if the runner vanishes. Two tiers make sure that nothing is
//! left ([`Isolation`](crate::model::Isolation)): a PID namespace for each slot, where this process may make one, else
//! a subreaper. In both the proof of emptiness is the same: the supervisor has no child any more.
//!
//! The files: what is run and how it ends (`command`); the runner's side (`supervisor`); the supervising process
//! (`supervise_main`) and what it is made of: what to execute and why that failed (`launch`), the one unsafe leaf
//! (`kernel`), tiers (`isolation`), ending everything (`sweep`) by the process table (`table`); and the messages
//! between the two (`messages`). And what a role's own process gives back while it has nothing to do (`idle`). This room
//! reads no output and never waits for a pipe to close: an orphan may hold it.
//!
//! Only the runner calls this room, and the command line for the hidden subcommand and for `idle`.

mod command;
mod error;
mod idle;
mod isolation;
mod kernel;
mod launch;
mod messages;
mod supervise_main;
mod supervisor;
mod sweep;
mod table;

pub use command::{Command, Ended, Exit, Progress};
pub use error::ProcessError;
pub use idle::give_back_when_idle;
pub use isolation::detect as detect_isolation;
pub use supervise_main::supervise;
pub use supervisor::Supervisor;
