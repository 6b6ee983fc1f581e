//! The steps of an attempt that have ended.

use std::ops::Range;

use super::Outcome;

/// The result of one step of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRecord {
    pub name: String,
    /// How its process ended, as if it were an attempt. `None` if it was left out, because of a step before it.
    pub outcome: Option<Outcome>,
    /// The run time of its process, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Its section of the log, in bytes.
    pub log: Range<u64>,
}
