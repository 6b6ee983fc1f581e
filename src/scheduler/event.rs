//! Events: the facts that the scheduler is told, in the past tense.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::reason::{ErrorReason, NamedJobs};
use crate::model::{
    ArtifactRecord, AttemptId, BuildId, BuildSource, CommitId, ExecutionRecord, Incarnation, Isolation, JobId, Label,
    LogSummary, Outcome, Outputs, Plan, RefName, RepoName, RunnerId, RunnerName, SessionId, SpawnId, StepRecord,
    TierOffer, WholeBuild,
};

/// The number of a request. The dispatcher chooses it, and the scheduler puts it into the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A fact. It is passed with the [`crate::model::Moment`] at which the scheduler is told, and with a wall-clock time
/// that is written into records and decides nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An observer announced a commit whose source is in the mirror. `plan` is made of the commit's task file, or
    /// the mistake in it. `seen` is the number of the last move that the observer knew of when it compared the branch.
    CommitObserved { request: RequestId, source: Box<BuildSource>, plan: Result<Plan, String>, seen: Option<u64> },
    /// An observer announced that a ref is gone. `seen` is as in `CommitObserved`.
    RefGone { request: RequestId, repo: RepoName, reference: RefName, before: CommitId, seen: Option<u64> },
    /// An operator asked for a build of a commit whose source is in the mirror. `plan` is as in `CommitObserved`.
    /// `earlier` is the build that the same request has made before, as the store knows it.
    BuildAsked { request: RequestId, source: Box<BuildSource>, plan: Result<Plan, String>, earlier: Option<BuildId> },
    /// An observer looked for the first time at the refs that match these patterns, and these refs were there.
    RefsNoted { request: RequestId, repo: RepoName, refs: Vec<(RefName, CommitId)>, patterns: Vec<Arc<str>> },
    /// A schedule came due, and the source of its branch's head is in the mirror. The trigger names the schedule and
    /// the time; `plan` is as in `CommitObserved`.
    ScheduleDue { source: Box<BuildSource>, plan: Result<Plan, String> },
    /// A runner registered on a session.
    RunnerJoined(RunnerJoined),
    /// A runner sent `ping`, which renews the leases of the attempts that it holds.
    RunnerPinged { session: SessionId, holding: Vec<AttemptId> },
    /// Another message arrived from the session's peer: it is alive.
    RunnerHeard { session: SessionId },
    /// A runner began to drain of its own accord.
    RunnerDraining { session: SessionId },
    /// The task's process has started.
    AttemptStarted { session: SessionId, attempt: AttemptId },
    /// A passed task wrote further tasks. `plan` is made of them, or the mistake in their file. The result of the
    /// attempt follows.
    TasksWritten { session: SessionId, attempt: AttemptId, plan: Box<Result<Plan, String>> },
    /// The attempt has these outputs, which count with its result. It comes just before that.
    OutputsWritten { session: SessionId, attempt: AttemptId, outputs: Outputs },
    /// The blobs of these artifacts of an attempt are durable. The result of the attempt follows.
    ArtifactsLeft { session: SessionId, attempt: AttemptId, artifacts: Vec<ArtifactRecord> },
    /// The attempt asked for secrets that it may not have. Its runner reports next that it could not start.
    SecretsDenied { session: SessionId, attempt: AttemptId, reason: Box<ErrorReason> },
    /// A result arrived, and its log is complete and durable.
    AttemptFinished {
        session: SessionId,
        attempt: AttemptId,
        outcome: Outcome,
        log: LogSummary,
        duration_ms: Option<u64>,
        /// Those of a task with steps.
        steps: Vec<StepRecord>,
        /// How the attempt was executed, if the runner tells it.
        execution: Option<Box<ExecutionRecord>>,
    },
    /// A session ended, for any reason.
    SessionClosed { session: SessionId },
    /// A runner that was asked for could not be started.
    SpawnFailed { spawn: SpawnId, why: String },
    /// The process of a runner that was started has ended.
    SpawnGone { spawn: SpawnId },
    /// An operator asked to cancel a build, or some jobs of it. `by` is the operator's name, if it is known.
    CancelAsked { request: RequestId, build: BuildId, only: Option<NamedJobs>, by: Option<String> },
    /// An operator asked to run a finished build again, or only what failed, or only some jobs of it. Its jobs are
    /// passed as the store has them. `by` is as in `CancelAsked`.
    RerunAsked {
        request: RequestId,
        build: Box<WholeBuild>,
        failed_only: bool,
        only: Option<NamedJobs>,
        by: Option<String>,
    },
    /// A person asked to start a held job. Its build is passed as the store has it. `by` is the person's name.
    /// With `force`, a newer build of the same ref does not matter. `inputs` are values for the inputs of the
    /// tasks that start.
    StartAsked {
        request: RequestId,
        build: Box<WholeBuild>,
        job: JobId,
        by: String,
        force: bool,
        inputs: BTreeMap<String, String>,
    },
    /// An operator drained a runner, connected or not. `by` is as in `CancelAsked`.
    DrainAsked { request: RequestId, runner: RunnerId, by: Option<String> },
    /// An operator asked to let a drained runner take jobs again. `by` is as in `CancelAsked`.
    ResumeAsked { request: RequestId, runner: RunnerId, by: Option<String> },
    /// The tick of the `heartbeat` thread: runners that have been silent for too long are lost.
    HeartbeatCheck,
    /// The tick of the `redistribute` thread: leases that have run out are lost, and the queue is checked.
    LeaseCheck,
}

/// The registration of a runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerJoined {
    pub session: SessionId,
    pub name: RunnerName,
    pub incarnation: Incarnation,
    pub slots: u32,
    /// Sorted, without duplicates.
    pub labels: Vec<Label>,
    pub isolation: Isolation,
    /// `None` if it is too old to tell them.
    pub tiers: Option<Arc<TierOffer>>,
    pub holding: Vec<AttemptId>,
    pub warm: Vec<(RepoName, CommitId)>,
    /// Whether a dispatcher started it.
    pub spawned: bool,
    /// The request to start a runner that it answers, if it was given one.
    pub spawn: Option<SpawnId>,
    /// Whether it drains already.
    pub draining: bool,
}
