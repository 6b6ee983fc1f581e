//! What can go wrong with a process that is not the command's own fault.

use std::io;
use std::path::PathBuf;

use crate::model::Isolation;

/// What went wrong with a process or its supervisor. Not the command's own failures: those are an
/// [`Exit`](super::Exit).
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("could not start the supervisor {}", program.display())]
    StartSupervisor {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("could not isolate a slot by {}", isolation.word())]
    Isolate {
        isolation: Isolation,
        #[source]
        source: io::Error,
    },
    /// The machine lacks what a new process needs: memory, descriptors, process ids.
    #[error("could not start the command, for want of resources")]
    StartCommand(#[source] io::Error),
    #[error("could not talk to the supervisor")]
    Talk(#[source] io::Error),
    /// Says by what exit code or signal.
    #[error("the supervisor ended while it was needed ({how})")]
    SupervisorEnded { how: String },
    #[error("the supervisor did not answer in time")]
    SupervisorSilent,
    #[error("the supervisor answered {report}, which fits nothing that was asked")]
    Unexpected { report: String },
    /// Processes of another user, or stuck in the kernel.
    #[error("{count} processes of the command could not be ended")]
    Remaining { count: u32 },
    #[error("could not prepare to supervise")]
    Prepare(#[source] io::Error),
}
