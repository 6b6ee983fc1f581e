//! Why an attempt was lost, and why it was given to its runner.

use serde::{Deserialize, Serialize};

use super::{RecordedReason, StoredReason};

/// Why an attempt was lost. A runner that reports a loss gives a text of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum LossReason {
    /// The runner's connection closed, and it did not come back within the reconnect window.
    ConnectionClosed,
    /// The dispatcher heard nothing of the connected runner for this long.
    Silent { silent_ms: u64 },
    /// The runner pinged, but its pings did not name the attempt for a whole lease.
    LeaseExpired,
    /// The runner came back as another process, without the attempt.
    RunnerRestarted,
    /// The runner came back as the same process, without the attempt.
    NotHeld,
    /// The runner was stopped and ended the attempt itself.
    RunnerStopped,
    /// The runner reports that its disk is full, or has less free space than it keeps.
    DiskFull { text: String },
    /// The runner reports that the dispatcher could not give it the commit.
    SourceMissing { text: String },
    /// The runner reports that it ended an exclusive attempt, because it was cut off from the dispatcher.
    CutOff { text: String },
    /// The runner reports that its process before this one ended with the attempt.
    Interrupted { text: String },
    /// The runner reports anything else, or gave no code that is known here.
    Reported { text: String },
    #[serde(skip)]
    Recorded(RecordedReason),
}

impl LossReason {
    /// The loss that a runner reports. A code of a newer runner, or none, leaves the text.
    #[must_use]
    pub fn reported(code: Option<&str>, text: String) -> Self {
        match code {
            Some("disk_full") => Self::DiskFull { text },
            Some("source_missing") => Self::SourceMissing { text },
            Some("cut_off") => Self::CutOff { text },
            Some("interrupted") => Self::Interrupted { text },
            _ => Self::Reported { text },
        }
    }

    /// The runner's disk is full.
    #[must_use]
    pub fn disk_full() -> Self {
        Self::DiskFull { text: "disk full".into() }
    }

    /// Whether the runner said itself that it lost the attempt. It is alive then, and another runner may do better.
    #[must_use]
    pub fn is_reported(&self) -> bool {
        match self {
            Self::DiskFull { .. }
            | Self::SourceMissing { .. }
            | Self::CutOff { .. }
            | Self::Interrupted { .. }
            | Self::Reported { .. } => true,
            Self::ConnectionClosed
            | Self::Silent { .. }
            | Self::LeaseExpired
            | Self::RunnerRestarted
            | Self::NotHeld
            | Self::RunnerStopped
            | Self::Recorded(_) => false,
        }
    }

    /// Whether the job is suspected if its process had started. A runner that was stopped says nothing about the job.
    #[must_use]
    pub fn suspects_job(&self) -> bool {
        !matches!(self, Self::RunnerStopped)
    }

    /// Whether the loss is held against the runner.
    #[must_use]
    pub fn suspects_runner(&self) -> bool {
        !matches!(self, Self::RunnerStopped | Self::NotHeld)
    }
}

impl StoredReason for LossReason {
    fn code(&self) -> Option<&str> {
        Some(match self {
            Self::ConnectionClosed => "connection_closed",
            Self::Silent { .. } => "silent",
            Self::LeaseExpired => "lease_expired",
            Self::RunnerRestarted => "runner_restarted",
            Self::NotHeld => "not_held",
            Self::RunnerStopped => "runner_stopped",
            Self::DiskFull { .. } => "disk_full",
            Self::SourceMissing { .. } => "source_missing",
            Self::CutOff { .. } => "cut_off",
            Self::Interrupted { .. } => "interrupted",
            Self::Reported { .. } => "reported",
            Self::Recorded(it) => return it.code.as_deref(),
        })
    }
}

/// A loss that the runner has no code for.
impl From<String> for LossReason {
    fn from(text: String) -> Self {
        Self::Reported { text }
    }
}

impl From<&str> for LossReason {
    fn from(text: &str) -> Self {
        Self::Reported { text: text.into() }
    }
}

impl From<RecordedReason> for LossReason {
    fn from(recorded: RecordedReason) -> Self {
        Self::Recorded(recorded)
    }
}

/// Why an attempt was given to its runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum PlacementReason {
    /// One of the runner's work trees is at the very commit.
    CommitWarm,
    /// One of the runner's work trees is of the repository.
    RepoWarm,
    /// The runner had a free slot.
    FreeSlot,
    #[serde(skip)]
    Recorded(RecordedReason),
}

impl StoredReason for PlacementReason {
    fn code(&self) -> Option<&str> {
        Some(match self {
            Self::CommitWarm => "commit_warm",
            Self::RepoWarm => "repo_warm",
            Self::FreeSlot => "free_slot",
            Self::Recorded(it) => return it.code.as_deref(),
        })
    }
}

impl From<RecordedReason> for PlacementReason {
    fn from(recorded: RecordedReason) -> Self {
        Self::Recorded(recorded)
    }
}
