//! The way in: the first byte of a connection tells what it speaks. `{` begins the protocol in plain text, which only
//! this machine and networks that the operator named may use; 22 begins a TLS handshake, with the protocol inside; a
//! letter begins a protocol of others, such as HTTP or SSH, also inside of TLS. Any other byte begins nothing.
//!
//! Reads no message: the session reads hello from what is returned here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::error::{SessionError, explain};
use super::foreign::Foreign;
use crate::dispatcher::authority::Authority;
use crate::dispatcher::limits;
use crate::dispatcher::listening::Listening;
use crate::dispatcher::tokens::Tokens;
use crate::model::Address;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::threads;
use crate::transport::{FrameReader, Stream, TransportError};

/// Time that a peer may take for its part of the handshake.
const HANDSHAKE: Duration = Duration::from_millis(limits::HANDSHAKE_MS);
/// The first byte of a TLS connection: the type of a handshake record.
const TLS_HANDSHAKE: u8 = 22;

/// The checks that a new connection has to pass.
pub(crate) struct Gate {
    pub(super) tokens: Tokens,
    pub(super) authority: Authority,
    pub(super) listening: Arc<Listening>,
}

/// The kinds of connections, told by their first bytes.
pub(super) enum Entrance {
    /// It speaks the protocol, plain or encrypted.
    Protocol(FrameReader),
    /// It speaks another protocol, and was told so. Has the name of that for the log.
    Foreign(String),
    /// It ended before it said anything.
    Left,
}

impl Gate {
    pub(crate) fn new(tokens: Tokens, authority: Authority, listening: Listening) -> Self {
        Self { tokens, authority, listening: Arc::new(listening) }
    }

    /// Waits for the first byte, and makes the TLS handshake if it begins one: then `begun` is called before, and
    /// `stream` is the encrypted connection afterwards.
    ///
    /// Not inlined, like the other steps of an opening: a session's thread keeps all the stack that it ever used.
    #[inline(never)]
    pub(super) fn enter(&self, stream: &mut Stream, begun: impl FnOnce()) -> Result<Entrance, SessionError> {
        let mut reader = reader(stream)?;
        let Some(mut first) = first_byte(&mut reader)? else { return Ok(Entrance::Left) };
        if first == TLS_HANDSHAKE && !stream.is_encrypted() {
            begun();
            *stream = self.encrypt_beside(stream, reader.into_unread()).map_err(SessionError::Transport)?;
            reader = self::reader(stream)?;
            let Some(inner) = first_byte(&mut reader)? else { return Ok(Entrance::Left) };
            first = inner;
        }
        if let Some(foreign) = Foreign::of(reader.unread()) {
            // The answer fits into a fresh socket. A peer that is gone needs none.
            stream.write_at_once(foreign.answer().as_bytes()).ok();
            let around = if stream.is_encrypted() { " over TLS" } else { "" };
            return Ok(Entrance::Foreign(format!("{}{around}", foreign.name())));
        }
        // JSON allows blanks before the brace. Any other byte is refused at once, and not at the end of a line, which
        // may never come.
        if !matches!(first, b'{' | b' ' | b'\t' | b'\r' | b'\n') {
            let text = format!(
                "a connection begins with `{{` or with a TLS handshake, and not with the byte {first:#04x}: see \
                 docs/protocol.md for what may be said here"
            );
            return Err(Refusal::new(ErrorCode::Malformed, text).into());
        }
        if !stream.is_encrypted() && !self.listening.takes_plain_text(stream.peer_ip()) {
            return Err(Refusal::new(ErrorCode::NotAllowed, PLAIN_TEXT).into());
        }
        Ok(Entrance::Protocol(reader))
    }

    /// Like [`Gate::encrypt`], in a thread that ends with the handshake. A handshake takes far more room on the stack
    /// than the session behind it, and a session's thread would keep that room as long as the session lasts.
    #[inline(never)]
    fn encrypt_beside(&self, stream: &Stream, received: Vec<u8>) -> Result<Stream, TransportError> {
        let (tls, below, bytes) = (self.authority.tls().clone(), stream.clone(), received.clone());
        match threads::spawn("handshake", move || below.encrypt_as(&tls, bytes, HANDSHAKE)) {
            Ok(thread) => thread.join().unwrap_or_else(|_| {
                let source = io::Error::other("the thread of the handshake panicked");
                Err(TransportError::Io { doing: "make the handshake", source })
            }),
            // No thread is left for it, but there is this one.
            Err(_) => self.encrypt(stream, received),
        }
    }

    /// Makes an encrypted connection, as the side that shows the certificate. `received` was read already.
    pub(super) fn encrypt(&self, stream: &Stream, received: Vec<u8>) -> Result<Stream, TransportError> {
        stream.encrypt_as(self.authority.tls(), received, HANDSHAKE)
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
const PLAIN_TEXT: &str = "plain text is accepted from the dispatcher's own machine only: join with the line that \
                          `surveil token create` prints on the dispatcher's machine (--join TOKEN), or name the \
                          dispatcher's pin (--pin)";

/// Returns the reader of a connection that has not said hello.
fn reader(stream: &Stream) -> Result<FrameReader, SessionError> {
    let mut reader = FrameReader::new(stream.clone());
    reader.set_timeout(Some(Duration::from_millis(limits::HELLO_MS))).map_err(SessionError::Transport)?;
    Ok(reader)
}

/// Waits for the first byte, which stays unread. Returns `None` if the peer left without a word.
fn first_byte(reader: &mut FrameReader) -> Result<Option<u8>, SessionError> {
    reader.peek().map_err(|error| {
        let TransportError::TimedOut(waited) = error else { return explain(error) };
        let text = format!("the peer said nothing for {} s: the connection is given up", waited.as_secs());
        Refusal::new(ErrorCode::Malformed, text).into()
    })
}

#[cfg(test)]
mod tests {
    use super::super::fuzz::gate;

    #[test]
    fn a_runner_elsewhere_is_not_called_in_plain_text() {
        let gate = gate();
        for (address, is_allowed) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("10.1.2.3:1", true),
            ("worker:1", true),
            ("192.168.1.1:1", false),
            ("[fd00::1]:1", false),
        ] {
            let checked = gate.check_plain_call(&address.parse().unwrap());
            assert_eq!(checked.is_ok(), is_allowed, "{address}");
        }
    }
}
