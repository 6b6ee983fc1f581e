//! The messages that wait to be written to one peer.
//!
//! The thread that has a message writes it at once, as far as the connection has room without waiting. The thread that
//! has a large piece waits for the peer and writes it too. A writer thread starts only when the peer has no room for a
//! message whose sender may not wait, and ends a moment after the rest is written. So a session whose peer reads costs
//! no thread for writing (`docs/decisions/0014-a-writer-only-while-a-peer-is-slow.md`).
//!
//! A connection may accept bytes and hold them back (see [`super::link`]). Such bytes count as not written: they get a
//! writer thread, they count towards the limit, and the end of a session waits for them.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;

use super::{Frame, Stream, TransportError, write_frame};
use crate::clock;
use crate::model::SessionId;
use crate::protocol::codec;
use crate::threads::{self, Thread};

/// Bytes that may wait to be written to one peer: several times the leases and answers for as many slots as a runner
/// may have. A peer that lets more pile up is closed, not waited for.
const OUTBOX_BYTES: usize = 4 << 20;
/// Bytes of small pieces that leave in one write.
const SMALL_BYTES: usize = 16 << 10;
/// Capacity that an idle session keeps of the buffer in which its messages were gathered.
const GATHERED_KEPT_BYTES: usize = 512;
/// Time for which a writer thread stays when everything is written. A peer that was slow once is soon slow again, and
/// starting a thread costs as much as several messages.
const WRITER_LINGER: Duration = Duration::from_secs(1);
/// Time in which the rest must be written once a session has ended.
const LAST_WORD: Duration = Duration::from_secs(30);

/// The sending side of a session. Bounded: a peer that does not read is closed, not waited for.
#[derive(Clone)]
pub struct Outbox {
    inner: Arc<Inner>,
}

/// Ends the outbox of a session when it is dropped: waits a bounded time until the rest is written, and joins the
/// writer. The session's own thread owns it.
#[derive(Debug)]
pub struct LastWord(Outbox);

/// An [`Outbox`] that does not keep the session's connection open.
#[derive(Clone)]
pub struct WeakOutbox(Weak<Inner>);

impl WeakOutbox {
    /// The outbox, unless the session has dropped it.
    pub fn upgrade(&self) -> Option<Outbox> {
        self.0.upgrade().map(|inner| Outbox { inner })
    }
}

struct Inner {
    session: SessionId,
    stream: Stream,
    /// Held during writes that do not wait, so that messages leave in order. Never held while something waits.
    queue: Mutex<OutboxState>,
    /// Notified when a thread has finished writing, when there is work for the writer, and at the end.
    changed: Condvar,
}

#[derive(Default)]
struct OutboxState {
    /// Messages that the connection has not accepted: they were gathered until [`Outbox::flush`], or there was no room.
    /// The first may be the rest of a message.
    lines: Vec<u8>,
    /// The number of bytes that some thread is writing while it waits for the peer. No other thread writes meanwhile.
    taken: Option<usize>,
    /// The thread that writes the bytes for which there was no room.
    writer: Option<Thread<()>>,
    /// Whether a call of [`Outbox::flush`] is to come.
    is_gathering: bool,
    /// The number of threads that wait for a change.
    waiting: usize,
    phase: Phase,
}

/// How far a session's end has come.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// No more messages are taken; the rest is still written.
    Ending,
    /// Like `Ending`, and then the direction to the peer ends.
    Finishing,
    /// Nothing more is written: the direction has ended, or the connection broke.
    Over,
}

impl Outbox {
    /// The outbox of a session, and the guard that ends it.
    pub fn new(session: SessionId, stream: Stream) -> (Self, LastWord) {
        let inner = Inner { session, stream, queue: Mutex::default(), changed: Condvar::new() };
        let outbox = Self { inner: Arc::new(inner) };
        (outbox.clone(), LastWord(outbox))
    }

    pub fn downgrade(&self) -> WeakOutbox {
        WeakOutbox(Arc::downgrade(&self.inner))
    }

    /// Writes a message, or queues the part of it for which there is no room. Closes a peer that has let too much pile
    /// up.
    pub fn send(&self, frame: &Frame) {
        let mut queue = self.inner.lock();
        queue.add(frame);
        self.inner.write_pending(&mut queue);
    }

    /// Queues a message that goes along with the next one.
    pub fn add(&self, frame: &Frame) {
        self.inner.lock().add(frame);
    }

    /// Queues a message until the next [`Outbox::flush`], so that several leave in one write. Returns whether it is the
    /// first since the last flush.
    pub fn gather(&self, frame: &Frame) -> bool {
        let mut queue = self.inner.lock();
        queue.add(frame);
        !std::mem::replace(&mut queue.is_gathering, true)
    }

