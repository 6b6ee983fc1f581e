//! The state that the machine keeps of each attempt. Plain data.

use crate::model::Moment;
use crate::runner::assignment::AttemptResult;

/// An attempt that a runner holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldAttempt {
    pub(super) phase: AttemptPhase,
    /// The number of slots that it takes while it executes.
    pub(super) slots: u32,
    /// For an exclusive attempt: the time after a renewal in which it must be over.
    pub(super) exclusive_ms: Option<u64>,
    /// The reason why the attempt is being ended early, if it is.
    pub(super) ending: Option<EarlyEnd>,
}

/// The phase of an attempt, in life order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttemptPhase {
    /// No slot has the attempt yet.
    Waiting,
    /// A slot has the attempt; its process has `started`.
    Executing { started: bool },
    /// The attempt has ended. A result without streams was sent at `said`.
    Ended { report: AttemptResult, said: Option<Moment> },
}

/// The reason why an attempt is ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EarlyEnd {
    Cancelled,
    /// The dispatcher does not hold the lease any more, so the result is of no interest.
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
    /// Returns the reason of the loss, or `None` if an attempt that ended for this reason is not lost.
    pub(super) fn loss(self) -> Option<&'static str> {
        match self {
            Self::CutOff => Some("the runner was cut off from the dispatcher"),
            // The dispatcher knows that it asked for no cancel, and that a stopped runner is nobody's failure.
            Self::Stopped | Self::Cancelled | Self::Gone => None,
        }
    }
}
