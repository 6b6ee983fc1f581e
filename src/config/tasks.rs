//! The task file, and what stands in for it.

use crate::model::TaskSpec;

/// Where a commit says what to do, at its root.
pub const TASK_FILE: &str = ".surveil.toml";
/// Without that file, each executable file directly in here is a task.
pub const TASK_DIRECTORY: &str = "tasks";

/// What is wrong with a task file, ready for people: line, column, the line itself and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct TaskFileError {
    pub text: String,
}

/// Reads a task file. `name` is what the file is called in errors.
pub fn parse_tasks(name: &str, text: &[u8]) -> Result<Vec<TaskSpec>, TaskFileError> {
    todo!()
}

/// The tasks that executable files in [`TASK_DIRECTORY`] make, by their names.
pub fn fallback_plan(executables: &[String]) -> Result<Vec<TaskSpec>, TaskFileError> {
    todo!()
}

/// What to tell someone whose commit says nothing of tasks.
pub fn no_tasks_text() -> String {
    todo!()
}
