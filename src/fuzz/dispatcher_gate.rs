//! The first bytes of a connection to the dispatcher's port, plain or inside of TLS. For the property test below and
//! for the fuzzer.

use std::sync::OnceLock;
use std::time::Duration;

pub use super::blobs::fuzz::uploads;
use super::error::{SessionError, explain};
use super::gate::{Entrance, Gate};
pub use super::tool_entries::fuzz::entry_messages;
use crate::dispatcher::authority::Authority;
use crate::dispatcher::data_dir::DataDir;
use crate::dispatcher::listening::Listening;
use crate::dispatcher::tokens::Tokens;
use crate::model::Pin;
use crate::protocol::hello::{Opening, Refusal};
use crate::protocol::limits::MAX_HELLO_BYTES;
use crate::threads;
use crate::transport::{Frame, FrameReader, Stream, TransportError, write_frame};

/// The longest opening. It is below the capacity of the in-memory connection, so that the peer need not wait.
const MAX_OPENING: usize = 32 * 1024;
/// Time for the peer's part of a handshake.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens a connection with these bytes and ends it. The first one says how: its lowest bit whether the others are sent
/// inside of TLS, and half of it how many of them arrive before the rest.
///
/// A letter begins another protocol, 22 a TLS handshake, a brace or a blank a message, and any other byte is refused.
/// Nothing of the opening is lost, and each answer is one line.
///
/// # Panics
///
/// If an invariant is broken.
pub fn first_bytes(bytes: &[u8]) {
    static GATE: OnceLock<Gate> = OnceLock::new();
    let Some((way, bytes)) = bytes.split_first() else { return };
    let bytes = &bytes[..bytes.len().min(MAX_OPENING)];
    let (is_encrypted, cut) = (way % 2 == 1, usize::from(way / 2));
    let (entered, heard) = enter(GATE.get_or_init(gate), is_encrypted, bytes, cut);
    let heard = String::from_utf8_lossy(&heard);
    let first = bytes.first().copied();
    match entered {
        Ok(Entrance::Left) => assert_eq!(first, None),
        Ok(Entrance::Foreign(name)) => {
            assert!(first.is_some_and(|first| first.is_ascii_alphanumeric()), "{first:?}");
            assert!(!name.is_empty() && name.len() < 100 && !name.contains(char::is_control), "{name}");
            assert!(heard.trim_end().ends_with("see docs/protocol.md"), "{heard}");
            let line = heard.split("\r\n\r\n").last().unwrap_or_default();
            assert_eq!(line.lines().count(), 1, "{heard}");
        }
        Ok(Entrance::Protocol(mut reader)) => {
            assert!(first.is_some_and(|first| matches!(first, b'{' | b' ' | b'\t' | b'\r' | b'\n')), "{first:?}");
            assert!(bytes.starts_with(reader.unread()) && !reader.unread().is_empty());
            match reader.read::<Opening>(MAX_HELLO_BYTES).map_err(explain) {
                Ok(_) => {}
                Err(SessionError::Refused(refusal)) => check_refusal(&refusal),
                Err(SessionError::Transport(error)) => {
                    assert!(matches!(error, TransportError::EndOfStream), "{error}");
                }
            }
        }
        Err(SessionError::Refused(refusal)) => {
            assert!(first.is_some_and(|first| !first.is_ascii_alphabetic() && first != b'{'), "{first:?}");
            check_refusal(&refusal);
        }
        Err(SessionError::Transport(error)) => {
            // Nobody who has not kept to the handshake gets through it.
            assert!(matches!(error, TransportError::Tls { .. }), "{error}");
            assert!(first == Some(22) && !is_encrypted, "{error}");
        }
    }
}

fn check_refusal(refusal: &Refusal) {
    assert!(refusal.text.contains("see docs/protocol.md"), "{}", refusal.text);
    assert!(!refusal.line().contains(char::is_control) && refusal.line().len() <= 4096, "{}", refusal.line());
}

