//! The routes of answers about blobs, from a session's reader to the slots that asked.

use std::collections::HashMap;
use std::sync::Mutex;

use crossbeam_channel::Sender;

use crate::blobs::Form;
use crate::model::{AttemptId, BlobId, CacheKey};
use crate::threads;

/// An answer of the dispatcher about blobs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BlobAnswer {
    /// It lacks these blobs, and has so many bytes of each.
    Lacks(Vec<(BlobId, u64)>),
    /// It has a piece.
    Taken,
    /// All that was sent for the attempt is durable.
    Settled,
    /// It did not take something, or cannot send it now.
    Refused { reason: String, cause: RefusedCause },
    /// A piece of a blob that was asked for.
    Piece(BlobBytes),
    /// It does not have a blob that was asked for.
    Missing { blob: BlobId, reason: String },
    /// The cache that may be restored for a key, if there is one, and the most bytes of one that is saved.
    Cache { key: String, max_bytes: u64, found: Option<CacheOffer> },
    /// The cache of this key is saved, unless there is a reason why not.
    CacheSaved { key: String, reason: Option<String> },
}

/// A cache that may be restored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CacheOffer {
    pub(crate) key: CacheKey,
    pub(crate) manifest: BlobId,
    /// It has the key that was asked for.
    pub(crate) is_exact: bool,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// The attempt that saved it, and its scope, for people.
    pub(crate) from: String,
    pub(crate) scope: String,
}

/// A piece of the stored form of a blob.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BlobBytes {
    pub(crate) blob: BlobId,
    pub(crate) form: Form,
    pub(crate) offset: u64,
    /// Whether the form ends behind it.
    pub(crate) last: bool,
    pub(crate) bytes: Vec<u8>,
}

/// Why the dispatcher did not take something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusedCause {
    DiskFull,
    WrongBytes,
    Other,
}

/// The routes of answers about blobs from a session's reader to the slots that asked. They close with the session.
#[derive(Debug, Default)]
pub(crate) struct BlobRoutes(Mutex<BlobRoutesState>);

#[derive(Debug, Default)]
struct BlobRoutesState {
    open: HashMap<AttemptId, Sender<BlobAnswer>>,
    is_closed: bool,
}

impl BlobRoutes {
    /// Adds the route of an attempt. After the session's end the sender is dropped, which tells the slot.
    pub(super) fn add(&self, attempt: AttemptId, answers: Sender<BlobAnswer>) {
        let mut state = threads::lock(&self.0);
        if !state.is_closed {
            state.open.insert(attempt, answers);
        }
    }

    /// Delivers an answer, waiting while the slot is busy with earlier ones.
    pub(crate) fn deliver(&self, attempt: AttemptId, answer: BlobAnswer) {
        let answers = threads::lock(&self.0).open.get(&attempt).cloned();
        if let Some(answers) = answers {
            // A slot that has gone on since wants no answer.
            drop(answers.send(answer));
        }
    }

    pub(super) fn remove(&self, attempt: AttemptId) {
        threads::lock(&self.0).open.remove(&attempt);
    }

    /// Drops all routes and refuses new ones.
    pub(crate) fn close(&self) {
        *threads::lock(&self.0) = BlobRoutesState { open: HashMap::new(), is_closed: true };
    }
}
