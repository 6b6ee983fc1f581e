//! The facts that the dispatcher stores. The scheduler asks for records, and the store keeps them. After a restart
//! nothing else is known.

use std::sync::Arc;

use super::reason::DecisionKind;
use super::{
    ArtifactRecord, Attempt, AttemptId, Build, BuildId, CommitId, Ending, ExecutionRecord, Job, JobId, LogSummary,
    Outcome, Outputs, RefName, RepoName, Runner, RunnerId, Schedule, StepRecord, TaskName, TaskSpec, Verdict, WallTime,
};

/// One fact to make durable. Records of one batch are committed together, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A new build with its jobs, in their first states.
    BuildAdded { build: Box<Build>, jobs: Vec<Job> },
    /// These jobs joined a build after it was added. Its first task file does not have them: a task of the build wrote
    /// them.
    JobsJoined { build: BuildId, jobs: Vec<Job> },
    /// A ref has moved to another head; `None` once the ref is gone. The moves of a repository are numbered from 1,
    /// over all of its refs.
    HeadMoved { repo: RepoName, reference: RefName, head: Option<CommitId>, number: u64 },
    /// The first look at the refs that match these patterns is over. The refs that were there have these heads, and no
    /// builds. `number` is that of the repository's last move.
    RefsNoted { repo: RepoName, refs: Vec<(RefName, CommitId)>, patterns: Vec<Arc<str>>, number: u64 },
    /// A runner seen for the first time, or one that an operator drained or resumed.
    RunnerSaved(Runner),
    /// A schedule that is new or has changed, has ended, or has fired: then the build is in the same batch.
    ScheduleSaved(Schedule),
    /// A lease, as its new attempt. The job becomes leased by this record.
    AttemptLeased(Attempt),
    /// The one outcome of an attempt.
    AttemptFinished { attempt: AttemptId, outcome: Outcome, log: LogSummary, duration_ms: Option<u64>, at: WallTime },
    /// The steps of an attempt that has ended, in order.
    StepsEnded { attempt: AttemptId, steps: Vec<StepRecord> },
    /// The artifacts that an attempt left, before its outcome. Their blobs are durable. `task` is its job's.
    ArtifactsLeft { build: BuildId, job: JobId, task: TaskName, attempt: AttemptId, artifacts: Vec<ArtifactRecord> },
    /// How an attempt was executed, before its outcome.
    AttemptExecuted { attempt: AttemptId, execution: Box<ExecutionRecord> },
    /// The outputs of an attempt, before its outcome. `task` is its job's.
    OutputsSet { build: BuildId, job: JobId, task: TaskName, attempt: AttemptId, outputs: Outputs },
    /// A result for a lease that is no longer held: evidence, which changes no verdict.
    LateResult { attempt: AttemptId, outcome: Outcome, at: WallTime },
    /// The job waits for a runner, perhaps again, with its present counters.
    JobQueued { job: JobId, failures: u32, losses: u32 },
    /// The job waits for other jobs again, after a rerun.
    JobWaiting { job: JobId },
    /// The job has this task from now on: a person gave values to its inputs.
    TaskGiven { job: JobId, task: Arc<TaskSpec> },
    /// The job waits for a person again, after a rerun.
    JobHeld { job: JobId },
    /// The one ending of a job, until a rerun.
    JobFinished { job: JobId, ending: Ending },
    /// The verdict over a build, until a rerun.
    BuildFinished { build: BuildId, verdict: Verdict, at: WallTime },
    /// A finished build has unfinished jobs again, after a rerun or the start of a held one.
    BuildReopened { build: BuildId },
    /// A line for `surveil why`.
    Decided(Decision),
}

/// One decision worth telling, with its reason, as `surveil why` prints it. Leases and ordinary outcomes are told by
/// their attempts and need none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub at: WallTime,
    pub build: BuildId,
    pub job: Option<JobId>,
    pub attempt: Option<AttemptId>,
    pub runner: Option<RunnerId>,
    pub kind: DecisionKind,
}
