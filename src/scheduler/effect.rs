//! Commands the scheduler gives, in the imperative. Their order is the contract: a record comes before the message that
//! promises it, and no message leaves before the records of its batch are durable.

use std::sync::Arc;

use super::event::RequestId;
use crate::model::{
    AttemptId, BranchName, BuildId, BuildSource, CommitId, JobId, PoolId, Record, RepoName, SessionId, SpawnId,
    TaskSpec,
};

/// Something to do.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make this durable before any later effect leaves.
    Persist(Record),
    /// Say this to a runner.
    Send { session: SessionId, message: RunnerCommand },
    /// Answer a request.
    Reply { request: RequestId, reply: Reply },
    /// End a session, and say why in the log.
    CloseSession { session: SessionId, why: Arc<str> },
    /// Start a runner in this pool, and tell it the number with which it is to register.
    SpawnRunner { spawn: SpawnId, pool: PoolId },
    /// One fact for the dispatcher's log.
    Note(String),
}

/// What a runner is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunnerCommand {
    /// The answer to its registration.
    Registered {
        held: Vec<Lease>,
        gone: Vec<AttemptId>,
    },
    /// Another process holds its name. The session is closed after this.
    NameTaken(String),
    Lease(Box<Lease>),
    Cancel {
        attempt: AttemptId,
    },
    /// Its result is recorded.
    Recorded {
        attempt: AttemptId,
    },
    /// What it sent was for a lease that it does not hold.
    Stale {
        attempt: AttemptId,
    },
    /// The answer to its ping.
    Ack {
        gone: Vec<AttemptId>,
    },
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
    /// The commit, or the branch's end, is accepted.
    Accepted { build: Option<BuildId> },
    /// The branch's accepted head is another.
    Stale { repo: RepoName, branch: BranchName, head: Option<CommitId> },
    /// Done, in a sentence for the operator.
    Done(String),
    /// Not done, in a sentence for the operator.
    Refused(String),
}
