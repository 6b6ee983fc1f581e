//! The services of an attempt: programs and containers that run beside its task, and end with it. They are the same
//! under a dispatcher and under `surveil run`.
//!
//! The files: the ports that services get (`port`); services while they run (`running`); those of an attempt, from the
//! images to the records (`started`); and those of an attempt of a slot, with their logs (`attempt`, `log`). Nothing
//! here knows how processes are ended, or containers: `process::Nest` and `runner::images` do.

mod attempt;
mod log;
mod port;
mod running;
mod started;

pub(super) use attempt::{AttemptServices, ServicePlace};
pub use running::last_lines;
pub use started::{PreparedServices, ProgramPlace, StartedServices, tell_not_ready};
