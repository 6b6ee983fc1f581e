//! The errors of a connection, as callers branch on them. Every file of this room returns them.

use std::io::{self, ErrorKind};
use std::time::Duration;

use super::TlsError;
use crate::model::Address;
use crate::protocol::codec::CodecError;
use crate::protocol::limits::MAX_PAYLOAD_BYTES;

/// An error of a connection.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The dial failed.
    #[error("could not connect to {address}{}", dial_hint(.source))]
    Dial { address: Address, source: io::Error },
    /// The listening socket could not be bound.
    #[error("could not listen at {address}{}", bind_hint(.source))]
    Bind { address: Address, source: io::Error },
    /// The connection broke: it was reset, the peer was unreachable, or sent bytes stayed unacknowledged for too long.
    #[error("the connection to the peer broke")]
    Closed(#[source] io::Error),
    /// The peer ended the connection inside a line.
    #[error("the peer closed the connection in the middle of a message")]
    EndOfStream,
    /// The peer ended the connection inside a payload.
    #[error("the peer closed the connection {missing} bytes before the end of a payload of {len}")]
    ShortPayload { len: u64, missing: u64 },
    /// The line or payload was not complete in time. A line continues at the next call of the reader; a payload cannot
    /// continue.
    #[error("no complete message within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The peer took no bytes, or very few, for longer than a write may take.
    #[error("the peer does not take what it is sent: {} s passed with next to none of it", .0.as_secs())]
    Stalled(Duration),
    /// The line is not a message of the expected kind.
    #[error("what the peer sent is not a message")]
    Malformed(#[source] CodecError),
    /// The message is well-formed, but its type is not an expected one. It is skipped together with its payload, so
    /// that the session may go on.
    #[error("the message type `{name}` is not known here")]
    UnknownType { name: String },
    /// The line is longer than allowed; the rest of it was not read. The session can go on only if it is skipped.
    #[error("the peer sent a line of more than {max} bytes")]
    LineTooLong { max: usize },
    /// The announced payload is longer than allowed; none of it was read. The session cannot go on.
    #[error("the peer announced a payload of {len} bytes, at most {MAX_PAYLOAD_BYTES} are allowed")]
    PayloadTooLong { len: u64 },
    /// The connection could not be encrypted.
    #[error("no encrypted connection with {peer}")]
    Tls { peer: String, source: Box<TlsError> },
    /// The system refused another operation.
    #[error("could not {doing}")]
    Io { doing: &'static str, source: io::Error },
}

impl TransportError {
    /// Whether another dispatcher answers than the one with the pin, which only a person can mend.
    #[must_use]
    pub fn is_wrong_pin(&self) -> bool {
        matches!(self, Self::Tls { source, .. } if matches!(**source, TlsError::WrongPin(_)))
    }

    /// Makes the error of a failed read or write. Most kinds mean that the peer is gone.
    pub(super) fn io(doing: &'static str, source: io::Error) -> Self {
        let is_gone = matches!(
            source.kind(),
            ErrorKind::BrokenPipe
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::NotConnected
                | ErrorKind::TimedOut
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::NetworkDown
        );
        if is_gone { Self::Closed(source) } else { Self::Io { doing, source } }
    }
}

/// Explains a failed dial to a person.
fn dial_hint(source: &io::Error) -> &'static str {
    hint(
        source,
        &[
            (ErrorKind::ConnectionRefused, ": no dispatcher listens there"),
            (ErrorKind::TimedOut, ": nothing answers there"),
        ],
    )
}

/// Says what to do about a listening socket that could not be bound.
fn bind_hint(source: &io::Error) -> &'static str {
    hint(
        source,
        &[
            (ErrorKind::AddrInUse, ": the port is in use by another program, choose another with `--port`"),
            (ErrorKind::PermissionDenied, ": the port needs privileges, choose one above 1023 with `--port`"),
            (ErrorKind::AddrNotAvailable, ": this machine has no such address, choose one of its own with `--host`"),
        ],
    )
}

fn hint(source: &io::Error, hints: &[(ErrorKind, &'static str)]) -> &'static str {
    hints.iter().find(|(kind, _)| *kind == source.kind()).map_or("", |(_, hint)| hint)
}
