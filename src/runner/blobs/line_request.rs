//! The request of a slot for a line to the dispatcher.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::super::slot_common::SlotReport;
use super::line::{Line, LineWanted};
use crate::model::AttemptId;

/// Why there is no line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoLine {
    /// The attempt was cancelled.
    Cancelled,
    /// There was no session for too long.
    Late,
}

/// Waits for a session, for at most `patience` if there is a limit.
pub(super) fn wait_for_line(
    attempt: AttemptId,
    (reports, cancelled): (&Sender<SlotReport>, &Receiver<()>),
    patience: Option<Duration>,
) -> Result<Line, NoLine> {
    let (give, given) = bounded(1);
    // If the core is gone, the sender is dropped with the report.
    drop(reports.send(SlotReport::LineWanted(LineWanted { attempt, give })));
    select! {
        recv(given) -> line => line.map_err(|_| NoLine::Cancelled),
        recv(cancelled) -> _ => Err(NoLine::Cancelled),
        default(patience.unwrap_or(Duration::MAX)) => Err(NoLine::Late),
    }
}
