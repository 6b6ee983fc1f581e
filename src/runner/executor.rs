//! The function that executes the commands of a slot: a supervisor's, or a stand-in of a test.

use std::fs::File;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::layout::Layout;
use crate::process::{Command, Ended, Nest, NestedSupervisor, ProcessError, ProgressCallbacks, View};

/// Executes commands, as [`Supervisor::run`](crate::process::Supervisor::run) does; or a stand-in of a test.
pub(super) type Execute =
    dyn FnMut(&Command, File, &Receiver<()>, ProgressCallbacks<'_>) -> Result<Ended, ProcessError>;

/// Makes an executor.
pub(super) type MakeExecutor = Arc<dyn Fn(&Layout) -> Box<Execute> + Send + Sync>;

/// Makes an executor of processes of a container tool.
pub(super) type MakeTool = Arc<dyn Fn() -> Box<Execute> + Send + Sync>;

/// The makers of a runner's executors.
pub(super) struct Executors {
    /// For the tasks of a slot.
    pub(super) tasks: MakeExecutor,
    /// For the processes of a container tool. A tool keeps the pids of its containers for later calls, so they must be
    /// those of the machine, and not of a namespace.
    pub(super) tools: MakeExecutor,
    /// For the tasks that have services.
    pub(super) nests: MakeNest,
}

/// Makes a nest for that many commands, which have one view.
pub(super) type MakeNest =
    Arc<dyn Fn(&Layout, Option<&View>, usize) -> Result<(Nest, Vec<NestedSupervisor>), ProcessError> + Send + Sync>;
