//! Answers to orders: why one was refused, what one that was carried out did, and why a session was closed.

use crate::model::{AttemptId, BuildId, RunnerName, TaskName};

/// Why the dispatcher refused what an operator or a runner asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusalReason {
    /// Another process holds the runner's name.
    NameTaken { runner: RunnerName },
    /// The store does not have the build any more.
    UnknownBuild { build: BuildId },
    /// Nothing of the build is left to cancel.
    BuildFinished { build: BuildId },
    /// The job that was to be cancelled is finished.
    JobFinished,
    /// A build that is to run again has to be finished first.
    BuildUnfinished { build: BuildId },
    /// The build has no jobs, because its task file could not be read.
    BrokenTasks { build: BuildId },
    /// The build has no jobs.
    NoJobs { build: BuildId },
    /// Only failed jobs were to run again, and all passed.
    AllPassed { build: BuildId },
    /// An exclusive job was cancelled, and its runner has not ended the attempt yet.
    StillEnding { build: BuildId, task: TaskName, attempt: AttemptId, runner: RunnerName },
    /// An exclusive job was cancelled before the dispatcher started, and may not have ended yet.
    MayStillRun { build: BuildId, task: TaskName, wait_ms: u64 },
    /// The runner that was to drain is not connected.
    RunnerNotConnected,
    /// The runner that was to drain was started again before it heard of the order.
    RunnerRestarted { runner: RunnerName },
    /// The runner that was to drain went away before it heard of the order.
    RunnerLeft { runner: RunnerName },
}

impl RefusalReason {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NameTaken { .. } => "name_taken",
            Self::UnknownBuild { .. } => "unknown_build",
            Self::BuildFinished { .. } => "build_finished",
            Self::JobFinished => "job_finished",
            Self::BuildUnfinished { .. } => "build_unfinished",
            Self::BrokenTasks { .. } => "broken_tasks",
            Self::NoJobs { .. } => "no_jobs",
            Self::AllPassed { .. } => "all_passed",
            Self::StillEnding { .. } => "still_ending",
            Self::MayStillRun { .. } => "may_still_run",
            Self::RunnerNotConnected => "runner_not_connected",
            Self::RunnerRestarted { .. } => "runner_restarted",
            Self::RunnerLeft { .. } => "runner_left",
        }
    }
}

/// What an operator's order did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderDone {
    Cancelled { build: BuildId, jobs: usize },
    Rerun { build: BuildId, jobs: usize },
    Draining { runner: RunnerName, attempts: usize },
}

/// Why the dispatcher closes a runner's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The runner has dialled again, and this registration arrived on the connection before.
    Overtaken,
    /// The runner came back on a new connection.
    Replaced,
    /// Another process holds the runner's name.
    NameTaken { runner: RunnerName },
    /// The dispatcher heard nothing of the runner for this long.
    Silent { silent_ms: u64 },
}
