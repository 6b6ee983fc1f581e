//! Effects: the commands of the scheduler, in the imperative. Their order is the contract: a record comes before the
//! message that promises it, and no message leaves before the records of its batch are durable.

use std::sync::Arc;

use super::event::RequestId;
use crate::model::reason::{CloseReason, Notice, OrderDone, RefusalReason};
use crate::model::{
    AttemptId, BuildId, BuildSource, CommitId, JobId, PoolId, Record, RefName, RepoName, RunnerName, SessionId,
    SpawnId, TaskSpec,
};

/// A command to the caller.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make this durable before any later effect leaves.
    Persist(Record),
    /// Send this to a runner.
    Send { session: SessionId, message: RunnerCommand },
    /// Answer a request.
    Reply { request: RequestId, reply: Reply },
    /// Close a session, and write the reason into the log.
    CloseSession { session: SessionId, reason: CloseReason },
    /// Start a runner in this pool, and tell it the number with which it is to register.
    SpawnRunner { spawn: SpawnId, pool: PoolId },
    /// Write one fact into the dispatcher's log. It promises nothing, so it need not wait for records.
    Note(Notice),
}

/// A message to a runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunnerCommand {
    /// The answer to its registration. `drained`: it gets no jobs until an operator resumes it, and is not to end.
    Registered { held: Vec<Lease>, gone: Vec<AttemptId>, drained: bool },
    /// Another process has its name. The session is closed after this.
    NameTaken { runner: RunnerName },
    /// Execute this attempt.
    Lease(Box<Lease>),
    /// End this attempt.
    Cancel { attempt: AttemptId },
    /// Its result is recorded.
    Recorded { attempt: AttemptId },
    /// It sent something about an attempt whose lease it does not hold.
    Stale { attempt: AttemptId },
    /// The answer to its ping.
    Ack { gone: Vec<AttemptId> },
    /// Take no new attempt, and end after those that are held.
    Drain,
}

/// An attempt promised to a runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub attempt: AttemptId,
    pub build: BuildId,
    pub job: JobId,
    /// Counted from 1 within the job.
    pub number: u32,
    pub lease_ms: u64,
    pub source: Arc<BuildSource>,
    pub task: Arc<TaskSpec>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The commit, or the end of the ref, is accepted. `moves` is the number of the repository's last move.
    Accepted { build: Option<BuildId>, moves: u64 },
    /// The first look at refs is over. The observer asks for the heads again.
    Noted,
    /// The ref has moved since the observer compared it. It has this head now.
    Stale { repo: RepoName, reference: RefName, head: Option<CommitId>, moves: u64 },
    /// The operator's order is carried out.
    Done(OrderDone),
    /// The operator's order is not carried out.
    Refused(RefusalReason),
}
