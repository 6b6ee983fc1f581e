//! One execution of a job by one runner, and how it ended.

use super::reason::{LossReason, PlacementReason, StoredReason};
use super::{AttemptId, BuildId, JobId, RunnerId, WallTime};

/// How an attempt ended. A lost attempt is not a failed one: nothing is known about the task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// The task's process ended with this exit code, not 0.
    Failed(i32),
    /// The task's process was ended by this signal, which Surveil did not send.
    Killed(i32),
    TimedOut,
    Cancelled,
    /// The task could not be started, for a reason that is the task's own: no such program, not executable.
    CouldNotStart(String),
    /// Infrastructure failed: the runner vanished, its disk was full, the source did not arrive.
    Lost(LossReason),
}

impl Outcome {
    /// The outcome's name on the wire, in the store and for people.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Killed(_) => "killed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::CouldNotStart(_) => "could_not_start",
            Self::Lost(_) => "lost",
        }
    }

    /// The code of the reason, if the outcome has one.
    #[must_use]
    pub fn reason_code(&self) -> Option<&str> {
        match self {
            Self::Lost(reason) => reason.code(),
            Self::Passed
            | Self::Failed(_)
            | Self::Killed(_)
            | Self::TimedOut
            | Self::Cancelled
            | Self::CouldNotStart(_) => None,
        }
    }
}

/// What is known of an attempt's log once it is final.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSummary {
    /// Bytes stored.
    pub bytes: u64,
    /// CRC-32 (IEEE) over the stored bytes.
    pub crc32: u32,
    /// Why bytes that the task wrote are missing, where any are: a cap, a full disk, a lost runner.
    pub missing: Option<String>,
}

/// An attempt as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub id: AttemptId,
    pub job: JobId,
    pub build: BuildId,
    /// Counted from 1 within the job.
    pub number: u32,
    pub runner: RunnerId,
    /// Why this runner got it, for `surveil why`.
    pub reason: PlacementReason,
    pub leased_at: WallTime,
    pub finished_at: Option<WallTime>,
    /// How long the task's process ran, in milliseconds, where the runner said.
    pub duration_ms: Option<u64>,
    pub outcome: Option<Outcome>,
    pub log: LogSummary,
}
