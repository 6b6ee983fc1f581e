//! Encoded messages. Never decides which messages are sent, nor in which order.

use serde::Serialize;

use super::{Stream, TransportError};
use crate::protocol::codec;

/// An encoded message: its line and the payload behind it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    pub line: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new<M: Serialize>(message: &M) -> Self {
        Self::with_payload(message, Vec::new())
    }

    /// Encodes a message with a payload. Its field `bytes` must be the payload's length.
    pub fn with_payload<M: Serialize>(message: &M, payload: Vec<u8>) -> Self {
        let mut line = Vec::with_capacity(128);
        codec::encode(message, &mut line);
        Self { line, payload }
    }
}

/// Writes one frame, and waits for the peer meanwhile. Fails as soon as the peer is gone ([`TransportError::Closed`])
/// or has taken too little for too long ([`TransportError::Stalled`]).
pub fn write_frame(stream: &Stream, frame: &Frame) -> Result<(), TransportError> {
    stream.write_both(&frame.line, &frame.payload)
}