    /// Like [`Outbox::gather`], for a message without a payload, which is encoded just where it waits.
    pub fn gather_message<M: Serialize>(&self, message: &M) -> bool {
        let mut queue = self.inner.lock();
        if queue.phase == Phase::Open {
            codec::encode(message, &mut queue.lines);
        }
        !std::mem::replace(&mut queue.is_gathering, true)
    }

    /// Like [`Outbox::gather`], for a small piece that may only leave at once: nothing but what is gathered waits to be
    /// written. Returns whether it was taken.
    pub fn gather_small(&self, frame: &Frame) -> bool {
        let mut queue = self.inner.lock();
        let is_free = queue.taken.is_none() && (queue.is_gathering || self.inner.left(&queue) == 0);
        let len = queue.lines.len() + frame.line.len() + frame.payload.len();
        let is_taken = queue.phase == Phase::Open && is_free && len <= SMALL_BYTES;
        if is_taken {
            queue.add(frame);
            queue.is_gathering = true;
        }
        is_taken
    }

    /// Writes the gathered messages.
    pub fn flush(&self) {
        let mut queue = self.inner.lock();
        queue.is_gathering = false;
        self.inner.write_pending(&mut queue);
    }

    /// The number of bytes that are not written yet.
    pub fn waiting(&self) -> usize {
        self.inner.left(&self.inner.lock())
    }

    /// Whether the session has ended: messages sent from here on are dropped.
    pub fn is_over(&self) -> bool {
        self.inner.lock().phase == Phase::Over
    }

    /// Writes a large piece, and waits for the peer meanwhile. Returns false once the session has ended.
    pub fn send_bulk(&self, frame: &Frame) -> bool {
        let mut queue = self.inner.lock();
        // Messages have priority over large pieces, and a half-written message must be completed first.
        while queue.phase == Phase::Open && (queue.taken.is_some() || !queue.lines.is_empty()) {
            self.inner.write_pending(&mut queue);
            if queue.taken.is_some() || !queue.lines.is_empty() {
                queue = self.inner.wait(queue, Duration::MAX);
            }
        }
        if queue.phase != Phase::Open {
            return false;
        }
        // Set before the lock is released: no other thread may write between the parts of this piece.
        queue.taken = Some(frame.line.len() + frame.payload.len());
        drop(queue);
        let written = write_frame(&self.inner.stream, frame);
        self.inner.give_back(&mut self.inner.lock(), written)
    }

    /// Ends the direction to the peer once everything is written. The session ends when the peer closes too, or when
    /// the peer has been silent for too long.
    pub fn finish(&self) {
        let mut queue = self.inner.lock();
        if queue.phase == Phase::Open {
            queue.phase = Phase::Finishing;
        }
        self.inner.write_pending(&mut queue);
    }

    /// Waits until everything is written, for `patience` at most, and then for the writer's end.
    fn end(&self, patience: Duration) {
        let deadline = clock::instant() + patience;
        let mut queue = self.inner.lock();
        if queue.phase == Phase::Open {
            queue.phase = Phase::Ending;
        }
        self.inner.write_pending(&mut queue);
        while queue.phase != Phase::Over && self.inner.left(&queue) > 0 {
            let left = deadline.saturating_duration_since(clock::instant());
            if left.is_zero() {
                // Closing also wakes a thread that is writing.
                self.inner.stream.close();
                break;
            }
            queue = self.inner.wait(queue, left);
        }
        queue.phase = Phase::Over;
        let writer = queue.writer.take();
        self.inner.tell(&queue);
        // Released before the join, because the writer needs the lock to end.
        drop(queue);
        drop(writer);
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("session", &self.inner.session).finish_non_exhaustive()
    }
}

impl fmt::Debug for WeakOutbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakOutbox").finish_non_exhaustive()
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.end(LAST_WORD);
    }
}

impl OutboxState {
    fn add(&mut self, frame: &Frame) {
        if self.phase == Phase::Open {
            self.lines.extend_from_slice(&frame.line);
            self.lines.extend_from_slice(&frame.payload);
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, OutboxState> {
        threads::lock(&self.queue)
    }

    /// The number of bytes that are not written yet: queued, being written, or held back by the connection.
    fn left(&self, queue: &OutboxState) -> usize {
        // The bytes of a thread that is writing include those that the connection holds.
        queue.lines.len() + queue.taken.unwrap_or_else(|| self.stream.pending())
    }

    /// Waits for a change, for `length` at most.
    fn wait<'a>(&self, mut queue: MutexGuard<'a, OutboxState>, length: Duration) -> MutexGuard<'a, OutboxState> {
        queue.waiting += 1;
        let mut queue = self.changed.wait_timeout(queue, length).unwrap_or_else(PoisonError::into_inner).0;
        queue.waiting -= 1;
        queue
    }

