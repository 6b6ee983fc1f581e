//! One execution of a job by one runner, and how it ended.

use super::reason::{LossReason, PlacementReason, StoredReason, TimeoutReason};
use super::{AttemptId, BuildId, JobId, RunnerId, WallTime};

worded! {
    /// How an attempt ended. A lost attempt is not a failed one: it says nothing about the task.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Outcome: word {
        Passed = "passed",
        /// The task's process ended with this exit code, not 0.
        Failed(i32) = "failed",
        /// This signal, which Surveil did not send, ended the task's process.
        Killed(i32) = "killed",
        /// It reached a limit of its time, and the runner ended it.
        TimedOut(TimeoutReason) = "timed_out",
        Cancelled = "cancelled",
        /// The task could not be started, for a reason that is the task's own: no such program, not executable.
        CouldNotStart(String) = "could_not_start",
        /// Infrastructure failed: the runner vanished, its disk was full, the source did not arrive.
        Lost(LossReason) = "lost",
    }
}

impl Outcome {
    /// The code of the reason, if the outcome has one.
    #[must_use]
    pub fn reason_code(&self) -> Option<&str> {
        match self {
            Self::Lost(reason) => reason.code(),
            // The word says it.
            Self::TimedOut(TimeoutReason::Whole) => None,
            Self::TimedOut(reason) => reason.code(),
            Self::Passed | Self::Failed(_) | Self::Killed(_) | Self::Cancelled | Self::CouldNotStart(_) => None,
        }
    }
}

/// The facts about the final log of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSummary {
    /// The number of stored bytes.
    pub bytes: u64,
    /// The CRC-32 (IEEE) of the stored bytes.
    pub crc32: u32,
    /// The reason why bytes of the task's output are missing, if a runner or the dispatcher gave one: a cap, a full
    /// disk. Output of a lost attempt may be missing, too; its outcome says why. A cancelled attempt's log ends with
    /// the cancel.
    pub missing: Option<String>,
}

/// An attempt, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub id: AttemptId,
    pub job: JobId,
    pub build: BuildId,
    /// The attempt's number within the job, from 1.
    pub number: u32,
    pub runner: RunnerId,
    /// The reason why this runner got it, for `surveil why`.
    pub reason: PlacementReason,
    pub leased_at: WallTime,
    pub finished_at: Option<WallTime>,
    /// The time for which the task's process ran, in milliseconds, if the runner reported it.
    pub duration_ms: Option<u64>,
    pub outcome: Option<Outcome>,
    pub log: LogSummary,
}
