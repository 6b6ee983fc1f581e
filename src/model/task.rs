//! A task: a named recipe from the commit's own configuration. It has no state.

use super::{Label, TaskName};

/// What a task runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// A text for the platform's shell.
    Shell(String),
    /// A program and its arguments, started without a shell. Never empty.
    Program(Vec<String>),
}

/// One task as the commit defines it, checked: names are unique, `needs` name tasks of the same commit without a cycle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSpec {
    pub name: TaskName,
    pub script: Script,
    /// Tasks of the same commit that must have passed before.
    pub needs: Vec<TaskName>,
    /// Added to the attempt's environment, in order.
    pub env: Vec<(String, String)>,
    /// After this long an attempt is ended as timed out.
    pub timeout_ms: u64,
    /// How often a failed attempt is tried again. Losing a runner is not counted here.
    pub retries: u32,
    /// A failure of this task fails neither the build nor the tasks that need it.
    pub allow_failure: bool,
    /// What a runner must offer, each `key=value` or a bare word. Sorted, without doubles.
    pub labels: Vec<Label>,
    /// Paths below the work tree that survive from one attempt to the next.
    pub keep: Vec<String>,
    /// Never run twice at a time, not even by a runner that is cut off: for deployments.
    pub exclusive: bool,
}

impl TaskSpec {
    /// How long an attempt may take unless the task says otherwise: one hour.
    pub const DEFAULT_TIMEOUT_MS: u64 = 60 * 60 * 1000;

    /// A task with defaults for everything but its name and what it runs.
    #[must_use]
    pub fn new(name: TaskName, script: Script) -> Self {
        Self {
            name,
            script,
            needs: Vec::new(),
            env: Vec::new(),
            timeout_ms: Self::DEFAULT_TIMEOUT_MS,
            retries: 0,
            allow_failure: false,
            labels: Vec::new(),
            keep: Vec::new(),
            exclusive: false,
        }
    }
}
