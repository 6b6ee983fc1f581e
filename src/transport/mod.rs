//! Connections, framed into protocol messages: TCP, TCP with TLS over it, and an in-memory pair that behaves alike for
//! tests.
//!
//! Owns sockets, their options, and every limit on what a peer may make this process read, buffer or wait for. It never
//! looks inside a message, never retries by itself, and never decides what a broken connection means.
//!
//! The session code of each role is the caller. One thread reads with a [`FrameReader`], any thread writes to an
//! [`Outbox`], and [`Stream::close`] from any thread ends both. Each kind of connection is one file in `link/`, behind
//! one contract (`link/mod.rs`).

mod absence;
mod backoff;
mod buffer;
mod error;
mod frame;
mod link;
mod listener;
mod outbox;
mod reader;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

pub use absence::Absence;
pub use backoff::{Backoff, REFUSED_PAUSE};
#[cfg(any(test, fuzzing))]
pub(crate) use buffer::BUSY_BYTES;
pub use error::TransportError;
pub use frame::{Frame, write_frame};
pub use listener::Listener;
pub use outbox::{LastWord, Outbox, WeakOutbox};
pub use reader::FrameReader;
pub use stream::Stream;
pub use tls::{AuthorityKey, CertificateError, TlsError, TlsServer, pinned_client};
