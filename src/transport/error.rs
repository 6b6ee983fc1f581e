//! What can go wrong with a connection, as callers branch on it. Every file of this room returns it.

use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::model::Address;
use crate::protocol::codec::CodecError;
use crate::protocol::limits::MAX_PAYLOAD_BYTES;

/// What went wrong with a connection.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection came about.
    #[error("could not connect to {address}{}", dial_hint(.source))]
    Dial { address: Address, source: io::Error },
    /// The listening socket could not be had.
    #[error("could not listen at {address}{}", bind_hint(.source))]
    Bind { address: Address, source: io::Error },
    /// The connection broke: reset, unreachable, or nothing was acknowledged for too long.
    #[error("the connection to the peer broke")]
    Closed(#[source] io::Error),
    /// The peer ended the connection inside a line.
    #[error("the peer closed the connection in the middle of a message")]
    EndOfStream,
    /// The peer ended the connection inside a payload.
    #[error("the peer closed the connection {missing} bytes before the end of a payload of {len}")]
    ShortPayload { len: u64, missing: u64 },
    /// What was being read was not complete in time. After a line the reader may be asked again and goes on where it
    /// was; inside a payload there is no going on.
    #[error("no complete message within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The peer took nothing, or very little, for longer than a write may take.
    #[error("the peer does not take what it is sent: {} s passed with next to none of it", .0.as_secs())]
    Stalled(Duration),
    /// The line was read and is not a message of the kind that was expected.
    #[error("what the peer sent is not a message")]
    Malformed(#[source] CodecError),
    /// A well-formed message whose type is not one of those expected. It is skipped together with its payload, so that
    /// the session may go on.
    #[error("the message type `{name}` is not known here")]
    UnknownType { name: String },
    /// The line is longer than allowed; the rest of it was not read. The session cannot go on.
    #[error("the peer sent a line of more than {max} bytes")]
    LineTooLong { max: usize },
    /// More payload was announced than is allowed; none of it was read. The session cannot go on.
    #[error("the peer announced a payload of {len} bytes, at most {MAX_PAYLOAD_BYTES} are allowed")]
    PayloadTooLong { len: u64 },
    /// The system refused something else.
    #[error("could not {doing}")]
    Io { doing: &'static str, source: io::Error },
}

impl TransportError {
    /// A failed read or write: most of these mean that the peer is gone.
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

/// What a failed dial means to the person who reads of it.
fn dial_hint(source: &io::Error) -> &'static str {
    hint(
        source,
        &[
            (ErrorKind::ConnectionRefused, ": no dispatcher listens there"),
            (ErrorKind::TimedOut, ": nothing answers there"),
        ],
    )
}

/// What to do about a listening socket that was not to be had.
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
