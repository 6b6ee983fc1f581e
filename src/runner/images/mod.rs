//! Attempts in a container image, by a tool of the machine: podman, docker, apptainer, or whatever an operator's
//! templates call. A script is the only thing that is executed in the container (`control.rs`); its directory is also
//! the way by which the task's exit code comes back.
//!
//! The tool's own process is the command that a supervisor executes (`run.rs`), so everything below it ends with a
//! runner that was killed. The container ends first, by the tool, and its processes are swept afterwards: a tool whose
//! processes were killed keeps a container that is not there. Containers that a killed runner left are found by their
//! label and removed at its next start (`leftovers.rs`). Called by the slots, by `surveil run` (`local.rs`), and for
//! services (`service.rs`) of both.

mod calls;
mod container;
mod control;
mod error;
mod fill;
mod gone;
mod keeper;
mod leftovers;
mod local;
mod run;
mod service;
mod tool;
mod watch;

pub(super) use leftovers::Leftovers;
pub use local::LocalTool;
pub(crate) use run::{ImageMeans, ImageRun};
pub(super) use service::{ServiceContainer, ServiceMeans, Tried};
pub use tool::ContainerTool;
pub(super) use tool::Images;