/// Lets a peer say these bytes, the first `cut` of them before the rest, and end. Returns what the gate makes of it,
/// and the first answer.
fn enter(gate: &Gate, is_encrypted: bool, bytes: &[u8], cut: usize) -> (Result<Entrance, SessionError>, Vec<u8>) {
    let (here, there) = Stream::pair();
    let (bytes, pin) = (bytes.to_vec(), is_encrypted.then_some(gate.authority.pin()));
    let peer = threads::spawn("peer", move || speak(&there, pin, &bytes, cut)).expect("there is room for a thread");
    let mut stream = here.clone();
    let mut has_begun = false;
    let entered = gate.enter(&mut stream, || has_begun = true);
    let is_tls = matches!(&entered, Err(SessionError::Transport(_)));
    assert_eq!(has_begun, is_encrypted || is_tls);
    assert_eq!(stream.is_encrypted(), is_encrypted);
    stream.finish();
    here.finish();
    (entered, peer.join().expect("the peer is well-behaved"))
}

/// The peer: says these bytes, and returns the first of what it hears.
fn speak(stream: &Stream, pin: Option<Pin>, bytes: &[u8], cut: usize) -> Vec<u8> {
    let encrypted = pin.map(|pin| stream.encrypt(&[pin], PATIENCE).expect("the pin is right"));
    let stream = encrypted.as_ref().unwrap_or(stream);
    let (one, other) = bytes.split_at(cut.min(bytes.len()));
    for part in [one, other] {
        let frame = Frame { line: part.to_vec(), payload: Vec::new() };
        // The gate may have seen enough, and be gone.
        write_frame(stream, &frame).ok();
    }
    stream.finish();
    let mut reader = FrameReader::new(stream.clone());
    reader.peek().ok().flatten().map(|_| reader.into_unread()).unwrap_or_default()
}

/// Returns a gate that takes plain text from this machine and from 10.0.0.0/8.
pub(super) fn gate() -> Gate {
    let place = tempfile::tempdir().expect("there is room for a directory");
    let data = DataDir::open(place.path()).expect("an empty directory can be had");
    let tokens = Tokens::load(&data).expect("tokens can be made");
    let authority = Authority::load(&data).expect("an authority can be made");
    let listening = Listening {
        address: ([127, 0, 0, 1], 9000).into(),
        plain_text_from: vec!["10.0.0.0/8".parse().expect("it is a network")],
    };
    Gate::new(tokens, authority, listening)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn clients_of_http_get_an_answer_that_they_understand_and_others_a_line_plain_or_encrypted() {
        let gate = gate();
        for is_encrypted in [false, true] {
            for (bytes, is_http, name) in [
                ("GET / HTTP/1.1\r\n", true, "HTTP"),
                ("OPTIONS *", true, "HTTP"),
                ("SSH-2.0-x\r\n", false, "SSH"),
                ("x", false, "an unknown protocol that begins with `x`"),
            ] {
                let (entrance, answer) = enter(&gate, is_encrypted, bytes.as_bytes(), 0);
                let Ok(Entrance::Foreign(told)) = entrance else { panic!("{bytes} is the protocol's") };
                let over = if is_encrypted { " over TLS" } else { "" };
                assert_eq!(told, format!("{name}{over}"));
                let answer = String::from_utf8(answer).unwrap();
                assert_eq!(answer.starts_with("HTTP/1.1 400 "), is_http, "{answer}");
            }
            assert!(matches!(enter(&gate, is_encrypted, b"", 0).0, Ok(Entrance::Left)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// S23. No beginning panics or hangs.
        #[test]
        fn any_first_bytes_have_an_end(
            way in any::<u8>(),
            begin in prop::sample::select(&BEGINNINGS[..]),
            rest in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            first_bytes(&[&[way], begin, &rest].concat());
        }
    }

    /// What peers of several kinds begin with. The third is the header of a TLS record that may be whole.
    const BEGINNINGS: [&[u8]; 7] =
        [b"", b"{\"type\":\"hello\",", &[22, 3, 1, 0, 200], b"SSH-", b"GET ", b"0012git-", b" \n"];
}
