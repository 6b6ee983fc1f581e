//! How things stand: what an unfinished job waits for or does, what an operator should know, what the log tells.

use std::sync::Arc;

use super::{CancelReason, LossReason, MissingFit, Quarantine};
use crate::model::{
    AttemptId, BuildId, CommitId, GroupName, JobId, JobStateKind, Outcome, PoolId, RefName, RepoName, RunnerId,
    RunnerName, TaskName, Verdict,
};

/// The state of an unfinished job: what it waits for, or how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobStatus {
    /// The job waits for tasks that it needs, each with its state.
    WaitsForNeeds { open: Vec<(TaskName, JobStateKind)> },
    /// The job waits until a person starts its task, or those of these tasks that it needs.
    Held { needs: Vec<TaskName> },
    /// No connected runner offers all that the job asks for.
    NoRunnerFits { waited_ms: u64, fit: MissingFit },
    /// The job was lost repeatedly before its process started, and rests.
    Paused { waited_ms: u64, again_ms: u64 },
    /// An attempt failed, and the next one comes after a delay that the task asks for.
    RetryDelayed { again_ms: u64 },
    /// Runners fit, but get no jobs at the moment. A runner without a quarantine rests after a single failure.
    RunnersRest { waited_ms: u64, runners: Vec<(RunnerName, Option<Quarantine>)> },
    /// The task is exclusive, and another of its jobs comes first.
    WaitsForTurn { waited_ms: u64, first: FirstInLine },
    /// As many jobs of the task's group as it allows are before this one: of this task the first.
    WaitsForGroup {
        waited_ms: u64,
        group: GroupName,
        limit: u32,
        task: Option<TaskName>,
        first: FirstInLine,
        before: usize,
    },
    /// No fitting runner has a free slot; this many jobs come first. If not every runner fits, some of those that do.
    InQueue { waited_ms: u64, before: usize, only: Vec<RunnerName> },
    /// The job needs more slots than a fitting runner has free, and this one gets no other job until it has them.
    WaitsForSlots { waited_ms: u64, slots: u32, runner: RunnerName, free: u32 },
    /// A fitting runner has free slots, which are kept for a job that needs more of them.
    SlotsKept { waited_ms: u64, runner: RunnerName, build: BuildId, task: TaskName, slots: u32 },
    /// An attempt of the job is on a runner.
    Running { number: u32, runner: RunnerName, status: AttemptStatus },
}

/// The job or attempt of an exclusive task or a group that comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstInLine {
    /// This attempt may be executing.
    Attempt { build: BuildId, number: u32, runner: RunnerName, is_cancelled: bool },
    /// The job of this earlier build is not finished.
    Job { build: BuildId },
    /// A cancelled attempt may be executing since before the dispatcher started.
    Doubt { left_ms: u64 },
}

/// The progress of an unfinished attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptStatus {
    /// The runner has not said yet that the process started.
    FetchingSource,
    /// The task's process runs.
    Executing,
    /// The runner is away. If it does not come back, its leases end then.
    RunnerAway { left_ms: u64 },
}

impl JobStatus {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::WaitsForNeeds { .. } => "waits_for_needs",
            Self::Held { .. } => "held",
            Self::NoRunnerFits { .. } => "no_runner_fits",
            Self::Paused { .. } => "paused",
            Self::RetryDelayed { .. } => "retry_delayed",
            Self::RunnersRest { .. } => "runners_rest",
            Self::WaitsForTurn { .. } => "waits_for_turn",
            Self::WaitsForGroup { .. } => "waits_for_group",
            Self::InQueue { .. } => "in_queue",
            Self::WaitsForSlots { .. } => "waits_for_slots",
            Self::SlotsKept { .. } => "slots_kept",
            Self::Running { status: AttemptStatus::FetchingSource, .. } => "fetching_source",
            Self::Running { status: AttemptStatus::Executing, .. } => "executing",
            Self::Running { status: AttemptStatus::RunnerAway { .. }, .. } => "runner_away",
        }
    }

    /// The code of why it is so, if there is one.
    #[must_use]
    pub fn reason_code(&self) -> Option<&'static str> {
        if let Self::NoRunnerFits { fit, .. } = self { Some(fit.code()) } else { None }
    }
}

/// A condition that an operator should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concern {
    /// Jobs are queued that no connected runner fits.
    NoRunnerFits(MissingFit),
    /// A runner gets no jobs for a while.
    RunnerRests { runner: RunnerName, rest_ms: u64, quarantine: Option<Quarantine> },
}

/// One fact for the dispatcher's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A build was accepted.
    BuildAdded { build: BuildId, repo: RepoName, reference: RefName, commit: CommitId, tasks: usize },
    /// A build has its verdict.
    BuildFinished { build: BuildId, repo: RepoName, reference: RefName, verdict: Verdict, seconds: i64 },
    /// An observer looked for the first time at the refs that match these patterns.
    RefsNoted { repo: RepoName, refs: usize, patterns: Vec<Arc<str>> },
    /// A build is cancelled without an operator.
    BuildCancelled { build: BuildId, reason: CancelReason },
    /// An observer said that a ref was deleted.
    RefGone { repo: RepoName, reference: RefName },
    /// An attempt was lost, and its job is queued again.
    AttemptLost { attempt: AttemptId, job: JobId, runner: RunnerName, reason: LossReason },
    /// A result came for a lease that was no longer held.
    LateResult { attempt: AttemptId, outcome: Outcome },
    /// A runner registered.
    RunnerJoined { runner: RunnerName, id: RunnerId, slots: u32, holding: usize },
    /// The connection of a runner closed.
    RunnerAway { runner: RunnerName, holding: usize },
    /// A runner finishes its attempts and gets no new ones.
    RunnerDraining { runner: RunnerName, holding: usize },
    /// A runner gets no jobs, because an operator drained it.
    RunnerDrained { runner: RunnerName },
    /// An operator lets a runner take jobs again.
    RunnerResumed { runner: RunnerName },
    /// A runner gets no jobs for a while.
    RunnerQuarantined { runner: RunnerName, quarantine: Quarantine },
    /// A runner is being started, because no connected runner fits a queued job.
    RunnerStarting { pool: PoolId },
    /// A pool said that it could not start a runner.
    RunnerNotStarted { pool: PoolId, why: String },
    /// A runner that the pool started ended before it joined.
    RunnerEndedEarly { pool: PoolId },
    /// The dispatcher did not run for this long, and every deadline is extended by as much.
    HeldUp { gap_ms: u64 },
}
