//! The services of an attempt: programs and containers that run beside its task, and end with it. Programs are the same
//! under a dispatcher and under `surveil run`, which starts no containers.
//!
//! The files: the ports that services get (`port`); services while they run (`running`); and those of an attempt of a
//! slot, with their logs (`attempt`, `log`). Nothing here knows how processes are ended, or
//! containers: `process::Nest` and `runner::images` do.

mod attempt;
mod log;
mod port;
mod running;

pub(super) use attempt::{AttemptServices, ServicePlace};
pub use attempt::{environment_of_service, program_of_service};
pub use port::{Port, ports_of_services};
pub use running::{NotReady, RunningServices, ServiceBody, ServiceStart, last_lines};