    /// Notifies the threads that wait for a change. Costs no system call if none waits.
    fn tell(&self, queue: &OutboxState) {
        if queue.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Writes as much as possible without waiting, and leaves the rest to a writer thread.
    fn write_pending(self: &Arc<Self>, queue: &mut OutboxState) {
        if queue.phase == Phase::Over {
            queue.lines = Vec::new();
            return;
        }
        if queue.taken.is_none() && self.left(queue) > 0 {
            match self.stream.write_at_once(&queue.lines) {
                Ok(written) if written == queue.lines.len() => {
                    queue.lines.clear();
                    // There may be thousands of idle sessions, so each keeps little memory.
                    queue.lines.shrink_to(GATHERED_KEPT_BYTES);
                    self.tell(queue);
                }
                Ok(written) => drop(queue.lines.drain(..written)),
                Err(error) => {
                    log::debug!("session {}: {error}", self.session);
                    return self.break_off(queue);
                }
            }
        }
        if queue.lines.is_empty() && queue.taken.is_some() {
            return;
        }
        if self.left(queue) == 0 {
            if queue.phase != Phase::Finishing {
                return;
            }
            // The end itself may be held back; then a writer gets it out, and this is repeated.
            self.stream.finish();
            if self.stream.pending() == 0 {
                queue.phase = Phase::Over;
                self.tell(queue);
                return;
            }
        }
        if self.left(queue) > OUTBOX_BYTES {
            self.warn_of_unread_messages();
            return self.break_off(queue);
        }
        match queue.writer {
            Some(_) => self.tell(queue),
            // The thread that is writing calls this function again when it has finished.
            None if queue.taken.is_some() => {}
            None => self.start_writer(queue),
        }
    }

    fn start_writer(self: &Arc<Self>, queue: &mut OutboxState) {
        let inner = self.clone();
        match threads::spawn(&format!("s{}-write", self.session.0 % 1_000_000), move || inner.write_on()) {
            Ok(thread) => queue.writer = Some(thread),
            Err(error) => {
                log::warn!("session {} closed: no thread to write to it: {error}", self.session);
                self.break_off(queue);
            }
        }
    }

    /// The body of a writer thread: writes until nothing has been left for [`WRITER_LINGER`].
    fn write_on(self: &Arc<Self>) {
        let mut queue = self.lock();
        let mut idle_since = clock::instant();
        while queue.phase != Phase::Over {
            if queue.taken.is_none() && self.left(&queue) > 0 {
                // Counted before the lines leave the queue, so that the limit includes them all the while.
                queue.taken = Some(self.left(&queue));
                let line = std::mem::take(&mut queue.lines);
                drop(queue);
                let written = write_frame(&self.stream, &Frame { line, payload: Vec::new() });
                queue = self.lock();
                self.give_back(&mut queue, written);
                idle_since = clock::instant();
                continue;
            }
            let left = WRITER_LINGER.saturating_sub(idle_since.elapsed());
            if left.is_zero() && queue.taken.is_none() {
                break;
            }
            // While another thread writes, `left` may be zero, and waiting for zero seconds would spin.
            let length = if queue.taken.is_some() { WRITER_LINGER } else { left };
            queue = self.wait(queue, length);
        }
        // A session that is ending has taken the handle to join this thread; otherwise no one joins it.
        if let Some(own) = queue.writer.take() {
            own.detach();
        }
    }

    /// Ends a thread's turn at writing. Returns false once the session has ended.
    fn give_back(self: &Arc<Self>, queue: &mut OutboxState, written: Result<(), TransportError>) -> bool {
        queue.taken = None;
        match written {
            Ok(()) => self.write_pending(queue),
            Err(error) => {
                if matches!(error, TransportError::Stalled(_)) {
                    self.warn_of_unread_messages();
                } else {
                    log::debug!("session {}: {error}", self.session);
                }
                self.break_off(queue);
            }
        }
        self.tell(queue);
        queue.phase != Phase::Over
    }

    /// Either too many bytes wait for the peer, or it took next to none for too long.
    fn warn_of_unread_messages(&self) {
        log::warn!("session {} closed: its peer does not read what it is sent", self.session);
    }

    /// Closes the connection, so that the thread that reads from this peer ends too.
    fn break_off(&self, queue: &mut OutboxState) {
        self.stream.close();
        queue.phase = Phase::Over;
        queue.lines = Vec::new();
        self.tell(queue);
    }
}

#[cfg(test)]
mod tests;
