//! What waits to be written to one peer.
//!
//! Whoever has something to say writes it to the socket at once, as far as that goes without waiting. Who sends
//! something large waits and writes it too. Only what a peer has no room for, of messages that nobody may wait with, is
//! left to a thread, which is there for as long as that lasts and a moment longer: so a session that is read by its
//! peer costs no thread for writing.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::{Frame, Stream, TransportError, write_frame};
use crate::clock;
use crate::model::SessionId;
use crate::threads::{self, Thread};

/// What waits to be written to one peer: leases and answers for as many slots as a runner may have, several times over.
/// A peer that lets more pile up is closed, not waited for.
const OUTBOX_BYTES: usize = 4 << 20;
/// What an idle session keeps of the memory in which its messages were gathered.
const GATHERED_KEPT_BYTES: usize = 512;
/// How long a thread that writes to a peer stays when all is written: a peer that was slow once is slow again soon, and
/// to start a thread costs as much as several messages.
const WRITER_LINGER: Duration = Duration::from_secs(1);
/// How long what was said may take to be written once a session has ended.
const LAST_WORD: Duration = Duration::from_secs(30);

/// The way to a peer. Bounded: a peer that does not read is closed, not waited for.
#[derive(Clone)]
pub struct Outbox {
    inner: Arc<Inner>,
}

/// The end of a session for its outbox: dropped, it lets what was said be written, for a bounded time, and joins the
/// writer. The session's own thread has it.
#[derive(Debug)]
pub struct LastWord(Outbox);

/// The way to a peer for one who keeps it for later: the session may end meanwhile.
#[derive(Clone)]
pub struct WeakOutbox(Weak<Inner>);

impl WeakOutbox {
    /// The way itself, while anybody of the session has it.
    pub fn upgrade(&self) -> Option<Outbox> {
        self.0.upgrade().map(|inner| Outbox { inner })
    }
}

struct Inner {
    session: SessionId,
    stream: Stream,
    /// Held while lines are written without waiting, so that they leave in order; never while something waits.
    queue: Mutex<Queue>,
    /// Told when somebody has finished writing, when there is something to write for the writer, and at the end.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Messages that are not written: gathered until [`Outbox::flush`], or what the socket had no room for. The first
    /// may be the rest of one.
    lines: Vec<u8>,
    /// How many bytes somebody is writing who waits for the peer. Nobody else writes meanwhile.
    taken: Option<usize>,
    /// The thread that writes what did not go at once.
    writer: Option<Thread<()>>,
    /// A flush is to come.
    is_gathering: bool,
    /// Threads that wait for a change.
    waiting: usize,
    phase: Phase,
}

/// How much more will be said.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// Nothing more; what was said is still written.
    Ending,
    /// The same, and then the peer is told so.
    Finishing,
    /// Nothing more; the peer has been told, or has gone.
    Over,
}

impl Outbox {
    /// The outbox of a session and what ends it.
    pub fn new(session: SessionId, stream: Stream) -> (Self, LastWord) {
        let inner = Inner { session, stream, queue: Mutex::default(), changed: Condvar::new() };
        let outbox = Self { inner: Arc::new(inner) };
        (outbox.clone(), LastWord(outbox))
    }

    /// For one who keeps it for later.
    pub fn downgrade(&self) -> WeakOutbox {
        WeakOutbox(Arc::downgrade(&self.inner))
    }

    /// Says something. A peer that has let too much pile up is closed, not waited for.
    pub fn send(&self, frame: &Frame) {
        let mut queue = self.inner.lock();
        queue.add(frame);
        self.inner.write_pending(&mut queue);
    }

    /// Has something said at the next [`Outbox::flush`], together with what else there is by then. True if it is the
    /// first.
    pub fn gather(&self, frame: &Frame) -> bool {
        let mut queue = self.inner.lock();
        queue.add(frame);
        !std::mem::replace(&mut queue.is_gathering, true)
    }

    /// Says what was gathered.
    pub fn flush(&self) {
        let mut queue = self.inner.lock();
        queue.is_gathering = false;
        self.inner.write_pending(&mut queue);
    }

    /// How many bytes the peer has not taken yet.
    pub fn waiting(&self) -> usize {
        let queue = self.inner.lock();
        queue.lines.len() + queue.taken.unwrap_or(0)
    }

    /// Whether the session has ended: nobody hears what is said from here on.
    pub fn is_over(&self) -> bool {
        self.inner.lock().phase == Phase::Over
    }

    /// Writes a piece of something large, and waits for the peer meanwhile. False once the session has ended.
    pub fn send_bulk(&self, frame: &Frame) -> bool {
        let mut queue = self.inner.lock();
        // Messages go first, and the rest of one that is half written must.
        while queue.phase == Phase::Open && (queue.taken.is_some() || !queue.lines.is_empty()) {
            self.inner.write_pending(&mut queue);
            if queue.taken.is_some() || !queue.lines.is_empty() {
                queue = self.inner.wait(queue, Duration::MAX);
            }
        }
        if queue.phase != Phase::Open {
            return false;
        }
        queue.taken = Some(frame.line.len() + frame.payload.len());
        drop(queue);
        let written = write_frame(&self.inner.stream, frame);
        self.inner.give_back(&mut self.inner.lock(), written)
    }

