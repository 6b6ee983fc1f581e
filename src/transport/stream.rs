//! One connection of any kind: whole writes with a deadline, and closing in a way that lets the last message arrive.
//!
//! Nothing here frames or interprets bytes. [`super::FrameReader`] reads from it, [`super::Outbox`] writes to it.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::Connection;

use super::link::{Link, WRITE_PATIENCE, memory, tcp, tls};
use super::tls::{TlsError, pinned};
use super::{TlsServer, TransportError};
use crate::clock;
use crate::model::{Address, Pin};

/// Additional time of a write for each byte. A peer that reads more slowly than the slowest useful link is given up.
const WRITE_PER_BYTE: Duration = Duration::from_millis(2);
/// Bytes that are read and discarded, at most, during [`Stream::hang_up`].
const HANG_UP_BYTES: usize = 1 << 20;

/// Both directions of a connection. Clones share it; reading and writing from two threads is fine. It closes when the
/// last clone is dropped.
#[derive(Debug, Clone)]
pub struct Stream {
    link: Arc<dyn Link>,
}

impl Stream {
    /// Dials each address that the host name resolves to until one answers. The connection has keepalive, TCP_NODELAY
    /// and TCP_USER_TIMEOUT set. `timeout` does not cover the resolution of the name, which the system's resolver
    /// limits.
    pub fn dial(address: &Address, timeout: Duration) -> Result<Self, TransportError> {
        let dialled = tcp::Socket::dial(address, timeout);
        dialled.map(Self::over).map_err(|source| TransportError::Dial { address: address.clone(), source })
    }

    /// Dials, and encrypts the connection if there are pins: see [`Stream::encrypt`]. Each of the two steps has the
    /// whole `timeout`.
    pub fn dial_pinned(address: &Address, timeout: Duration, pins: &[Pin]) -> Result<Self, TransportError> {
        let stream = Self::dial(address, timeout)?;
        if pins.is_empty() { Ok(stream) } else { stream.encrypt(pins, timeout) }
    }

    /// Makes an encrypted connection of this one, as the client: the other side must be the dispatcher with one of
    /// these pins. Nothing has been read or written before. This stream is to be used only to close the connection from
    /// here on.
    pub fn encrypt(&self, pins: &[Pin], timeout: Duration) -> Result<Self, TransportError> {
        let connection = pinned::client(pins).map(Connection::from);
        self.encrypted(connection, Vec::new(), timeout)
    }

    /// Makes an encrypted connection of this one, as the dispatcher. `received` was read from this stream already.
    pub fn encrypt_as(&self, server: &TlsServer, received: Vec<u8>, timeout: Duration) -> Result<Self, TransportError> {
        self.encrypted(server.connection().map(Connection::from), received, timeout)
    }

    fn encrypted(
        &self,
        connection: Result<Connection, rustls::Error>,
        received: Vec<u8>,
        timeout: Duration,
    ) -> Result<Self, TransportError> {
        let below = self.link.clone();
        let made = connection.map_err(TlsError::of);
        let made = made.and_then(|connection| tls::Encrypted::over(below, connection, received, timeout));
        made.map(Self::over).map_err(|error| TransportError::Tls { peer: self.peer(), source: Box::new(error) })
    }

    /// Takes over a socket that was accepted.
    pub(super) fn accepted(socket: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        tcp::Socket::new(socket, peer).map(Self::over)
    }

    /// The two ends of an in-memory connection.
    pub fn pair() -> (Self, Self) {
        Self::pair_with(None)
    }

    /// Like [`Stream::pair`], but with `capacity` as the number of bytes in flight.
    pub(super) fn pair_with(capacity: Option<usize>) -> (Self, Self) {
        let (one, other) = memory::PairEnd::pair(capacity);
        (Self::over(one), Self::over(other))
    }

    pub(super) fn over(link: impl Link + 'static) -> Self {
        Self { link: Arc::new(link) }
    }

    /// Ends both directions; a blocked read or write in another thread returns.
    pub fn close(&self) {
        self.link.close();
    }

    /// Whether bytes have arrived that were not read yet.
    pub fn has_unread(&self) -> bool {
        self.link.has_unread()
    }

    /// Ends the direction to the peer. Written bytes arrive, then the peer sees the end; reading goes on. Does not
    /// wait, so the end may be [`Stream::pending`] afterwards.
    pub fn finish(&self) {
        self.link.finish();
    }

