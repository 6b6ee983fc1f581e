//! What waits to be written to one peer.

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::dispatcher::limits;
use crate::model::SessionId;
use crate::transport::{Frame, Stream};

/// The way to a peer: messages first, packs when there are none. Bounded: a peer that does not read is closed.
#[derive(Clone)]
pub(crate) struct Outbox {
    session: SessionId,
    stream: Stream,
    /// Grows with what is in it, so that thousands of idle sessions cost little; the bound is kept by [`Outbox::send`].
    frames: Sender<Frame>,
    bulk: Sender<Frame>,
}

/// The ends that a writer thread takes from.
pub(crate) struct Outgoing {
    pub(crate) frames: Receiver<Frame>,
    pub(crate) bulk: Receiver<Frame>,
}

impl Outbox {
    pub(crate) fn new(session: SessionId, stream: Stream) -> (Self, Outgoing) {
        let (frames, frames_out) = unbounded();
        let (bulk, bulk_out) = bounded(limits::BULK_CAPACITY);
        (Self { session, stream, frames, bulk }, Outgoing { frames: frames_out, bulk: bulk_out })
    }

    /// Puts a message in. A peer that has let too many pile up is closed, not waited for.
    pub(crate) fn send(&self, frame: Frame) {
        if self.frames.len() >= limits::OUTBOX_CAPACITY {
            log::warn!("session {} closed: its peer does not read what it is sent", self.session);
            self.stream.close();
            return;
        }
        // A writer that is gone has ended the session; the peer hears of it all when it comes back.
        drop(self.frames.send(frame));
    }

    /// Puts a piece of something large in, and waits for room. False once the session has ended.
    pub(crate) fn send_bulk(&self, frame: Frame) -> bool {
        self.bulk.send(frame).is_ok()
    }

    /// Lets what was put in be written, then tells the peer that nothing more will come. The session ends when the peer
    /// closes too, or when it has been silent for too long.
    pub(crate) fn finish(&self) {
        drop(self.frames.send(Frame::end()));
    }
}
