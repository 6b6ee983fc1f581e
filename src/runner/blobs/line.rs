//! A slot's line to the dispatcher, for messages about blobs. It lives as long as the session; a slot that wants to go
//! on asks for the next one.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::super::session::Session;
use super::routes::BlobAnswer;
use crate::model::AttemptId;

/// Answers that wait for a slot. A slot has fewer messages on the way.
const ANSWERS_CAPACITY: usize = 1024;

/// A session, and the answers of one attempt. Dropping it ends the route of the answers.
pub(crate) struct Line {
    attempt: AttemptId,
    pub(super) session: Arc<Session>,
    pub(super) answers: Receiver<BlobAnswer>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.session.blobs.remove(self.attempt);
    }
}

/// A slot's request for a line.
pub(crate) struct LineWanted {
    pub(crate) attempt: AttemptId,
    pub(crate) give: Sender<Line>,
}

impl LineWanted {
    /// Gives the slot a line over this session.
    pub(crate) fn connect(self, session: &Arc<Session>) {
        let (to_slot, answers) = bounded(ANSWERS_CAPACITY);
        session.blobs.add(self.attempt, to_slot);
        // A slot that was cancelled waits no longer.
        drop(self.give.send(Line { attempt: self.attempt, session: session.clone(), answers }));
    }
}
