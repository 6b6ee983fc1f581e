//! The plan of a build: what the dispatcher makes of a commit's task file for one trigger.

use super::TaskSpec;
use super::reason::{ChangeReason, LeftOutReason};

/// The tasks of a build, and the settings of the build as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of the task file.
    pub tasks: Vec<PlannedTask>,
    pub settings: BuildSettings,
}

/// A task, and what becomes of it in this build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTask {
    pub spec: TaskSpec,
    /// The reason why the task does not run in this build, if it does not.
    pub left_out: Option<LeftOutReason>,
    /// The reason why the task runs, if paths that have not changed could have left it out.
    pub because: Option<ChangeReason>,
    /// Whether the task waits until a person starts it.
    pub held: bool,
}

/// The settings of a build as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildSettings {
    /// The longest that the build may take, from its creation or its newest rerun.
    pub timeout_ms: Option<u64>,
    /// Whether the first failure cancels the rest of the build.
    pub fail_fast: bool,
    pub supersede: Supersede,
}

/// What a newer move of the same ref does to a build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Supersede {
    /// Nothing.
    #[default]
    No,
    /// The build is cancelled if none of its jobs has been given to a runner.
    Queued,
    /// The build is cancelled, unless an exclusive task of it has been given to a runner.
    Running,
}

impl Plan {
    /// The plan of tasks that all run, in a build without settings.
    #[must_use]
    pub fn of(tasks: Vec<TaskSpec>) -> Self {
        Self { tasks: tasks.into_iter().map(PlannedTask::of).collect(), settings: BuildSettings::default() }
    }
}

impl PlannedTask {
    /// A task that runs in this build.
    #[must_use]
    pub fn of(spec: TaskSpec) -> Self {
        Self { spec, left_out: None, because: None, held: false }
    }
}
