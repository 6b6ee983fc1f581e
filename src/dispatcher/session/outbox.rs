//! What waits to be written to one peer.
//!
//! Whoever has something to say writes it to the socket at once, as far as that goes without waiting. Who sends
//! something large waits and writes it too. Only what a peer has no room for, of messages that nobody may wait with, is
//! left to a thread, which is there for as long as that lasts and a moment longer: so a session that is read by its
//! peer costs no thread for writing.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::clock;
use crate::dispatcher::limits;
use crate::model::SessionId;
use crate::threads::{self, Thread};
use crate::transport::{Frame, Stream, TransportError, write_frame};

/// The way to a peer. Bounded: a peer that does not read is closed, not waited for.
#[derive(Clone)]
pub(crate) struct Outbox {
    inner: Arc<Inner>,
}

/// The end of a session for its outbox: dropped, it lets what was said be written, for a bounded time, and joins the
/// writer. The session's own thread has it.
pub(crate) struct LastWord(Outbox);

/// The way to a peer for one who keeps it for later: the session may end meanwhile.
#[derive(Clone)]
pub(crate) struct Distant(Weak<Inner>);

impl Distant {
    /// The way itself, while anybody of the session has it.
    pub(crate) fn near(&self) -> Option<Outbox> {
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
    pub(crate) fn new(session: SessionId, stream: Stream) -> (Self, LastWord) {
        let inner = Inner { session, stream, queue: Mutex::default(), changed: Condvar::new() };
        let outbox = Self { inner: Arc::new(inner) };
        (outbox.clone(), LastWord(outbox))
    }

    /// For one who keeps it for later.
    pub(crate) fn distant(&self) -> Distant {
        Distant(Arc::downgrade(&self.inner))
    }

    /// Says something. A peer that has let too much pile up is closed, not waited for.
    pub(crate) fn send(&self, frame: &Frame) {
        let mut queue = self.inner.lock();
        queue.add(frame);
        self.inner.settle(&mut queue);
    }

    /// Has something said at the next [`Outbox::flush`], together with what else there is by then. True if it is the
    /// first.
    pub(crate) fn gather(&self, frame: &Frame) -> bool {
        let mut queue = self.inner.lock();
        queue.add(frame);
        !std::mem::replace(&mut queue.is_gathering, true)
    }

    /// Says what was gathered.
    pub(crate) fn flush(&self) {
        let mut queue = self.inner.lock();
        queue.is_gathering = false;
        self.inner.settle(&mut queue);
    }

    /// Writes a piece of something large, and waits for the peer meanwhile. False once the session has ended.
    pub(crate) fn send_bulk(&self, frame: &Frame) -> bool {
        let mut queue = self.inner.lock();
        // Messages go first, and the rest of one that is half written must.
        while queue.phase == Phase::Open && (queue.taken.is_some() || !queue.lines.is_empty()) {
            self.inner.settle(&mut queue);
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
    pub(crate) fn finish(&self) {
        let mut queue = self.inner.lock();
        if queue.phase == Phase::Open {
            queue.phase = Phase::Finishing;
        }
        self.inner.settle(&mut queue);
    }

    /// Waits until all is written, `patience` at most, and for the writer's end.
    fn end(&self, patience: Duration) {
        let deadline = clock::instant() + patience;
        let mut queue = self.inner.lock();
        if queue.phase == Phase::Open {
            queue.phase = Phase::Ending;
        }
        self.inner.settle(&mut queue);
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

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.end(Duration::from_millis(limits::LAST_WORD_MS));
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
        // Bytes are whole messages whatever panicked beside them.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn settle(self: &Arc<Self>, queue: &mut Queue) {
        if queue.phase == Phase::Over {
            queue.lines = Vec::new();
            return;
        }
        if queue.taken.is_none() && !queue.lines.is_empty() {
            match self.stream.write_at_once(&queue.lines) {
                Ok(written) if written == queue.lines.len() => {
                    queue.lines.clear();
                    // Thousands of idle sessions hold little.
                    queue.lines.shrink_to(limits::GATHERED_KEPT_BYTES);
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
        if queue.lines.len() + queue.taken.unwrap_or(0) > limits::OUTBOX_BYTES {
            log::warn!("session {} closed: its peer does not read what it is sent", self.session);
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
        let linger = Duration::from_millis(limits::WRITER_LINGER_MS);
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
            let left = linger.saturating_sub(idle_since.elapsed());
            if left.is_zero() && queue.taken.is_none() {
                break;
            }
            let length = if queue.taken.is_some() { linger } else { left };
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
            Ok(()) => self.settle(queue),
            Err(error) => {
                log::debug!("session {}: {error}", self.session);
                self.break_off(queue);
            }
        }
        self.tell(queue);
        queue.phase != Phase::Over
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
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::protocol::limits::MAX_LINE_BYTES;
    use crate::transport::{FrameReader, Listener};

    const LONG: Duration = Duration::from_secs(30);

    fn line(text: &str) -> Frame {
        Frame { line: format!("\"{text}\"\n").into_bytes(), payload: Vec::new() }
    }

    fn sockets() -> (Stream, Stream) {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = format!("127.0.0.1:{}", listener.local_addr().port()).parse().unwrap();
        (Stream::dial(&address, LONG).unwrap(), listener.accept().unwrap().unwrap())
    }

    fn has_writer(outbox: &Outbox) -> bool {
        outbox.inner.lock().writer.is_some()
    }

    fn until(what: &str, mut is_so: impl FnMut() -> bool) {
        let begun: Instant = clock::instant();
        while !is_so() {
            assert!(begun.elapsed() < LONG, "in vain: {what}");
            // Whoever is waited for needs the lock that is asked for here, and must get its turn at it.
            let _ = crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(1));
        }
    }

    fn read(reader: &mut FrameReader) -> Option<String> {
        reader.read(MAX_LINE_BYTES).unwrap()
    }

    /// Says lines until the peer's socket is full. How many.
    fn fill(outbox: &Outbox) -> usize {
        let large = "x".repeat(60_000);
        (1..)
            .find(|_| {
                outbox.send(&line(&large));
                has_writer(outbox)
            })
            .unwrap()
    }

    #[test]
    fn messages_arrive_in_order_whoever_writes_them() {
        let (here, there) = sockets();
        let (outbox, last_word) = Outbox::new(SessionId(1), here);
        let count = 50_000;
        let reading = threads::spawn("reader", move || {
            let mut reader = FrameReader::new(there);
            for n in 0..count {
                assert_eq!(read(&mut reader), Some(format!("number {n}")));
            }
            assert_eq!(read(&mut reader), None);
        })
        .unwrap();
        for n in 0..count {
            match n % 7 {
                0 => {
                    // What was gathered may be written behind it; here it is to be in its place.
                    outbox.flush();
                    assert!(outbox.send_bulk(&line(&format!("number {n}"))));
                }
                1..=3 => drop(outbox.gather(&line(&format!("number {n}")))),
                _ => outbox.send(&line(&format!("number {n}"))),
            }
        }
        outbox.finish();
        reading.join().unwrap();
        drop(last_word);
    }

    /// Sabotage tried: a writer that waits without a limit; it fails.
    #[test]
    fn a_thread_writes_only_while_the_peer_has_no_room() {
        let (here, there) = sockets();
        let (outbox, last_word) = Outbox::new(SessionId(1), here);
        let mut reader = FrameReader::new(there);
        for round in 0..3 {
            outbox.send(&line("small"));
            assert_eq!(read(&mut reader).as_deref(), Some("small"));
            assert!(!has_writer(&outbox), "round {round}");
            let count = fill(&outbox);
            for _ in 0..count {
                assert_eq!(read(&mut reader).unwrap().len(), 60_000);
            }
            // It is let go by itself.
            until("the writer's end", || !has_writer(&outbox));
        }
        drop(last_word);
    }

    #[test]
    fn a_peer_that_lets_too_much_pile_up_is_closed() {
        let (here, there) = sockets();
        let (outbox, last_word) = Outbox::new(SessionId(1), here.clone());
        fill(&outbox);
        let piece = line(&"x".repeat(1 << 20));
        for _ in 0..=limits::OUTBOX_BYTES >> 20 {
            outbox.send(&piece);
        }
        assert!(outbox.inner.lock().phase == Phase::Over);
        assert!(outbox.inner.lock().lines.is_empty(), "nothing of it is kept");
        assert!(!outbox.send_bulk(&piece));
        drop(last_word);
        drop(there);
    }

    /// Messages and a source for one peer, which reads nothing: whoever waits for it is let go when the session ends.
    #[test]
    fn the_last_word_waits_for_a_bounded_time() {
        let (here, there) = sockets();
        let (outbox, last_word) = Outbox::new(SessionId(1), here);
        let bulk = outbox.clone();
        let sending = threads::spawn("source", move || {
            let piece = Frame { line: b"\"piece\"\n".to_vec(), payload: vec![0; 1 << 20] };
            while bulk.send_bulk(&piece) {}
        })
        .unwrap();
        until("a full socket", || {
            outbox.inner.lock().taken.is_some() && {
                outbox.send(&line("waits"));
                !outbox.inner.lock().lines.is_empty()
            }
        });
        outbox.end(Duration::from_millis(50));
        sending.join().unwrap();
        assert!(!has_writer(&outbox));
        drop(last_word);
        drop(there);
    }

    #[test]
    fn what_was_said_before_the_end_arrives() {
        let (here, there) = sockets();
        let (outbox, last_word) = Outbox::new(SessionId(1), here.clone());
        let count = fill(&outbox);
        let reading = threads::spawn("reader", move || {
            let mut reader = FrameReader::new(there);
            (0..count).for_each(|_| assert_eq!(read(&mut reader).unwrap().len(), 60_000));
            reader.read::<String>(MAX_LINE_BYTES)
        })
        .unwrap();
        drop(last_word);
        outbox.send(&line("too late"));
        here.close();
        assert_eq!(reading.join().unwrap().unwrap(), None);
    }
}