    /// Closes in a way that lets the peer read the last message, mostly a refusal: finishes, then discards what the
    /// peer still sends until it closes too, for `patience` and `HANG_UP_BYTES` at most, then closes. Closing with
    /// unread bytes would reset the connection, and a reset overtakes written bytes.
    pub fn hang_up(&self, patience: Duration) {
        let deadline = clock::instant() + patience;
        let left = || deadline.saturating_duration_since(clock::instant());
        self.finish();
        while self.pending() > 0 && !left().is_zero() {
            if self.link.flush(left()).is_err_and(|error| error.kind() != ErrorKind::Interrupted) {
                break;
            }
        }
        let mut discarded = 0;
        let mut scrap = [0; 4096];
        while discarded < HANG_UP_BYTES && !left().is_zero() {
            match self.read(&mut scrap, Some(left())) {
                Ok(0) => break,
                Ok(count) => discarded += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Nothing more can be done for this peer.
                Err(_) => break,
            }
        }
        self.close();
    }

    /// The other side, for logs.
    pub fn peer(&self) -> String {
        self.link.peer()
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.link.is_encrypted()
    }

    /// The address of the other side's machine; `None` if it is this process.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        self.link.peer_ip()
    }

    /// Like `read(2)`, but waits for `wait` at most and then returns `WouldBlock`.
    pub(super) fn read(&self, into: &mut [u8], wait: Option<Duration>) -> io::Result<usize> {
        self.link.read(into, wait)
    }

    /// The number of written bytes that the connection still holds, because the kernel had no room for them.
    pub(super) fn pending(&self) -> usize {
        self.link.pending()
    }

    /// Writes as many bytes as possible without waiting, pending ones first; returns how many of `bytes` were accepted.
    pub fn write_at_once(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut accepted = 0;
        if !bytes.is_empty() {
            accepted = unless_full(self.link.write_some(&[IoSlice::new(bytes)], Duration::ZERO))?;
        }
        // An encrypted connection may have accepted bytes without handing them to the kernel.
        if self.pending() > 0 {
            unless_full(self.link.flush(Duration::ZERO))?;
        }
        Ok(accepted)
    }

    /// Writes two buffers whole, one after the other, and returns when the kernel has all of it. Gives up on a peer
    /// that takes nothing for half a minute, and on one that takes a little now and then.
    pub(super) fn write_both(&self, first: &[u8], second: &[u8]) -> Result<(), TransportError> {
        self.write_within(first, second, WRITE_PATIENCE)
    }

    pub(super) fn write_within(&self, first: &[u8], second: &[u8], patience: Duration) -> Result<(), TransportError> {
        let mut slices = [IoSlice::new(first), IoSlice::new(second)];
        let mut rest = &mut slices[..];
        // Removes empty buffers: writing only those would return 0, like a closed connection.
        IoSlice::advance_slices(&mut rest, 0);
        // Most writes are whole at once, and need no clock.
        let mut deadline = None;
        while !rest.is_empty() || self.pending() > 0 {
            let step = if rest.is_empty() {
                self.link.flush(patience).map(|()| None)
            } else {
                self.link.write_some(rest, patience).map(Some)
            };
            match step {
                Ok(Some(0)) => return Err(TransportError::Closed(ErrorKind::WriteZero.into())),
                Ok(accepted) => IoSlice::advance_slices(&mut rest, accepted.unwrap_or(0)),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(TransportError::Stalled(patience)),
                Err(error) => return Err(TransportError::io("write to the peer", error)),
            }
            let left = rest.iter().map(|slice| slice.len()).sum::<usize>() + self.pending();
            if left > 0 {
                let slowest = patience + WRITE_PER_BYTE * u32::try_from(left).unwrap_or(u32::MAX);
                let now = clock::instant();
                // Set once, so that a peer that reads a byte now and then does not extend it.
                if now >= *deadline.get_or_insert(now + slowest) {
                    return Err(TransportError::Stalled(patience));
                }
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn socket(&self) -> &TcpStream {
        self.link.socket().expect("only a socket is asked for its options")
    }
}

/// Turns "no room now" into nothing done.
fn unless_full<T: Default>(written: io::Result<T>) -> io::Result<T> {
    match written {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(T::default()),
        other => other,
    }
}
