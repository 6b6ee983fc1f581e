//! The routes of pack pieces and secrets from a session's reader to the slots that asked. Each session has its own
//! routes. They close with it, so that a slot learns at once that no answer will come. The lock is never held while a
//! piece waits.

use std::collections::HashMap;
use std::sync::Mutex;

use crossbeam_channel::Sender;

use super::secrets::SecretValues;
use crate::model::{AttemptId, FactsId};
use crate::threads;

/// An answer to a request for source or for secrets.
#[derive(Debug)]
pub(super) enum Piece {
    /// The next bytes of the pack. With the last ones come the facts of the source, if there are any.
    Bytes { bytes: Vec<u8>, last: bool, facts: Option<FactsId> },
    /// The source cannot be had, for this reason.
    Missing(String),
    /// All secrets of the attempt.
    Secrets(SecretValues),
    /// The attempt gets no secrets, for this reason. `denied`: it may not have them.
    NoSecrets { reason: String, denied: bool },
}

/// The routes of one session.
#[derive(Debug)]
pub(super) struct Routes {
    /// The open routes; `None` once the session has ended.
    open: Mutex<Option<HashMap<AttemptId, Sender<Piece>>>>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self { open: Mutex::new(Some(HashMap::new())) }
    }

    /// Adds the route of an attempt. After the session's end the sender is dropped, which tells the slot.
    pub(super) fn add(&self, attempt: AttemptId, pieces: Sender<Piece>) {
        if let Some(open) = threads::lock(&self.open).as_mut() {
            open.insert(attempt, pieces);
        }
    }

    /// Delivers a piece, waiting while the slot is busy with earlier ones. A piece of a cancelled attempt is dropped.
    pub(super) fn deliver(&self, attempt: AttemptId, piece: Piece) {
        let is_final = !matches!(piece, Piece::Bytes { last: false, .. });
        // The sender is cloned, so that the lock is not held while the slot is slow to take the piece.
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

    /// Drops all routes and refuses new ones.
    pub(super) fn close(&self) {
        *threads::lock(&self.open) = None;
    }
}
