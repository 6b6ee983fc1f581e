//! The blobs that a runner sends. They are written, verified and synced by a thread of their own for each session,
//! which starts with the first of them, so that a heartbeat never waits behind a disk. It ends when no more come for a
//! while: a dispatcher with thousands of runners has few that send blobs at a time.

// Compiled as a part of this module, so that it sees what is private here.
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/dispatcher_blobs.rs"]
pub(crate) mod fuzz;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::blobs::{Arrived, Arriving, ArrivingError, BlobStore, Form};
use crate::dispatcher::limits;
use crate::error_chain::chain;
use crate::model::{AttemptId, BlobId, SessionId};
use crate::protocol::blobs::{BlobOffset, BlobPiece, DISK_FULL, WRONG_BYTES};
use crate::protocol::runner::ToRunner;
use crate::threads::{self, Thread};
use crate::transport::{Frame, Outbox};

/// A message about blobs of an attempt that the runner holds.
pub(super) enum BlobWork {
    Have(AttemptId, Vec<BlobId>),
    Piece {
        attempt: AttemptId,
        blob: BlobId,
        piece: Box<BlobPiece>,
        bytes: Vec<u8>,
    },
    Settle {
        attempt: AttemptId,
        manifests: Vec<BlobId>,
    },
    /// The attempt has ended: what has arrived for it and was not settled is of no use.
    Clear(AttemptId),
    /// A question whose answer waits for the disk.
    Ask(Box<dyn FnOnce() -> ToRunner + Send>),
}

/// Buffers of pieces that were written. The next pieces are read into them: getting memory from the system and zeroing
/// it costs more than reading a piece. There are as many as pieces ever waited at a time.
type SpareBuffers = Arc<Mutex<Vec<Vec<u8>>>>;

/// The way to the thread of a session. Dropping it ends the thread.
pub(super) struct BlobWorker {
    /// Declared first, so that it is dropped before the thread is joined.
    work: Sender<BlobWork>,
    /// Whether the thread has ended because nothing came.
    is_over: Arc<Mutex<bool>>,
    spare: SpareBuffers,
    _thread: Thread<()>,
}

impl BlobWorker {
    pub(super) fn start(session: SessionId, store: BlobStore, outbox: Outbox) -> io::Result<Self> {
        let (work, waiting) = bounded(limits::BLOB_WORK_CAPACITY);
        let is_over = Arc::new(Mutex::new(false));
        let spare = SpareBuffers::default();
        let receiving =
            Receiving { store, outbox, is_over: is_over.clone(), spare: spare.clone(), current: HashMap::new() };
        let thread = threads::spawn_large(&format!("s{}-blobs", session.0 % 100_000), move || receiving.run(&waiting))?;
        Ok(Self { work, is_over, spare, _thread: thread })
    }

    /// Returns a buffer for a piece: one that was used before, if there is one.
    pub(super) fn buffer(&self) -> Vec<u8> {
        threads::lock(&self.spare).pop().unwrap_or_default()
    }

    /// Waits for room. Gives the work back if the thread has ended.
    pub(super) fn send(&self, work: BlobWork) -> Result<(), BlobWork> {
        // Under the lock, so that the thread does not end between the look and the message.
        let is_over = threads::lock(&self.is_over);
        if *is_over { Err(work) } else { self.work.send(work).map_err(|error| error.0) }
    }
}

/// Returns the next work of a thread; `None` when the session has ended, or when nothing came for a while. Then
/// `is_over` says so.
pub(super) fn next_or_end<T>(waiting: &Receiver<T>, is_over: &Mutex<bool>) -> Option<T> {
    loop {
        match waiting.recv_timeout(limits::BLOB_IDLE) {
            Ok(work) => return Some(work),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {
                let mut is_over = threads::lock(is_over);
                if waiting.is_empty() {
                    *is_over = true;
                    return None;
                }
            }
        }
    }
}

struct Receiving {
    store: BlobStore,
    outbox: Outbox,
    /// [`BlobWorker::is_over`].
    is_over: Arc<Mutex<bool>>,
    spare: SpareBuffers,
    /// The blob of each attempt of which a further piece is awaited.
    current: HashMap<AttemptId, Arriving>,
}

/// The reason why something was not taken.
struct NotTaken {
    reason: String,
    code: Option<&'static str>,
}

