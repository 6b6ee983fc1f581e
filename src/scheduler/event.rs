//! Facts the scheduler is told, in the past tense.

use crate::model::{
    AttemptId, BranchName, BuildId, BuildSource, CommitId, Incarnation, Isolation, JobId, Label, LogSummary, Outcome,
    RepoName, RunnerId, RunnerName, SessionId, SpawnId, TaskSpec, WholeBuild,
};

/// Names the request a reply belongs to; the dispatcher makes them up and the scheduler hands them back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Something that happened. Each comes with the [`crate::model::Moment`] at which the scheduler is told, and with a
/// wall-clock time that is written into records and decides nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An observer announced a commit whose source is in the mirror. `plan` is what the commit's task file says, or
    /// what is wrong with it.
    /// `known` is the build that was made for the same announcement before, if it ever was.
    CommitObserved {
        request: RequestId,
        source: Box<BuildSource>,
        plan: Result<Vec<TaskSpec>, String>,
        known: Option<BuildId>,
    },
    /// An observer announced that a branch is gone.
    BranchGone { request: RequestId, repo: RepoName, branch: BranchName, before: CommitId },
    /// A runner registered on a session.
    RunnerJoined(RunnerJoined),
    /// A runner sent `ping`, which renews what it holds.
    RunnerPinged { session: SessionId, holding: Vec<AttemptId> },
    /// Anything else arrived from the session's peer: it is alive.
    RunnerHeard { session: SessionId },
    /// A runner began to drain of its own accord.
    RunnerDraining { session: SessionId },
    /// The task's process has started.
    AttemptStarted { session: SessionId, attempt: AttemptId },
    /// A result arrived, and its log is complete and durable.
    AttemptFinished {
        session: SessionId,
        attempt: AttemptId,
        outcome: Outcome,
        log: LogSummary,
        duration_ms: Option<u64>,
    },
    /// A session ended, for whatever reason.
    SessionClosed { session: SessionId },
    /// A runner that was asked for could not be started.
    SpawnFailed { spawn: SpawnId, why: String },
    /// The process of a runner that was started has ended.
    SpawnGone { spawn: SpawnId },
    /// An operator asked to cancel a build, or one job of it.
    CancelAsked { request: RequestId, build: BuildId, job: Option<JobId> },
    /// An operator asked to run a finished build again; the jobs are as the store has them.
    RerunAsked { request: RequestId, build: Box<WholeBuild>, failed_only: bool },
    /// An operator asked a runner to drain.
    DrainAsked { request: RequestId, runner: RunnerId },
    /// The heartbeat thread's tick: time to see who has fallen silent.
    HeartbeatCheck,
    /// The redistribute thread's tick: time to see which leases have run out.
    LeaseCheck,
}

/// What a runner says of itself when it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerJoined {
    pub session: SessionId,
    pub name: RunnerName,
    pub incarnation: Incarnation,
    pub slots: u32,
    /// Sorted, without doubles.
    pub labels: Vec<Label>,
    pub isolation: Isolation,
    pub holding: Vec<AttemptId>,
    pub warm: Vec<(RepoName, CommitId)>,
    /// A dispatcher started it.
    pub spawned: bool,
    /// The request that it answers, as far as it was told.
    pub spawn: Option<SpawnId>,
    /// It drains already.
    pub draining: bool,
}
