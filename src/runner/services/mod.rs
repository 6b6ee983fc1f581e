//! The services of an attempt: programs that run beside its task, and end with it. The same under a dispatcher and
//! under `surveil run`.
//!
//! The files: the ports that services get (`port`); services while they run (`running`); and those of an attempt of a
//! slot, with their logs (`attempt`, `log`). Nothing here knows how processes are ended: `process::Nest` does.

mod attempt;
mod log;
mod port;
mod running;

pub use attempt::environment_of_service;
pub(super) use attempt::{AttemptServices, ServicePlace};
pub use port::{Port, ports_of_services};
pub use running::{NotReady, RunningServices, ServiceStart, last_lines};
