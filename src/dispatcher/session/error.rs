//! The reasons why a session ends, other than that its peer left. A peer's own mistake is told to it.

use crate::error_chain::chain;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::limits::MAX_PAYLOAD_BYTES;
use crate::transport::TransportError;

/// The reason why a session ended, other than that its peer left.
pub(super) enum SessionError {
    Refused(Refusal),
    Transport(TransportError),
}

impl From<Refusal> for SessionError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Tells a peer's mistake, which the peer is told, from the end of the connection.
pub(super) fn explain(error: TransportError) -> SessionError {
    let mistake = match &error {
        TransportError::Malformed(cause) => chain(cause),
        TransportError::UnknownType { .. } => error.to_string(),
        TransportError::LineTooLong { max } => format!("a line has at most {max} bytes, its line feed included"),
        TransportError::PayloadTooLong { len } => {
            format!("a payload has at most {MAX_PAYLOAD_BYTES} bytes, and not {len}")
        }
        TransportError::TimedOut(_) => {
            let text = format!("{error}: the connection is given up");
            return SessionError::Refused(Refusal::new(ErrorCode::Malformed, text));
        }
        TransportError::Dial { .. }
        | TransportError::Bind { .. }
        | TransportError::Closed(_)
        | TransportError::EndOfStream
        | TransportError::ShortPayload { .. }
        | TransportError::Stalled(_)
        | TransportError::Tls { .. }
        | TransportError::Io { .. } => return SessionError::Transport(error),
    };
    let text = format!("{mistake}: see docs/protocol.md for what may be said here");
    SessionError::Refused(Refusal::new(ErrorCode::Malformed, text))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::codec;
    use crate::protocol::runner::FromRunner;

    #[track_caller]
    fn told(error: TransportError) -> String {
        let SessionError::Refused(Refusal { code: ErrorCode::Malformed, text, .. }) = explain(error) else {
            panic!("not malformed");
        };
        text.strip_suffix(": see docs/protocol.md for what may be said here").unwrap_or(&text).to_owned()
    }

    #[test]
    fn a_mistake_is_told_to_the_peer_that_made_it() {
        let line =
            |line: &str| told(TransportError::Malformed(codec::decode::<FromRunner>(line.as_bytes()).unwrap_err()));
        assert_eq!(line(&"[".repeat(40)), "arrays and objects nest deeper than 32");
        assert_eq!(line(r#"{"type":"ping"}"#), "the line is not a message: missing field `holding`");
        let length = "the message type `dance` is not known, and `bytes`, the length of its payload, is no number";
        assert_eq!(line(r#"{"type":"dance","bytes":-1}"#), length);
        let max = "a line has at most 4096 bytes, its line feed included";
        assert_eq!(told(TransportError::LineTooLong { max: 4096 }), max);
        let payload = "a payload has at most 1048576 bytes, and not 1048577";
        assert_eq!(told(TransportError::PayloadTooLong { len: 1_048_577 }), payload);
        let late = "no complete message within 20000 ms: the connection is given up";
        assert_eq!(told(TransportError::TimedOut(Duration::from_secs(20))), late);
    }
}
