//! Where the pieces of a pack go: from a session's reader to the slot that asked. Each session has its own routes,
//! which close with it, so that a slot learns at once that its answer will not come. Never holds its lock while a piece
//! waits.

use std::collections::HashMap;
use std::sync::Mutex;

use crossbeam_channel::Sender;

use crate::model::AttemptId;
use crate::threads;

/// An answer to a request for source.
#[derive(Debug)]
pub(super) enum Piece {
    Bytes {
        bytes: Vec<u8>,
        last: bool,
    },
    /// There is none, and why.
    Missing(String),
}

/// The routes of one session.
#[derive(Debug)]
pub(super) struct Routes {
    /// `None` once the session has ended.
    open: Mutex<Option<HashMap<AttemptId, Sender<Piece>>>>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self { open: Mutex::new(Some(HashMap::new())) }
    }

    /// From now on pieces for this attempt go there. After the session's end the sender is dropped, which tells the
    /// slot.
    pub(super) fn add(&self, attempt: AttemptId, pieces: Sender<Piece>) {
        if let Some(open) = threads::lock(&self.open).as_mut() {
            open.insert(attempt, pieces);
        }
    }

    /// Hands a piece over, waiting while the slot is busy with earlier ones. One that nobody waits for any more (the
    /// attempt was cancelled) is dropped.
    pub(super) fn deliver(&self, attempt: AttemptId, piece: Piece) {
        let is_final = !matches!(piece, Piece::Bytes { last: false, .. });
        let pieces = {
            let mut open = threads::lock(&self.open);
            let Some(open) = open.as_mut() else { return };
            if is_final { open.remove(&attempt) } else { open.get(&attempt).cloned() }
        };
        if let Some(pieces) = pieces
            && pieces.send(piece).is_err()
        {
            log::debug!("attempt {attempt} no longer waits for its source");
        }
    }

    /// Drops every route and refuses new ones.
    pub(super) fn close(&self) {
        *threads::lock(&self.open) = None;
    }
}