impl Receiving {
    fn run(mut self, waiting: &Receiver<BlobWork>) {
        while let Some(work) = next_or_end(waiting, &self.is_over) {
            let (attempt, answer) = match work {
                BlobWork::Have(attempt, blobs) => (attempt, self.lacking(attempt, &blobs)),
                BlobWork::Piece { attempt, blob, piece, bytes } => {
                    let answer = self.take(attempt, blob, &piece, &bytes);
                    threads::lock(&self.spare).push(bytes);
                    (attempt, answer)
                }
                BlobWork::Settle { attempt, manifests } => (attempt, self.settle(attempt, &manifests)),
                BlobWork::Clear(attempt) => {
                    self.current.remove(&attempt);
                    self.store.clear(&attempt.to_string());
                    continue;
                }
                BlobWork::Ask(answer) => {
                    self.outbox.send(&Frame::new(&answer()));
                    continue;
                }
            };
            let answer = answer.unwrap_or_else(|NotTaken { reason, code }| {
                self.current.remove(&attempt);
                log::warn!("artifacts of attempt {attempt} are not taken: {reason}");
                ToRunner::BlobRefused { attempt: attempt.0, reason, reason_code: code.map(str::to_owned) }
            });
            self.outbox.send(&Frame::new(&answer));
        }
        threads::lock(&self.spare).clear();
    }

    fn lacking(&mut self, attempt: AttemptId, asked: &[BlobId]) -> Result<ToRunner, NotTaken> {
        // A blob that is still open is a part like any other.
        self.current.remove(&attempt);
        let mut blobs = Vec::new();
        for id in asked {
            if self.store.renew(*id)? {
                continue;
            }
            if let Arrived::Part(offset) = self.store.arrived(&attempt.to_string(), *id)? {
                blobs.push(BlobOffset { blob: id.to_string(), offset });
            }
        }
        Ok(ToRunner::Lacks { attempt: attempt.0, blobs })
    }

    fn take(
        &mut self,
        attempt: AttemptId,
        blob: BlobId,
        piece: &BlobPiece,
        bytes: &[u8],
    ) -> Result<ToRunner, NotTaken> {
        let free = self.store.free()?;
        if free < limits::BLOB_RESERVE_BYTES {
            let (free, reserve) = (free >> 20, limits::BLOB_RESERVE_BYTES >> 20);
            let reason = format!("the dispatcher's disk has {free} MiB left, and artifacts leave it {reserve} MiB");
            return Err(NotTaken { reason, code: Some(DISK_FULL) });
        }
        let form = if piece.zstd { Form::Packed } else { Form::Plain };
        let goes_on = self.current.remove(&attempt).filter(|open| open.id() == blob && piece.offset > 0);
        let mut arriving = match goes_on {
            Some(open) => open,
            None => self.store.receive(&attempt.to_string(), (blob, piece.size), form, piece.offset)?,
        };
        let offset = arriving.add(piece.offset, bytes)?;
        if piece.last {
            arriving.finish()?;
        } else {
            self.current.insert(attempt, arriving);
        }
        Ok(ToRunner::BlobAck { attempt: attempt.0, blob: blob.to_string(), offset })
    }

    /// Makes the blobs of an attempt durable, and checks that nothing of its artifacts is missing.
    fn settle(&mut self, attempt: AttemptId, manifests: &[BlobId]) -> Result<ToRunner, NotTaken> {
        self.current.remove(&attempt);
        let owner = attempt.to_string();
        self.store.settle(&owner)?;
        for manifest in manifests {
            let missing = self.store.missing_of(*manifest);
            let missing = missing.map_err(|error| NotTaken { reason: chain(&error), code: Some(WRONG_BYTES) })?;
            if let Some(blob) = missing {
                let reason = format!("blob {blob} has not arrived");
                return Err(NotTaken { reason, code: Some(WRONG_BYTES) });
            }
        }
        self.store.clear(&owner);
        Ok(ToRunner::Settled { attempt: attempt.0 })
    }
}

impl From<io::Error> for NotTaken {
    fn from(error: io::Error) -> Self {
        let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        Self { reason: format!("the dispatcher could not store them: {error}"), code: is_full.then_some(DISK_FULL) }
    }
}

impl From<ArrivingError> for NotTaken {
    fn from(error: ArrivingError) -> Self {
        match error {
            ArrivingError::Store(error) => error.into(),
            ArrivingError::Wrong { .. } => Self { reason: error.to_string(), code: Some(WRONG_BYTES) },
            ArrivingError::Gap { .. } => Self { reason: error.to_string(), code: None },
        }
    }
}
