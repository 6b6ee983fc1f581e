//! The way in: the first byte of a connection tells what it speaks. `{` begins the protocol in plain text, which only
//! this machine and networks that the operator named may use; 22 begins a TLS handshake, with the protocol inside; a
//! letter begins a protocol of others, such as HTTP or SSH.
//!
//! Reads no message: the session reads hello from what is returned here.

use std::sync::Arc;
use std::time::Duration;

use super::error::{SessionError, explain};
use crate::dispatcher::limits;
use crate::dispatcher::listening::Listening;
use crate::dispatcher::tokens::Tokens;
use crate::model::Address;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::transport::{FrameReader, Stream, TlsServer, TransportError};

/// The first byte of a TLS connection: the type of a handshake record.
const TLS_HANDSHAKE: u8 = 22;

/// What a new connection must show.
pub(crate) struct Gate {
    pub(super) tokens: Tokens,
    tls: TlsServer,
    pub(super) listening: Arc<Listening>,
}

/// What a connection turned out to be.
pub(super) enum Entrance {
    /// It speaks the protocol, plain or encrypted.
    Protocol(FrameReader),
    /// It speaks another protocol, and was told so.
    Foreign,
    /// It ended before it said anything.
    Left,
}

impl Gate {
    pub(crate) fn new(tokens: Tokens, tls: TlsServer, listening: Listening) -> Self {
        Self { tokens, tls, listening: Arc::new(listening) }
    }

    /// Waits for the first byte, and makes the TLS handshake if it begins one: then `stream` is the encrypted
    /// connection afterwards.
    ///
    /// Not inlined: a session would keep the handshake's room on the stack as long as it lasts.
    #[inline(never)]
    pub(super) fn enter(&self, stream: &mut Stream) -> Result<Entrance, SessionError> {
        let mut reader = reader(stream)?;
        let Some(first) = reader.peek().map_err(explain)? else { return Ok(Entrance::Left) };
        if first == TLS_HANDSHAKE && !stream.is_encrypted() {
            *stream = self.encrypt(stream, reader.into_unread()).map_err(SessionError::Transport)?;
            return Ok(Entrance::Protocol(self::reader(stream)?));
        }
        if first.is_ascii_alphabetic() {
            // The answer fits into a fresh socket. A peer that is gone needs none.
            stream.write_at_once(foreign_answer(first).as_bytes()).ok();
            return Ok(Entrance::Foreign);
        }
        if !stream.is_encrypted() && !self.listening.takes_plain_text(stream.peer_ip()) {
            return Err(Refusal::new(ErrorCode::NotAllowed, PLAIN_TEXT).into());
        }
        Ok(Entrance::Protocol(reader))
    }

    /// Makes an encrypted connection, as the side that shows the certificate. `received` was read already.
    pub(super) fn encrypt(&self, stream: &Stream, received: Vec<u8>) -> Result<Stream, TransportError> {
        stream.encrypt_as(&self.tls, received, Duration::from_millis(limits::HANDSHAKE_MS))
    }

    /// Refuses to call a runner in plain text that listens at an address from which plain text is refused. An address
    /// that is a name is taken: the connection that asked for the call was allowed.
    pub(super) fn check_plain_call(&self, address: &Address) -> Result<(), Refusal> {
        match address.host.parse() {
            Ok(ip) if !self.listening.takes_plain_text(Some(ip)) => {
                Err(Refusal::new(ErrorCode::NotAllowed, PLAIN_TEXT))
            }
            _ => Ok(()),
        }
    }
}

/// The text for a peer of another machine that does not encrypt.
const PLAIN_TEXT: &str = "plain text is accepted from the dispatcher's own machine only: give this command --pin with the \
                          pin that the dispatcher prints at its start, or start the dispatcher with --plain-text-from \
                          and this machine's network";

/// Returns the reader of a connection that has not said hello.
fn reader(stream: &Stream) -> Result<FrameReader, SessionError> {
    let mut reader = FrameReader::new(stream.clone());
    reader.set_timeout(Some(Duration::from_millis(limits::HELLO_MS))).map_err(SessionError::Transport)?;
    Ok(reader)
}

/// Returns one readable line for a client of another protocol, in the form of HTTP if it may be one of that. The first
/// letters of the methods of HTTP are those of no other protocol that people try.
fn foreign_answer(first: u8) -> String {
    const LINE: &str = "this port is for the observers, runners and commands of Surveil, see docs/protocol.md\r\n";
    if b"GHPDCOT".contains(&first) {
        let len = LINE.len();
        format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n\
             {LINE}"
        )
    } else {
        LINE.to_owned()
    }
}
