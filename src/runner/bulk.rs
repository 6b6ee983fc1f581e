//! The way of large pieces to the dispatcher. A thread of the session, `s-logs`, writes them whenever the dispatcher
//! has room, because those who send them must not wait for it. The uploader writes a few small ones itself: to wake
//! that thread costs more than to write them.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, select_biased};

use super::limits::BULK_CAPACITY;
use crate::transport::{Frame, Outbox, WeakOutbox};

/// A large piece, or results that must follow it.
#[derive(Debug)]
pub(super) struct BulkFrame {
    pub(super) frame: Frame,
    /// Dropped once the frame is written.
    _order: Option<Order>,
}

/// Is alive as long as a frame is on its way that another one must follow.
#[derive(Debug, Clone, Default)]
pub(super) struct Order(Arc<()>);

impl Order {
    pub(super) fn frame(&self, frame: Frame) -> BulkFrame {
        BulkFrame { frame, _order: Some(self.clone()) }
    }
}

impl From<Frame> for BulkFrame {
    fn from(frame: Frame) -> Self {
        Self { frame, _order: None }
    }
}

/// Makes the way, and its other end, which [`write_bulk`] empties.
pub(super) fn bulk() -> (Sender<BulkFrame>, Receiver<BulkFrame>) {
    bounded(BULK_CAPACITY)
}

/// Writes large pieces until the session ends. Messages of the outbox go first.
pub(super) fn write_bulk(outbox: &Outbox, pieces: &Receiver<BulkFrame>, ended: &Receiver<()>) {
    loop {
        select_biased! {
            recv(ended) -> _ => return,
            recv(pieces) -> piece => match piece {
                Ok(piece) if outbox.send_bulk(&piece.frame) => {}
                // The reader sees the closed stream and logs why the session ended.
                Ok(_) | Err(_) => return,
            },
        }
    }
}

/// A way for frames that leave in order, each at once if it is small and the connection is free.
#[derive(Debug)]
pub(super) struct OrderedBulk {
    sender: Sender<BulkFrame>,
    outbox: WeakOutbox,
    /// Each frame that the thread has not written yet has a clone.
    order: Order,
    is_gathered: bool,
}

impl OrderedBulk {
    pub(super) fn new(sender: Sender<BulkFrame>, outbox: WeakOutbox) -> Self {
        Self { sender, outbox, order: Order::default(), is_gathered: false }
    }

    /// Returns the way to the thread, for frames of this order.
    pub(super) fn sender(&self) -> (Sender<BulkFrame>, Order) {
        (self.sender.clone(), self.order.clone())
    }

    /// Adds a frame to those that [`OrderedBulk::flush`] writes. Returns false if it must go by way of the thread.
    pub(super) fn gather(&mut self, frame: &Frame) -> bool {
        let is_next = Arc::strong_count(&self.order.0) == 1;
        let is_taken = is_next && self.outbox.upgrade().is_some_and(|outbox| outbox.gather_small(frame));
        self.is_gathered |= is_taken;
        is_taken
    }

    /// Writes what was gathered.
    pub(super) fn flush(&mut self) {
        if std::mem::take(&mut self.is_gathered)
            && let Some(outbox) = self.outbox.upgrade()
        {
            outbox.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SessionId;
    use crate::transport::{FrameReader, Stream};

    fn line(text: &str) -> Frame {
        Frame { line: format!("\"{text}\"\n").into_bytes(), payload: Vec::new() }
    }

    /// Sabotage tried: a small piece is taken whatever is with the thread; it arrives first.
    #[test]
    fn a_small_piece_does_not_overtake_one_that_the_thread_has() {
        let (here, there) = Stream::pair();
        let (outbox, last_word) = Outbox::new(SessionId(1), here);
        let (sender, pieces) = bulk();
        let mut ordered = OrderedBulk::new(sender, outbox.downgrade());
        assert!(ordered.gather(&line("first")));
        ordered.flush();
        let (thread, order) = ordered.sender();
        thread.send(order.frame(line("second"))).unwrap();
        drop(order);
        assert!(!ordered.gather(&line("third")));
        let taken = pieces.recv().unwrap();
        assert!(!ordered.gather(&line("third")), "the thread has not written it");
        assert!(outbox.send_bulk(&taken.frame));
        drop(taken);
        assert!(ordered.gather(&line("third")));
        ordered.flush();
        let mut reader = FrameReader::new(there);
        for text in ["first", "second", "third"] {
            assert_eq!(reader.read::<String>(99).unwrap().as_deref(), Some(text));
        }
        drop(last_word);
        assert!(!ordered.gather(&line("fourth")), "the session has ended");
    }
}
