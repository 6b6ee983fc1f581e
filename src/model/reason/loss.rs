//! Why an attempt was lost, and why it was given to its runner.

use serde::{Deserialize, Serialize};

use super::{RecordedReason, StoredReason};

stored_reason! {
    /// Why an attempt was lost. A runner that reports a loss gives a text of its own.
    pub enum LossReason {
        /// The runner's connection closed, and it did not come back within the reconnect window.
        ConnectionClosed = "connection_closed",
        /// The dispatcher heard nothing of the connected runner for this long.
        Silent { silent_ms: u64 } = "silent",
        /// The runner pinged, but its pings did not name the attempt for a whole lease.
        LeaseExpired = "lease_expired",
        /// The runner came back as another process, without the attempt.
        RunnerRestarted = "runner_restarted",
        /// The runner came back as the same process, without the attempt.
        NotHeld = "not_held",
        /// The runner was stopped and ended the attempt itself.
        RunnerStopped = "runner_stopped",
        /// The runner reports that its disk is full, or has less free space than it keeps.
        DiskFull { text: String } = "disk_full",
        /// The runner reports that the dispatcher could not give it the commit.
        SourceMissing { text: String } = "source_missing",
        /// The runner reports that it ended an exclusive attempt, because it was cut off from the dispatcher.
        CutOff { text: String } = "cut_off",
        /// The runner reports that its process before this one ended with the attempt.
        Interrupted { text: String } = "interrupted",
        /// The runner reports anything else, or gave no code that is known here.
        Reported { text: String } = "reported",
    }
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
        matches!(
            self,
            Self::DiskFull { .. }
                | Self::SourceMissing { .. }
                | Self::CutOff { .. }
                | Self::Interrupted { .. }
                | Self::Reported { .. }
        )
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

stored_reason! {
    /// Why an attempt was given to its runner.
    pub enum PlacementReason {
        /// One of the runner's work trees is at the very commit.
        CommitWarm = "commit_warm",
        /// One of the runner's work trees is of the repository.
        RepoWarm = "repo_warm",
        /// The runner had a free slot.
        FreeSlot = "free_slot",
    }
}
