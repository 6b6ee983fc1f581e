//! What the machine remembers of each attempt. Plain data.

use crate::model::Moment;
use crate::runner::assignment::AttemptResult;

/// An attempt that a runner holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldAttempt {
    pub(super) phase: AttemptPhase,
    /// For an exclusive attempt: how long after a renewal it has to be over.
    pub(super) exclusive_ms: Option<u64>,
    /// Why it is being ended early, where it is.
    pub(super) ending: Option<EarlyEnd>,
}

/// Where it stands, in life order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttemptPhase {
    Waiting,
    Executing {
        started: bool,
    },
    /// It ended so; said without a log at `said`.
    Ended {
        report: AttemptResult,
        said: Option<Moment>,
    },
}

/// Why an attempt is ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EarlyEnd {
    Cancelled,
    /// The lease is not held any more: whatever comes of it is of no interest.
    Gone,
    CutOff,
    Stopped,
}

impl AttemptPhase {
    pub(super) fn is_executing(&self) -> bool {
        matches!(self, Self::Executing { .. })
    }
}

impl EarlyEnd {
    /// What an attempt ended for this reason is lost to; `None` where it is not lost.
    pub(super) fn loss(self) -> Option<&'static str> {
        match self {
            Self::CutOff => Some("the runner was cut off from the dispatcher"),
            // The dispatcher knows that it asked for no such thing, and that a stopped runner is nobody's failure.
            Self::Stopped | Self::Cancelled | Self::Gone => None,
        }
    }
}
