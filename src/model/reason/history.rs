//! The lines of `surveil why`: stored decisions, and lines that follow from other records.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    CancelReason, ChangeReason, ErrorReason, LeftOutReason, LossReason, PlacementReason, RecordedReason, SkipReason,
    StoredReason, TaskFailure,
};
use crate::model::{BranchName, BuildId, CommitId, Outcome, RefName, RunnerName, Verdict};

stored_reason! {
    /// A decision about a job that is stored for `surveil why`. Leases and ordinary outcomes are told by their
    /// attempts.
    pub enum DecisionKind {
        /// An attempt was lost, and its job is queued again.
        Lost {
            runner: RunnerName,
            reason: LossReason,
            /// How many losses count against the job with this one, and how many it may have; `None` if this one
            /// does not.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            loss_of: Option<(u32, u32)>,
            /// The runner is in quarantine from now on.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            quarantine: Option<Quarantine>,
        } = "lost",
        /// A failed attempt is retried, because the task allows retries. `next` counts the failures and the attempt
        /// that follows, `tries` how many of them the task allows. Lost attempts are not counted.
        Retried {
            failure: TaskFailure,
            next: u32,
            tries: u32,
            /// The time before the next attempt.
            #[serde(default, skip_serializing_if = "is_zero")]
            delay_ms: u64,
        } = "retried",
        /// A failed attempt is not tried again, because the task's rule for retries does not name the failure.
        NotRetried { failure: TaskFailure } = "not_retried",
        /// The job is errored.
        GaveUp { reason: ErrorReason } = "gave_up",
        /// The task is in the build, because of what has changed since it passed.
        Chosen { reason: ChangeReason } = "chosen",
        /// An operator cancelled the job.
        CancelAsked {
            /// The name of the person who gave the order, if it is known.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            by: Option<String>,
        } = "cancel_asked",
        /// The job was cancelled without an operator.
        Cancelled { reason: CancelReason } = "cancelled",
        /// A person started the held job.
        Started {
            /// The name of the person.
            by: String,
            /// The values that they gave to inputs, by name. Long values are cut.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            inputs: BTreeMap<String, String>,
            /// The build of a newer move of the same ref that was there already, if there was one.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            newer: Option<BuildId>,
            /// Whether the build had its verdict already.
            #[serde(default, skip_serializing_if = "std::ops::Not::not")]
            reopened: bool,
        } = "started",
        /// The task passed, and this many tasks that it wrote joined the build.
        Expanded { tasks: u64 } = "expanded",
        /// An operator had the job run again.
        RerunAsked {
            /// The name of the person who gave the order, if it is known.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            by: Option<String>,
        } = "rerun_asked",
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(ms: &u64) -> bool {
    *ms == 0
}

/// Why a runner gets no jobs, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// How much longer.
    pub rest_ms: u64,
    /// Failures in a row, with jobs of different commits.
    pub failures: u32,
    /// The newest of them.
    pub last: LossReason,
}

/// Characters of a value that a decision tells. The task itself has the whole value.
const TOLD_CHARS: usize = 200;

impl DecisionKind {
    /// A person started a held job with these values.
    #[must_use]
    pub fn started(by: String, mut inputs: BTreeMap<String, String>, newer: Option<BuildId>, reopened: bool) -> Self {
        for value in inputs.values_mut() {
            if let Some((end, _)) = value.char_indices().nth(TOLD_CHARS) {
                value.truncate(end);
                value.push('…');
            }
        }
        Self::Started { by, inputs, newer, reopened }
    }

    /// The code of the reason for the decision, if it has one.
    #[must_use]
    pub fn reason_code(&self) -> Option<&str> {
        match self {
            Self::Lost { reason, .. } => reason.code(),
            Self::Retried { failure, .. } | Self::NotRetried { failure } => Some(failure.code()),
            Self::GaveUp { reason } => reason.code(),
            Self::Chosen { reason } => reason.code(),
            Self::Cancelled { reason } => reason.code(),
            Self::CancelAsked { .. }
            | Self::Started { .. }
            | Self::Expanded { .. }
            | Self::RerunAsked { .. }
            | Self::Recorded(_) => None,
        }
    }

    /// The name of the person who ordered it, if somebody did and the name is known.
    #[must_use]
    pub fn by(&self) -> Option<&str> {
        match self {
            Self::CancelAsked { by } | Self::RerunAsked { by } => by.as_deref(),
            Self::Started { by, .. } => Some(by),
            Self::Lost { .. }
            | Self::Retried { .. }
            | Self::NotRetried { .. }
            | Self::GaveUp { .. }
            | Self::Chosen { .. }
            | Self::Cancelled { .. }
            | Self::Expanded { .. }
            | Self::Recorded(_) => None,
        }
    }
}

/// One line of a build's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryEntry {
    /// The build's commit was the first one seen of its branch.
    BranchAppeared { branch: BranchName, commit: CommitId },
    /// The branch moved by this many commits; `None` if the commit does not follow the one before, or if that is not
    /// known.
    BranchMoved { branch: BranchName, from: CommitId, to: CommitId, commits: Option<u64> },
    /// A tag or another ref was made, if it has no head before, or moved.
    RefMoved { reference: RefName, from: Option<CommitId>, to: CommitId },
    /// A schedule came due, at this time in its zone: "03:17 Europe/Berlin".
    Scheduled { name: Arc<str>, due: String },
    /// A person asked for a build of a commit.
    Submitted { commit: CommitId, by: Option<Arc<str>> },
    /// A person asked for a build of uncommitted work, which became this commit.
    Tried { commit: CommitId, by: Option<Arc<str>> },
    /// A runner got an attempt.
    Leased { number: u32, runner: RunnerName, reason: PlacementReason },
    /// An attempt has its outcome.
    Ended { number: u32, runner: RunnerName, outcome: Outcome },
    /// A result came for a lease that was no longer held.
    LateResult { number: u32, outcome: Outcome },
    /// A decision that is stored.
    Decided(DecisionKind),
    /// The job was skipped.
    Skipped(SkipReason),
    /// The job was left out.
    LeftOut(LeftOutReason),
    /// The build has its verdict.
    BuildFinished { verdict: Verdict, problem: Option<String> },
}

