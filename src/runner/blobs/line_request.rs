//! The request of a slot for a line to the dispatcher.

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::super::slot_common::SlotReport;
use super::line::{Line, LineWanted};
use crate::model::AttemptId;

/// Waits for a session. Returns `None` if the attempt is cancelled meanwhile.
pub(super) fn wait_for_line(
    attempt: AttemptId,
    reports: &Sender<SlotReport>,
    cancelled: &Receiver<()>,
) -> Option<Line> {
    let (give, given) = bounded(1);
    // If the core is gone, the sender is dropped with the report.
    drop(reports.send(SlotReport::LineWanted(LineWanted { attempt, give })));
    select! {
        recv(given) -> line => line.ok(),
        recv(cancelled) -> _ => None,
    }
}
