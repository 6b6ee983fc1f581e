//! The errors of processes that are not the command's own fault.

use std::io;
use std::path::PathBuf;

use crate::model::Isolation;

/// An error of a process or its supervisor. A failure of the command itself is an [`Exit`](super::Exit).
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("could not start the supervisor {}", program.display())]
    StartSupervisor { program: PathBuf, source: io::Error },
    #[error("could not isolate a slot by {}", isolation.word())]
    Isolate { isolation: Isolation, source: io::Error },
    /// The machine lacks what a new process needs: memory, descriptors, process ids.
    #[error("could not start the command, for want of resources")]
    StartCommand(#[source] io::Error),
    #[error("could not talk to the supervisor")]
    Talk(#[source] io::Error),
    /// `how` names the exit code or signal.
    #[error("the supervisor ended while it was needed ({how})")]
    SupervisorEnded { how: String },
    #[error("the supervisor did not answer in time")]
    SupervisorSilent,
    #[error("the supervisor answered {report}, which fits nothing that was asked")]
    Unexpected { report: String },
    /// They belong to another user, or are stuck in the kernel.
    #[error("{count} processes of the command could not be ended")]
    Remaining { count: u32 },
    /// The container of a command was not started, or is gone. The text is for people.
    #[error("{0}")]
    Container(String),
    #[error("could not prepare to supervise")]
    Prepare(#[source] io::Error),
}
