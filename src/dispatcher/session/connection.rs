//! A connection that has said hello, and the ways in which it ends.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::error::{SessionError, explain};
use super::shared::Shared;
use crate::dispatcher::session::credentials::Access;
use crate::model::SessionId;
use crate::protocol::hello::{ErrorCode, Greeting, Hello, Refusal};
use crate::protocol::limits::MAX_LINE_BYTES;
use crate::transport::{Frame, FrameReader, Outbox, Stream, TransportError};

/// Time that a refused peer has to read the reason.
pub(super) const REFUSAL_WAIT: Duration = Duration::from_millis(500);
/// The text for a peer for which there is no thread.
pub(super) const NO_THREAD: &str = "the dispatcher has no thread left for this connection: try again later";

/// A session that has said hello.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) shared: Arc<Shared>,
    pub(super) hello: Box<Hello>,
    pub(super) access: Access,
    pub(super) stream: Stream,
    pub(super) reader: FrameReader,
}

impl Session {
    /// Whether nobody on the way can read what this session carries: it is encrypted, or stays within this machine.
    pub(super) fn is_private(&self) -> bool {
        let is_local = |ip: IpAddr| ip.to_canonical().is_loopback();
        self.stream.is_encrypted() || self.stream.peer_ip().is_none_or(is_local)
    }

    /// Returns the peer's next message, or `None` when it has left. Messages of unknown types are answered and skipped.
    pub(super) fn next<M: serde::de::DeserializeOwned>(&mut self, outbox: &Outbox) -> Result<Option<M>, SessionError> {
        loop {
            match self.reader.read(MAX_LINE_BYTES) {
                Err(TransportError::UnknownType { name }) if name == "hello" => {
                    return Err(Refusal::new(ErrorCode::NotAllowed, "`hello` is said once, at the beginning").into());
                }
                Err(error @ TransportError::UnknownType { .. }) => {
                    let refusal = Refusal::new(ErrorCode::Refused, error.to_string());
                    outbox.send(&Frame::new(&Greeting::Error(refusal)));
                }
                other => return other.map_err(explain),
            }
        }
    }
}
