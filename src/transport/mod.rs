//! TCP, framed into protocol messages, and an in-memory pair that behaves alike for tests.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::Address;

/// What went wrong with a connection.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {}

/// Both directions of a connection. Clones share it; reading and writing from two threads is fine.
#[derive(Debug, Clone)]
pub struct Stream {}

impl Stream {
    /// Dials, trying each address that the host name resolves to, with keepalive, TCP_NODELAY and TCP_USER_TIMEOUT set.
    pub fn dial(address: &Address, timeout: Duration) -> Result<Self, TransportError> {
        todo!()
    }

    /// Two ends of an in-memory connection.
    pub fn pair() -> (Self, Self) {
        todo!()
    }

    /// Ends both directions; a blocked read or write in another thread returns.
    pub fn close(&self) {
        todo!()
    }

    /// The other side, for logs.
    pub fn peer(&self) -> String {
        todo!()
    }
}

/// Accepts connections.
pub struct Listener {}

impl Listener {
    /// Binds to every address the host resolves to first; backlog 4096, SO_REUSEADDR.
    pub fn bind(address: &Address) -> Result<Self, TransportError> {
        todo!()
    }

    pub fn local_addr(&self) -> SocketAddr {
        todo!()
    }

    /// Waits for the next connection. `None` once [`Listener::close`] was called.
    pub fn accept(&self) -> Result<Option<Stream>, TransportError> {
        todo!()
    }

    /// Makes a blocked accept return; from any thread.
    pub fn close(&self) {
        todo!()
    }
}

/// The reading half: lines and payloads, each bounded.
pub struct FrameReader {}

impl FrameReader {
    pub fn new(stream: Stream) -> Self {
        todo!()
    }

    /// How long the peer may take to complete what is being read. `None` waits for ever.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), TransportError> {
        todo!()
    }

    /// The next message, its line at most `max_line` bytes. `None` when the peer closed between messages.
    pub fn read<M: DeserializeOwned>(&mut self, max_line: usize) -> Result<Option<M>, TransportError> {
        todo!()
    }

    /// Reads exactly `len` raw bytes that follow the last message, appending them to `into`. Refuses more than
    /// [`crate::protocol::limits::MAX_PAYLOAD_BYTES`].
    pub fn read_payload(&mut self, len: u64, into: &mut Vec<u8>) -> Result<(), TransportError> {
        todo!()
    }
}

/// A message ready to be written: its line and the payload behind it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    pub line: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new<M: Serialize>(message: &M) -> Self {
        todo!()
    }

    pub fn with_payload<M: Serialize>(message: &M, payload: Vec<u8>) -> Self {
        todo!()
    }
}

/// Writes frames from a bounded queue until it closes, as many at once as are there. The body of a writer thread.
pub fn write_frames(stream: &Stream, frames: &crossbeam_channel::Receiver<Frame>) -> Result<(), TransportError> {
    todo!()
}

/// Writes one frame now, for exchanges without a queue (hello, refusals).
pub fn write_frame(stream: &Stream, frame: &Frame) -> Result<(), TransportError> {
    todo!()
}

/// Waiting times between tries: growing, jittered, bounded.
#[derive(Debug, Clone)]
pub struct Backoff {}

impl Backoff {
    /// The first try comes at once; then about `first_ms`, doubling up to `max_ms`, each varied by up to half.
    pub fn new(first_ms: u64, max_ms: u64, seed: u64) -> Self {
        todo!()
    }

    /// How long to wait before the next try.
    pub fn next_delay(&mut self) -> Duration {
        todo!()
    }

    /// After a success: start over.
    pub fn reset(&mut self) {
        todo!()
    }
}
