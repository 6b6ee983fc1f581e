//! The contract between the transport and a kind of connection. One file for each kind: [`tcp`], [`memory`], [`tls`].
//!
//! A link moves bytes and knows nothing of messages. It may accept bytes before it hands them to the kernel, as an
//! encrypted connection does: [`Link::write_some`] says how many bytes it *accepted*, [`Link::pending`] how many of the
//! accepted bytes are *not gone* yet, and [`Link::flush`] hands them on. A link without a buffer of its own is never
//! pending.
//!
//! The callers' side: one thread reads, and one thread at a time writes or flushes; the two run at the same time.
//! [`Link::close`] and the questions ([`Link::pending`], [`Link::has_unread`], [`Link::peer`]) may come from any thread
//! at any time. A link whose reader and writer share state (an encrypted one) guards it with a lock that it never holds
//! while it waits for the socket.
//!
//! [`super::Stream`] is the only caller. `transport/tests` runs the same stories over each kind, and over a link that
//! holds bytes back.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::time::Duration;

pub(super) mod memory;
pub(super) mod tcp;
pub(super) mod tls;

/// A write that makes no progress for this long is given up.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// Both directions of one connection.
pub(super) trait Link: fmt::Debug + Send + Sync {
    /// Like `read(2)`: waits for at least one byte, for `wait` at most; `None` waits for ever. Returns 0 at the end of
    /// the stream, and `WouldBlock` if nothing came in time.
    fn read(&self, into: &mut [u8], wait: Option<Duration>) -> io::Result<usize>;

    /// Like `writev(2)`: accepts as many bytes as there is room for, and waits for room for at least one, for `wait` at
    /// most. A `wait` of zero does not wait. Returns `WouldBlock` if there was no room in time.
    fn write_some(&self, slices: &[IoSlice<'_>], wait: Duration) -> io::Result<usize>;

    /// The number of accepted bytes, an end included, that have not been handed to the kernel.
    fn pending(&self) -> usize {
        0
    }

    /// Hands some pending bytes to the kernel, and waits for room for at least one, for `wait` at most. Returns
    /// `WouldBlock` if there was no room in time. Does nothing if nothing is pending.
    fn flush(&self, _wait: Duration) -> io::Result<()> {
        Ok(())
    }

    /// Ends the direction to the peer, behind everything that was written. Does not wait: the end itself may be pending
    /// afterwards. Calling it again changes nothing. Reading goes on.
    fn finish(&self);

    /// Ends both directions at once. A read or write that waits in another thread returns; pending bytes are lost.
    fn close(&self);

    /// Whether bytes have arrived that were not read yet.
    fn has_unread(&self) -> bool;

    /// The other side, for logs.
    fn peer(&self) -> String;

    /// The address of the other side's machine; `None` if it is this process.
    fn peer_ip(&self) -> Option<IpAddr> {
        None
    }

    /// Whether nobody between the two sides can read the bytes.
    fn is_encrypted(&self) -> bool {
        false
    }

    #[cfg(test)]
    fn socket(&self) -> Option<&std::net::TcpStream> {
        None
    }
}