impl HistoryEntry {
    /// The code of what happened; `None` for a decision from before there were codes.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        Some(match self {
            Self::BranchAppeared { .. } => "branch_appeared",
            Self::BranchMoved { .. } => "branch_moved",
            Self::RefMoved { .. } => "ref_moved",
            Self::Scheduled { .. } => "scheduled",
            Self::Submitted { .. } => "submitted",
            Self::Tried { .. } => "tried",
            Self::Leased { .. } => "leased",
            Self::Ended { .. } => "ended",
            Self::LateResult { .. } => "late_result",
            Self::Decided(kind) => return kind.code(),
            Self::Skipped(_) => "skipped",
            Self::LeftOut(_) => "left_out",
            Self::BuildFinished { .. } => "build_finished",
        })
    }

    /// The name of the person who ordered it, if somebody did and the name is known.
    #[must_use]
    pub fn by(&self) -> Option<&str> {
        match self {
            Self::Submitted { by, .. } | Self::Tried { by, .. } => by.as_deref(),
            Self::Decided(kind) => kind.by(),
            Self::BranchAppeared { .. }
            | Self::BranchMoved { .. }
            | Self::RefMoved { .. }
            | Self::Scheduled { .. }
            | Self::Leased { .. }
            | Self::Ended { .. }
            | Self::LateResult { .. }
            | Self::Skipped(_)
            | Self::LeftOut(_)
            | Self::BuildFinished { .. } => None,
        }
    }

    /// The code of why it happened, if there is one.
    #[must_use]
    pub fn reason_code(&self) -> Option<&str> {
        match self {
            Self::Leased { reason, .. } => reason.code(),
            Self::Ended { outcome, .. } | Self::LateResult { outcome, .. } => Some(outcome.word()),
            Self::Decided(kind) => kind.reason_code(),
            Self::Skipped(reason) => reason.code(),
            Self::LeftOut(reason) => reason.code(),
            Self::BuildFinished { verdict, .. } => Some(verdict.word()),
            Self::BranchAppeared { .. }
            | Self::BranchMoved { .. }
            | Self::RefMoved { .. }
            | Self::Scheduled { .. }
            | Self::Submitted { .. }
            | Self::Tried { .. } => None,
        }
    }
}
