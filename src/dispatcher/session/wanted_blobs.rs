//! The blobs that a runner asks for: files of artifacts that its attempts take. They are read and sent by a thread of
//! their own for each session, because it waits for the runner to take each piece: neither heartbeats nor blobs that
//! come from the runner wait behind them. It starts with the first request, and ends when none comes for a while.

use std::io;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::blobs::next_or_end;
use super::connection::NO_THREAD;
use crate::blobs::{BlobStore, Form};
use crate::dispatcher::limits;
use crate::dispatcher::translate::WantedPart;
use crate::model::{AttemptId, SessionId};
use crate::protocol::blobs::BlobPart;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::runner::ToRunner;
use crate::threads;
use crate::transport::{Frame, Outbox, WeakOutbox};

type Request = (AttemptId, Vec<WantedPart>);

/// The way to the thread of a session. Dropping it ends the thread, which nobody waits for: it may be waiting for a
/// peer that takes nothing.
pub(super) struct BlobSender {
    requests: Sender<Request>,
    /// Whether the thread has ended because nothing came.
    is_over: Arc<Mutex<bool>>,
}

impl BlobSender {
    fn start(session: SessionId, store: BlobStore, outbox: WeakOutbox) -> io::Result<Self> {
        // The session's reader never waits here: see `send`.
        let (requests, waiting) = unbounded();
        let is_over = Arc::new(Mutex::new(false));
        let sending = Sending { store, outbox, is_over: is_over.clone() };
        let body = move || sending.run(&waiting);
        threads::spawn_large(&format!("s{}-want", session.0 % 1_000_000), body)?.detach();
        Ok(Self { requests, is_over })
    }

    /// Passes a request on. Gives it back if the thread has ended. Returns false if too many wait: the runner asks for
    /// more than it takes.
    fn send(&self, request: Request) -> Result<bool, Request> {
        // Under the lock, so that the thread does not end between the look and the message.
        let is_over = threads::lock(&self.is_over);
        if *is_over {
            return Err(request);
        }
        if self.requests.len() >= limits::BLOB_REQUESTS {
            return Ok(false);
        }
        self.requests.send(request).map(|()| true).map_err(|error| error.0)
    }
}

/// Passes a request on to the thread of a session, which is started if it is not there.
pub(super) fn pass_on(
    sender: &mut Option<BlobSender>,
    (session, store, outbox): (SessionId, &BlobStore, &Outbox),
    (attempt, parts): Request,
) -> Result<(), Refusal> {
    let unsent = match sender {
        Some(sender) => sender.send((attempt, parts)),
        None => Err((attempt, parts)),
    };
    let is_taken = match unsent {
        Ok(is_taken) => is_taken,
        Err(request) => {
            let started = BlobSender::start(session, store.clone(), outbox.downgrade()).map_err(|error| {
                log::warn!("session {session}: no thread for blobs: {error}");
                Refusal::new(ErrorCode::Busy, NO_THREAD)
            })?;
            sender.insert(started).send(request).unwrap_or(false)
        }
    };
    if !is_taken {
        let reason = "too many blobs were asked for at once".to_owned();
        outbox.send(&Frame::new(&ToRunner::BlobRefused { attempt: attempt.0, reason, reason_code: None }));
    }
    Ok(())
}

struct Sending {
    store: BlobStore,
    /// Weak, so that the thread does not keep the session alive.
    outbox: WeakOutbox,
    /// [`BlobSender::is_over`].
    is_over: Arc<Mutex<bool>>,
}

impl Sending {
    fn run(self, waiting: &Receiver<Request>) {
        while let Some((attempt, parts)) = next_or_end(waiting, &self.is_over) {
            for part in parts {
                let frame = self.answer(attempt, &part);
                let Some(outbox) = self.outbox.upgrade() else { return };
                if !outbox.send_bulk(&frame) {
                    return;
                }
            }
        }
    }

    fn answer(&self, attempt: AttemptId, part: &WantedPart) -> Frame {
        let WantedPart { blob, offset, bytes, check } = *part;
        // A check that finds damage sets the blob aside, so that the piece is not found either.
        let read = if check { self.store.is_sound(blob) } else { Ok(true) };
        match read.and_then(|_| self.store.piece(blob, offset, bytes)) {
            Ok(Some((form, piece, last))) => {
                let zstd = form == Form::Packed;
                let (blob, bytes) = (blob.to_string(), piece.len() as u64);
                let message = ToRunner::Blob(BlobPart { attempt: attempt.0, blob, zstd, offset, last, bytes });
                Frame::with_payload(&message, piece)
            }
            Ok(None) => {
                log::warn!("attempt {attempt} wants blob {blob}, which is not there");
                let reason = "retention removed it, or it was damaged on the dispatcher's disk".to_owned();
                Frame::new(&ToRunner::BlobMissing { attempt: attempt.0, blob: blob.to_string(), reason })
            }
            Err(error) => {
                log::error!("blob {blob}, which attempt {attempt} wants, could not be read: {error}");
                let reason = format!("the dispatcher could not read blob {blob}: {error}");
                Frame::new(&ToRunner::BlobRefused { attempt: attempt.0, reason, reason_code: None })
            }
        }
    }
}
