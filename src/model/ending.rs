//! The ways in which a job ends. `job.rs` has the reasons beside them.

use serde::{Deserialize, Serialize};

/// An ending without its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndingKind {
    Passed,
    Failed,
    Errored,
    Cancelled,
    Skipped,
}

impl EndingKind {
    /// The ending's name on the wire, in the store and for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Errored => "errored",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}
