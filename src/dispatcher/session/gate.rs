//! The way in: the first byte of a connection tells what it speaks. `{` begins the protocol in plain text, which only
//! this machine and networks that the operator named may use; 22 begins a TLS handshake, with the protocol inside; a
//! letter begins a protocol of others, such as HTTP or SSH.
//!
//! Reads no message: the session reads hello from what is returned here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::error::{SessionError, explain};
use crate::dispatcher::limits;
use crate::dispatcher::listening::Listening;
use crate::dispatcher::tokens::Tokens;
use crate::model::Address;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::threads;
use crate::transport::{FrameReader, Stream, TlsServer, TransportError};

/// Time that a peer may take for its part of the handshake.
const HANDSHAKE: Duration = Duration::from_millis(limits::HANDSHAKE_MS);
/// The first byte of a TLS connection: the type of a handshake record.
const TLS_HANDSHAKE: u8 = 22;

/// The checks that a new connection has to pass.
pub(crate) struct Gate {
    pub(super) tokens: Tokens,
    tls: TlsServer,
    pub(super) listening: Arc<Listening>,
}

/// The kinds of connections, told by their first bytes.
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

    /// Waits for the first byte, and makes the TLS handshake if it begins one: then `begun` is called before, and
    /// `stream` is the encrypted connection afterwards.
    ///
    /// Not inlined, like the other steps of an opening: a session's thread keeps all the stack that it ever used.
    #[inline(never)]
    pub(super) fn enter(&self, stream: &mut Stream, begun: impl FnOnce()) -> Result<Entrance, SessionError> {
        let mut reader = reader(stream)?;
        let Some(first) = reader.peek().map_err(explain)? else { return Ok(Entrance::Left) };
        if first == TLS_HANDSHAKE && !stream.is_encrypted() {
            begun();
            *stream = self.encrypt_beside(stream, reader.into_unread()).map_err(SessionError::Transport)?;
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

    /// Like [`Gate::encrypt`], in a thread that ends with the handshake. A handshake takes far more room on the stack
    /// than the session behind it, and a session's thread would keep that room as long as the session lasts.
    #[inline(never)]
    fn encrypt_beside(&self, stream: &Stream, received: Vec<u8>) -> Result<Stream, TransportError> {
        let (tls, below, bytes) = (self.tls.clone(), stream.clone(), received.clone());
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
        stream.encrypt_as(&self.tls, received, HANDSHAKE)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dispatcher::data_dir::DataDir;
    use crate::model::Pin;
    use crate::transport::AuthorityKey;

    fn gate() -> Gate {
        let place = tempfile::tempdir().unwrap();
        let tokens = Tokens::load(&DataDir::open(place.path()).unwrap()).unwrap();
        let tls = TlsServer::new(AuthorityKey::generate().unwrap()).unwrap();
        let listening = Listening {
            address: "127.0.0.1:9000".parse().unwrap(),
            pin: Pin::new([1; 32]),
            plain_text_from: vec!["10.0.0.0/8".parse().unwrap()],
        };
        Gate::new(tokens, tls, listening)
    }

    /// Returns the kind of a connection that sends these bytes and ends, or its refusal.
    fn enter(gate: &Gate, bytes: &[u8]) -> (Result<Entrance, SessionError>, Vec<u8>) {
        let (here, there) = Stream::pair();
        there.write_at_once(bytes).unwrap();
        there.finish();
        let result = gate.enter(&mut here.clone(), || {});
        here.finish();
        let mut reader = FrameReader::new(there);
        let answer = reader.peek().unwrap().map(|_| reader.into_unread()).unwrap_or_default();
        (result, answer)
    }

    #[test]
    fn clients_of_http_get_an_answer_that_they_understand_and_others_a_line() {
        let gate = gate();
        for (bytes, is_http) in
            [("GET / HTTP/1.1\r\n", true), ("OPTIONS *", true), ("SSH-2.0-x\r\n", false), ("x", false)]
        {
            let (entrance, answer) = enter(&gate, bytes.as_bytes());
            assert!(matches!(entrance, Ok(Entrance::Foreign)), "{bytes}");
            let answer = String::from_utf8(answer).unwrap();
            assert_eq!(answer.starts_with("HTTP/1.1 400 "), is_http, "{answer}");
            let line = answer.split("\r\n\r\n").last().unwrap();
            assert_eq!(line.lines().count(), 1, "{answer}");
        }
        assert!(matches!(enter(&gate, b"").0, Ok(Entrance::Left)));
    }

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

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// S23. No beginning panics or hangs, and only TLS and letters keep the bytes from the protocol's reader.
        #[test]
        fn any_first_bytes_have_an_end(
            first in any::<u8>(),
            rest in prop::collection::vec(any::<u8>(), 0..600),
            is_hello in any::<bool>(),
        ) {
            let gate = gate();
            // The header of a record that may be whole, or anything.
            let mut bytes = if is_hello { vec![22, 3, 1, 0, (rest.len() % 256) as u8] } else { vec![first] };
            bytes.extend(&rest);
            let (entrance, _) = enter(&gate, &bytes);
            let is_tls_error = matches!(entrance, Err(SessionError::Transport(TransportError::Tls { .. })));
            let is_foreign = matches!(entrance, Ok(Entrance::Foreign));
            prop_assert_eq!(is_tls_error, bytes[0] == TLS_HANDSHAKE);
            prop_assert_eq!(is_foreign, bytes[0].is_ascii_alphabetic());
            if !is_tls_error && !is_foreign {
                let Ok(Entrance::Protocol(reader)) = entrance else { panic!("it is the protocol's") };
                prop_assert_eq!(reader.into_unread(), bytes);
            }
        }
    }
}
