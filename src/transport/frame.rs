//! Messages ready to be written, and the body of the thread that writes them. Never decides what is sent, nor in which
//! order: the queue does.

use crossbeam_channel::Receiver;
use serde::Serialize;

use super::{Stream, TransportError};
use crate::protocol::codec;

/// Queued frames are gathered up to this size and written at once.
const BATCH_BYTES: usize = 64 * 1024;
/// What is longer is written from where it lies; below, copying is cheaper than another piece of a vectored write.
const COPY_BYTES: usize = 8 * 1024;

/// A message ready to be written: its line and the payload behind it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    pub line: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new<M: Serialize>(message: &M) -> Self {
        Self::with_payload(message, Vec::new())
    }

    /// The message must say `bytes` as the payload is long.
    pub fn with_payload<M: Serialize>(message: &M, payload: Vec<u8>) -> Self {
        let mut line = Vec::with_capacity(128);
        codec::encode(message, &mut line);
        Self { line, payload }
    }
}

/// Writes frames from a bounded queue until it closes, as many at once as are there. The body of a writer thread.
///
/// `Ok` once the queue is closed and all of it is written. An error as soon as the peer is gone
/// ([`TransportError::Closed`]) or takes too little for too long ([`TransportError::Stalled`]). While the queue is
/// empty nothing is noticed: the thread that reads notices the end, and drops the queue.
pub fn write_frames(stream: &Stream, frames: &Receiver<Frame>) -> Result<(), TransportError> {
    while let Ok(frame) = frames.recv() {
        if frames.is_empty() {
            write_frame(stream, &frame)?;
        } else {
            write_batch(stream, frame, frames)?;
        }
    }
    Ok(())
}

/// Writes one frame now, for exchanges without a queue (hello, refusals).
pub fn write_frame(stream: &Stream, frame: &Frame) -> Result<(), TransportError> {
    stream.write_both(&frame.line, &frame.payload)
}

/// Writes `first` and what is queued behind it, until the queue is empty for a moment.
fn write_batch(stream: &Stream, first: Frame, frames: &Receiver<Frame>) -> Result<(), TransportError> {
    // It lives as long as the burst, so that idle sessions hold no buffer.
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    let mut next = Some(first);
    while let Some(frame) = next {
        for piece in [&frame.line, &frame.payload] {
            if piece.len() > COPY_BYTES {
                stream.write_both(&batch, piece)?;
                batch.clear();
            } else {
                if batch.len() + piece.len() > BATCH_BYTES {
                    stream.write_both(&batch, &[])?;
                    batch.clear();
                }
                batch.extend_from_slice(piece);
            }
        }
        next = frames.try_recv().ok();
    }
    stream.write_both(&batch, &[])
}
