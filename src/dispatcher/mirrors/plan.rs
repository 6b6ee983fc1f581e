//! The tasks that a commit asks for, read from the commit in its mirror.

use super::pool::Mirror;
use crate::config::{self, MAX_TASK_FILE_BYTES, PlanContext, TASK_DIRECTORY, TASK_FILE, TaskFileError};
use crate::git::GitError;
use crate::model::{CommitId, TaskSpec};

/// The tasks that a commit asks for, in the order of its file, or the reason why it has none that can be used. That
/// reason is a mistake in the commit, and makes a build with a problem; an error of the mirror makes no plan at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskPlan {
    pub(crate) tasks: Result<Vec<TaskSpec>, TaskFileError>,
}

impl Mirror {
    /// Reads the plan of a commit that the mirror has.
    pub(crate) fn plan(&self, commit: CommitId, context: PlanContext<'_>) -> Result<TaskPlan, GitError> {
        let tasks = match self.read_file(commit, TASK_FILE, MAX_TASK_FILE_BYTES)? {
            Some(text) => config::parse_tasks(TASK_FILE, &text, context),
            None => config::fallback_plan(&self.executables(commit, TASK_DIRECTORY)?),
        };
        Ok(TaskPlan { tasks })
    }
}
