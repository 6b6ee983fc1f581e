//! The ways in which a job ends. `job.rs` has the reasons beside them.

use serde::{Deserialize, Serialize};

worded! {
    /// An ending without its reason.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum EndingKind: word {
        Passed = "passed",
        Failed = "failed",
        Errored = "errored",
        Cancelled = "cancelled",
        Skipped = "skipped",
        LeftOut = "left_out",
    }
}
