//! What waits to be written to one peer.
//!
//! Whoever has something to say writes it to the socket at once, as far as that goes without waiting; only the rest is
//! handed to the session's writer thread. Most messages fit, and waking a thread for each would take longer than
//! writing it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::dispatcher::limits;
use crate::model::SessionId;
use crate::transport::{Frame, Stream, TransportError, write_frames_and_bulk};

/// The way to a peer: messages first, packs when there are none. Bounded: a peer that does not read is closed.
#[derive(Clone)]
pub(crate) struct Outbox {
    inner: Arc<Inner>,
}

struct Inner {
    session: SessionId,
    stream: Stream,
    /// Messages to be written next, gathered until [`Outbox::flush`]. Held while they are written, which does not wait:
    /// so they leave in order.
    gathered: Mutex<Vec<u8>>,
    /// Grows with what is in it, so that thousands of idle sessions cost little; the bound is kept by
    /// [`Inner::entrust`].
    frames: Sender<Frame>,
    bulk: Sender<Frame>,
    entrusted: Arc<Entrusted>,
}

/// Bytes that the writer was given and has not written yet, and one for each frame. While there are any, nobody else
/// writes.
#[derive(Default)]
struct Entrusted(AtomicUsize);

/// The ends that a writer thread takes from.
pub(crate) struct Outgoing {
    frames: Receiver<Frame>,
    bulk: Receiver<Frame>,
    entrusted: Arc<Entrusted>,
}

impl Outbox {
    pub(crate) fn new(session: SessionId, stream: Stream) -> (Self, Outgoing) {
        let (frames, frames_out) = unbounded();
        let (bulk, bulk_out) = bounded(limits::BULK_CAPACITY);
        let entrusted = Arc::<Entrusted>::default();
        let outgoing = Outgoing { frames: frames_out, bulk: bulk_out, entrusted: entrusted.clone() };
        let gathered = Mutex::default();
        (Self { inner: Arc::new(Inner { session, stream, gathered, frames, bulk, entrusted }) }, outgoing)
    }

    /// Says something. A peer that has let too much pile up is closed, not waited for.
    pub(crate) fn send(&self, frame: &Frame) {
        let mut gathered = self.inner.gathered();
        gathered.extend_from_slice(&frame.line);
        gathered.extend_from_slice(&frame.payload);
        self.inner.write(&mut gathered);
    }

    /// Has something said at the next [`Outbox::flush`], together with what else there is by then. True if it is the
    /// first.
    pub(crate) fn gather(&self, frame: &Frame) -> bool {
        let mut gathered = self.inner.gathered();
        let is_first = gathered.is_empty();
        gathered.extend_from_slice(&frame.line);
        gathered.extend_from_slice(&frame.payload);
        is_first
    }

    /// Says what was gathered.
    pub(crate) fn flush(&self) {
        self.inner.write(&mut self.inner.gathered());
    }

    /// Puts a piece of something large in, and waits for room. False once the session has ended.
    pub(crate) fn send_bulk(&self, frame: Frame) -> bool {
        {
            // Nobody is writing while this is counted; afterwards the writer alone does.
            let _turn = self.inner.gathered();
            self.inner.entrusted.add(&frame);
        }
        self.inner.bulk.send(frame).is_ok()
    }

    /// Lets what was put in be written, then tells the peer that nothing more will come. The session ends when the peer
    /// closes too, or when it has been silent for too long.
    pub(crate) fn finish(&self) {
        let mut gathered = self.inner.gathered();
        self.inner.write(&mut gathered);
        self.inner.entrust(Frame::end());
    }
}

impl Inner {
    fn gathered(&self) -> MutexGuard<'_, Vec<u8>> {
        // Bytes are whole messages whatever panicked beside them.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, gathered: &mut Vec<u8>) {
        if gathered.is_empty() {
            return;
        }
        // An error is for the writer to meet again, and to end the session for.
        let written = if self.entrusted.is_none() { self.stream.write_at_once(gathered).unwrap_or(0) } else { 0 };
        if written < gathered.len() {
            let line = gathered.split_off(written);
            self.entrust(Frame { line, payload: Vec::new() });
        }
        gathered.clear();
        // Thousands of idle sessions hold little.
        gathered.shrink_to(limits::GATHERED_KEPT_BYTES);
    }

    fn entrust(&self, frame: Frame) {
        if self.entrusted.add(&frame) > limits::OUTBOX_BYTES {
            log::warn!("session {} closed: its peer does not read what it is sent", self.session);
            self.stream.close();
            return;
        }
        // A writer that is gone has ended the session; the peer hears of it all when it comes back.
        drop(self.frames.send(frame));
    }
}

impl Entrusted {
    fn weight(frame: &Frame) -> usize {
        frame.line.len() + frame.payload.len() + 1
    }

    /// How much it is with this frame.
    fn add(&self, frame: &Frame) -> usize {
        let weight = Self::weight(frame);
        self.0.fetch_add(weight, Ordering::AcqRel) + weight
    }

    fn is_none(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

impl Outgoing {
    /// The body of a writer thread.
    pub(crate) fn write_to(&self, stream: &Stream) -> Result<(), TransportError> {
        write_frames_and_bulk(stream, &self.frames, &self.bulk, |frame| {
            self.entrusted.0.fetch_sub(Entrusted::weight(frame), Ordering::AcqRel);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads;
    use crate::transport::{FrameReader, Listener};

    fn line(text: &str) -> Frame {
        Frame { line: format!("\"{text}\"\n").into_bytes(), payload: Vec::new() }
    }

    #[test]
    fn messages_arrive_in_order_whoever_writes_them() {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = format!("127.0.0.1:{}", listener.local_addr().port()).parse().unwrap();
        let here = Stream::dial(&address, std::time::Duration::from_secs(5)).unwrap();
        let there = listener.accept().unwrap().unwrap();
        let (outbox, outgoing) = Outbox::new(SessionId(1), here.clone());
        let writer = threads::spawn("writer", move || outgoing.write_to(&here).unwrap()).unwrap();
        let count = 50_000;
        let reading = threads::spawn("reader", move || {
            let mut reader = FrameReader::new(there);
            for n in 0..count {
                assert_eq!(reader.read::<String>(100).unwrap(), Some(format!("number {n}")));
            }
            assert_eq!(reader.read::<String>(100).unwrap(), None);
        })
        .unwrap();
        for n in 0..count {
            match n % 7 {
                0 => {
                    assert!(outbox.send_bulk(line(&format!("number {n}"))));
                    // Messages may overtake it; here it is to be in its place.
                    while !outbox.inner.entrusted.is_none() {
                        std::thread::yield_now();
                    }
                }
                1..=3 => drop(outbox.gather(&line(&format!("number {n}")))),
                _ => outbox.send(&line(&format!("number {n}"))),
            }
        }
        outbox.finish();
        reading.join().unwrap();
        drop(outbox);
        writer.join().unwrap();
    }
}