    /// Lets what was said be written, then tells the peer that nothing more will come. The session ends when the peer
    /// closes too, or when it has been silent for too long.
    pub fn finish(&self) {
        let mut queue = self.inner.lock();
        if queue.phase == Phase::Open {
            queue.phase = Phase::Finishing;
        }
        self.inner.write_pending(&mut queue);
    }

    /// Waits until all is written, `patience` at most, and for the writer's end.
    fn end(&self, patience: Duration) {
        let deadline = clock::instant() + patience;
        let mut queue = self.inner.lock();
        if queue.phase == Phase::Open {
            queue.phase = Phase::Ending;
        }
        self.inner.write_pending(&mut queue);
        while queue.phase != Phase::Over && (queue.taken.is_some() || !queue.lines.is_empty()) {
            let left = deadline.saturating_duration_since(clock::instant());
            if left.is_zero() {
                // It wakes whoever is writing, too.
                self.inner.stream.close();
                break;
            }
            queue = self.inner.wait(queue, left);
        }
        queue.phase = Phase::Over;
        let writer = queue.writer.take();
        self.inner.tell(&queue);
        drop(queue);
        drop(writer);
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("session", &self.inner.session).finish_non_exhaustive()
    }
}

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.end(LAST_WORD);
    }
}

impl Queue {
    fn add(&mut self, frame: &Frame) {
        if self.phase == Phase::Open {
            self.lines.extend_from_slice(&frame.line);
            self.lines.extend_from_slice(&frame.payload);
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        threads::lock(&self.queue)
    }

    /// Waits for a change, `length` at most.
    fn wait<'a>(&self, mut queue: MutexGuard<'a, Queue>, length: Duration) -> MutexGuard<'a, Queue> {
        queue.waiting += 1;
        let mut queue = self.changed.wait_timeout(queue, length).unwrap_or_else(PoisonError::into_inner).0;
        queue.waiting -= 1;
        queue
    }

    /// Tells of a change, which costs a system call only if somebody waits for one.
    fn tell(&self, queue: &Queue) {
        if queue.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Writes what goes without waiting and sees to it that the rest is written.
    fn write_pending(self: &Arc<Self>, queue: &mut Queue) {
        if queue.phase == Phase::Over {
            queue.lines = Vec::new();
            return;
        }
        if queue.taken.is_none() && !queue.lines.is_empty() {
            match self.stream.write_at_once(&queue.lines) {
                Ok(written) if written == queue.lines.len() => {
                    queue.lines.clear();
                    // Thousands of idle sessions hold little.
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
        if queue.lines.is_empty() {
            if queue.taken.is_none() && queue.phase == Phase::Finishing {
                self.stream.finish();
                queue.phase = Phase::Over;
                self.tell(queue);
            }
            return;
        }
        if queue.lines.len() + queue.taken.unwrap_or(0) > OUTBOX_BYTES {
            self.warn_of_one_who_does_not_read();
            return self.break_off(queue);
        }
        match queue.writer {
            Some(_) => self.tell(queue),
            // Whoever has taken the turn comes back here with it.
            None if queue.taken.is_some() => {}
            None => self.start_writer(queue),
        }
    }

    fn start_writer(self: &Arc<Self>, queue: &mut Queue) {
        let inner = self.clone();
        match threads::spawn(&format!("s{}-write", self.session.0 % 1_000_000), move || inner.write_on()) {
            Ok(thread) => queue.writer = Some(thread),
            Err(error) => {
                log::warn!("session {} closed: no thread to write to it: {error}", self.session);
                self.break_off(queue);
            }
        }
    }

    /// The body of a writer thread: writes until nothing was left for a while.
    fn write_on(self: &Arc<Self>) {
        let mut queue = self.lock();
        let mut idle_since = clock::instant();
        while queue.phase != Phase::Over {
            if queue.taken.is_none() && !queue.lines.is_empty() {
                let line = std::mem::take(&mut queue.lines);
                queue.taken = Some(line.len());
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
            let length = if queue.taken.is_some() { WRITER_LINGER } else { left };
            queue = self.wait(queue, length);
        }
        // A session that is ending has taken it, to join it; otherwise nobody knows this thread from here on.
        if let Some(own) = queue.writer.take() {
            own.detach();
        }
    }

    /// Ends somebody's turn at writing. False once the session has ended.
    fn give_back(self: &Arc<Self>, queue: &mut Queue, written: Result<(), TransportError>) -> bool {
        queue.taken = None;
        match written {
            Ok(()) => self.write_pending(queue),
            Err(error) => {
                if matches!(error, TransportError::Stalled(_)) {
                    self.warn_of_one_who_does_not_read();
                } else {
                    log::debug!("session {}: {error}", self.session);
                }
                self.break_off(queue);
            }
        }
        self.tell(queue);
        queue.phase != Phase::Over
    }

    /// Either too much waits for the peer, or it took next to nothing for too long.
    fn warn_of_one_who_does_not_read(&self) {
        log::warn!("session {} closed: its peer does not read what it is sent", self.session);
    }

    /// Nothing more can be said: what reads from this peer may end as well.
    fn break_off(&self, queue: &mut Queue) {
        self.stream.close();
        queue.phase = Phase::Over;
        queue.lines = Vec::new();
        self.tell(queue);
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
