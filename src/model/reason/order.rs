//! Answers to orders: why one was refused, what one that was carried out did, and why a session was closed.

use super::Quarantine;
use crate::model::{BuildId, GroupName, JobId, JobStateKind, RepoName, RunnerName, TaskName};

worded! {
    /// Why the dispatcher refused what an operator or a runner asked for.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum RefusalReason: code {
        /// Another process holds the runner's name.
        NameTaken { runner: RunnerName } = "name_taken",
        /// The store does not have the build any more.
        UnknownBuild { build: BuildId } = "unknown_build",
        /// A build that is to run again has to be finished first.
        BuildUnfinished { build: BuildId } = "build_unfinished",
        /// The build has no jobs, because its task file could not be read.
        BrokenTasks { build: BuildId } = "broken_tasks",
        /// All jobs of the build are held or left out.
        NothingRan { build: BuildId } = "nothing_ran",
        /// The job is not held, so that it cannot be started.
        NotHeld { build: BuildId, task: TaskName, state: JobStateKind } = "not_held",
        /// The job is held, so that it cannot run again.
        StillHeld { build: BuildId, task: TaskName } = "still_held",
        /// The job that was to start needs this one, which is held.
        NeedsHeld { build: BuildId, task: TaskName, needs: TaskName } = "needs_held",
        /// None of the tasks that were to start has an input of this name. They have those.
        UnknownInput { build: BuildId, task: TaskName, name: String, known: Vec<String> } = "unknown_input",
        /// Inputs of a task that was to start have no value and no default.
        MissingInputs { build: BuildId, task: TaskName, names: Vec<String> } = "missing_input",
        /// The job that was to start is of a build that is not the newest of its ref.
        NewerBuild { build: BuildId, task: TaskName, newer: BuildId } = "newer_build",
        /// The job that was to run again alone needs this one, which did not pass.
        NeedsOther { build: BuildId, task: TaskName, needs: TaskName } = "needs_other",
        /// The job that was to run again alone runs after failures, and nothing that it needs failed.
        NothingFailed { build: BuildId, task: TaskName } = "nothing_failed",
        /// The build has no jobs.
        NoJobs { build: BuildId } = "no_jobs",
        /// Only failed jobs were to run again, of all or of those that were named, and all passed.
        AllPassed { build: BuildId, of: Option<NamedJobs> } = "all_passed",
        /// A job of an exclusive task or a group was cancelled, and its runner has not ended the attempt yet.
        StillEnding {
            build: BuildId,
            task: TaskName,
            /// The group; absent for an exclusive task.
            group: Option<GroupName>,
            number: u32,
            runner: RunnerName,
        } = "still_ending",
        /// A job of an exclusive task or a group was cancelled before the dispatcher started, and may not have ended
        /// yet.
        MayStillRun { build: BuildId, task: TaskName, group: Option<GroupName>, wait_ms: u64 } = "may_still_run",
    }
}

/// The jobs of a build that an order names: that of a task, or those of all cells of a matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedJobs {
    /// The name, as it was given.
    pub task: TaskName,
    /// At least one.
    pub jobs: Vec<JobId>,
    /// Whether the name is that of a matrix.
    pub is_matrix: bool,
}

/// The effect of an operator's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderDone {
    Cancelled {
        build: BuildId,
        /// The jobs that the order named; none if it was about the whole build.
        of: Option<NamedJobs>,
        jobs: usize,
    },
    /// All that was to be cancelled is finished already.
    NothingToCancel { build: BuildId, of: Option<NamedJobs> },
    Rerun {
        build: BuildId,
        of: Option<NamedJobs>,
        /// The number of jobs that run again.
        jobs: usize,
        /// How many of them the order named.
        named: usize,
    },
    /// A held job begins.
    Started {
        build: BuildId,
        task: TaskName,
        /// Whether tasks that it needs have not ended yet.
        waits: bool,
    },
    /// The held cells of a matrix begin.
    CellsStarted {
        build: BuildId,
        task: TaskName,
        /// The number of cells that begin, and of all cells.
        cells: usize,
        total: usize,
        /// Whether tasks that one of them needs have not ended yet.
        waits: bool,
    },
    /// The runner gets no jobs from now on, and its process ends after these attempts.
    Draining { runner: RunnerName, attempts: usize },
    /// The runner gets no jobs from now on. It has no process that was to end.
    Drained { runner: RunnerName },
    /// The runner was drained already.
    DrainedAlready { runner: RunnerName },
    /// The runner takes jobs again. If its process `ends`, that is the case once it is started again.
    Resumed { runner: RunnerName, ends: bool },
    /// The observers of a repository were asked to look at it now.
    Woken {
        repo: RepoName,
        /// The repository's path or URL.
        source: Box<str>,
        observers: usize,
        /// The number of observers of versions that cannot be asked.
        old: usize,
    },
    /// The runner was not drained, so nothing has changed. A quarantine ends by itself.
    NotDrained { runner: RunnerName, quarantine: Option<Quarantine> },
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
