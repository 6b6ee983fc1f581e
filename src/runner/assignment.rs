//! What a runner is given and what it hands back, in words of the model.

use std::error::Error;

use crate::model::{AttemptId, BranchName, BuildId, CommitId, LogSummary, Outcome, RepoName, TaskSpec};

/// An attempt to execute. Of the task only what an execution needs is filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) attempt: AttemptId,
    /// How long the lease lasts after each renewal.
    pub(super) lease_ms: u64,
    pub(super) build: BuildId,
    /// Counted from 1 within the job.
    pub(super) number: u32,
    pub(super) repo: RepoName,
    pub(super) branch: BranchName,
    pub(super) commit: CommitId,
    pub(super) task: TaskSpec,
}

/// How an attempt ended. Its log is whole, in the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) outcome: Outcome,
    /// How long the task's process ran, where it did.
    pub(super) duration_ms: Option<u64>,
    pub(super) log: LogSummary,
}

impl Report {
    /// An attempt that never came as far as a process, and why.
    pub(super) fn lost(why: impl Into<String>) -> Self {
        Self { outcome: Outcome::Lost(why.into()), duration_ms: None, log: LogSummary::default() }
    }

    /// Whether there are log bytes to deliver before the results.
    pub(super) fn has_log(&self) -> bool {
        self.log.bytes > 0
    }
}

/// An error with its causes, joined by colons, for a reason that travels.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
