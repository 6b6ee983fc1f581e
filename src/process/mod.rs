//! The processes of one attempt: each command starts in a session of its own, has a timeout, and is ended first with
//! TERM and then with KILL, together with every descendant. The end of each is named.
//!
//! A slot has a [`Supervisor`]. It drives a small process of this same program, the supervising process, which starts
//! each command, adopts the orphans that the command leaves behind, kills them, and ends everything if the runner
//! vanishes. Two tiers ([`Isolation`](crate::model::Isolation)) make sure that nothing is left: a PID namespace for
//! each slot if this process may create one, else a subreaper. Both prove emptiness in the same way: the supervising
//! process has no child any more.
//!
//! The files: commands and how they end (`command`); the runner's side (`supervisor`, `supervising_process`,
//! `conversation`, `child`, and `nest` for commands that run side by side); the supervising process (`supervise_main`)
//! and its parts: preparing an execution and explaining a failed one (`launch`), the one file with unsafe code
//! (`kernel`), the tiers (`isolation`), the mounts of a guard (`guard`, `mounts`, or `fence`), limits (`limits`,
//! `groups`), killing everything (`sweep`) with the process table (`table`); and the messages between the
//! two processes (`messages`). `idle` returns a role's unused memory to the system.
//!
//! This room reads no output and never waits for a pipe to close, because an orphan may hold the pipe open. Its callers
//! are the runner, and the command line for the hidden subcommand and for `idle`.

mod child;
mod command;
mod conversation;
mod error;
mod fence;
mod fields;
mod groups;
mod guard;
mod idle;
mod isolation;
mod kernel;
mod launch;
mod limits;
mod messages;
mod mounts;
mod nest;
mod supervise_main;
mod supervising_process;
mod supervisor;
mod sweep;
mod table;

pub use command::{Command, Ended, Exit, ProgressCallbacks, Usage};
pub use error::ProcessError;
pub use groups::Groups;
pub use guard::{Given, Guard, View};
pub use idle::give_back_when_idle;
pub use isolation::detect as detect_isolation;
pub use limits::{Controllers, Enforcement, Limits};
pub use nest::{Nest, NestedSupervisor};
pub use supervise_main::supervise;
pub use supervisor::Supervisor;
