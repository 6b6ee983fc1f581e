//! One connection: a TCP socket with the options that make a dead peer noticed, or an end of an in-memory pair.
//!
//! Both halves work through one descriptor, because two for each of 10,000 peers would pass the usual limit. Nothing
//! here frames or interprets bytes. [`super::FrameReader`] reads from it, [`super::Outbox`] writes to it.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::{SendFlags, sockopt};

use super::TransportError;
use super::memory::End;
use crate::clock;
use crate::model::Address;

/// Silence on a connection before the kernel asks whether the peer is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// Between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Unanswered questions after which the connection is broken.
const KEEPALIVE_PROBES: u32 = 3;
/// Sent bytes unacknowledged, or a receive window closed, for this long break the connection.
const USER_TIMEOUT_MS: u32 = 20_000;
/// A write that gets rid of nothing for this long is given up.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// What a write may take longer for each byte: a peer that reads more slowly than the slowest useful link is given up.
const WRITE_PER_BYTE: Duration = Duration::from_millis(2);
/// What is read and thrown away, at most, while hanging up.
const HANG_UP_BYTES: usize = 1 << 20;

/// Both directions of a connection. Clones share it; reading and writing from two threads is fine. It closes when the
/// last clone is dropped.
#[derive(Debug, Clone)]
pub struct Stream {
    link: Arc<Link>,
}

#[derive(Debug)]
enum Link {
    Tcp {
        socket: TcpStream,
        peer: SocketAddr,
        /// The socket's read timeout in nanoseconds, 0 for none; spares a system call where it is right already.
        read_timeout_ns: AtomicU64,
    },
    Memory(End),
}

impl Stream {
    /// Dials, trying each address that the host name resolves to, with keepalive, TCP_NODELAY and TCP_USER_TIMEOUT set.
    /// Resolving the name is not part of `timeout`: that is in the hands of the system's resolver.
    pub fn dial(address: &Address, timeout: Duration) -> Result<Self, TransportError> {
        let fail = |source| TransportError::Dial { address: address.clone(), source };
        let socket = connect(address, timeout).map_err(fail)?;
        let peer = socket.peer_addr().map_err(fail)?;
        Self::over(socket, peer).map_err(fail)
    }

    /// Two ends of an in-memory connection.
    pub fn pair() -> (Self, Self) {
        Self::pair_with(None, WRITE_PATIENCE)
    }

    /// The same, with little room in flight or less patience.
    pub(super) fn pair_with(capacity: Option<usize>, write_patience: Duration) -> (Self, Self) {
        let (one, other) = End::pair(capacity, write_patience);
        (Self { link: Arc::new(Link::Memory(one)) }, Self { link: Arc::new(Link::Memory(other)) })
    }

    /// Takes over a connected socket, dialled or accepted.
    pub(super) fn over(socket: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(WRITE_PATIENCE))?;
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_PROBES)?;
        sockopt::set_tcp_user_timeout(&socket, USER_TIMEOUT_MS)?;
        Ok(Self { link: Arc::new(Link::Tcp { socket, peer, read_timeout_ns: AtomicU64::new(0) }) })
    }

    /// Ends both directions; a blocked read or write in another thread returns.
    pub fn close(&self) {
        match &*self.link {
            // It fails only where the connection is gone already.
            Link::Tcp { socket, .. } => socket.shutdown(Shutdown::Both).unwrap_or_default(),
            Link::Memory(end) => end.close(),
        }
    }

    /// Whether bytes have arrived that nobody has read yet.
    pub fn has_unread(&self) -> bool {
        match &*self.link {
            // A broken socket has nothing to read.
            Link::Tcp { socket, .. } => rustix::io::ioctl_fionread(socket).is_ok_and(|count| count > 0),
            Link::Memory(_) => false,
        }
    }

    /// Says that nothing more will be written. What was written arrives, then the peer sees the end; reading goes on.
    pub fn finish(&self) {
        match &*self.link {
            Link::Tcp { socket, .. } => socket.shutdown(Shutdown::Write).unwrap_or_default(),
            Link::Memory(end) => end.finish(),
        }
    }

    /// Closes so that the peer can read the last message, a refusal mostly: finishes, throws away what the peer still
    /// sends until it closes too, for `patience` and 1 MiB at most, then closes. To close with unread bytes would reset
    /// the connection, and a reset overtakes what was written.
    pub fn hang_up(&self, patience: Duration) {
        self.finish();
        let deadline = clock::instant() + patience;
        let mut discarded = 0;
        let mut scrap = [0; 4096];
        while discarded < HANG_UP_BYTES {
            let left = deadline.saturating_duration_since(clock::instant());
            if left.is_zero() {
                break;
            }
            match self.read(&mut scrap, Some(left)) {
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
        match &*self.link {
            Link::Tcp { peer, .. } => peer.to_string(),
            Link::Memory(_) => "memory".to_owned(),
        }
    }

    /// As `read(2)`, waiting `wait` at most: then `WouldBlock`.
    pub(super) fn read(&self, into: &mut [u8], wait: Option<Duration>) -> io::Result<usize> {
        match &*self.link {
            Link::Memory(end) => end.read(into, wait),
            Link::Tcp { socket, read_timeout_ns, .. } => {
                // The kernel counts in milliseconds or coarser, and 0 would mean for ever.
                let wait = wait.map(|wait| wait.max(Duration::from_millis(1)));
                let wait_ns = wait.map_or(0, |wait| u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
                // One thread reads, so there is no race on it.
                if read_timeout_ns.swap(wait_ns, Ordering::Relaxed) != wait_ns {
                    socket.set_read_timeout(wait)?;
                }
                (&mut &*socket).read(into)
            }
        }
    }

    /// Writes as much as goes without waiting, and says how much that was.
    pub fn write_at_once(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &*self.link {
            Link::Tcp { socket, .. } => {
                rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map_err(io::Error::from)
            }
            Link::Memory(end) => end.write_at_once(bytes),
        };
        match written {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            other => other,
        }
    }

    /// Writes one buffer after the other, whole. A peer that takes nothing for half a minute is given up, and so is one
    /// that takes a little now and then.
    pub(super) fn write_both(&self, first: &[u8], second: &[u8]) -> Result<(), TransportError> {
        self.write_within(first, second, WRITE_PATIENCE)
    }

    pub(super) fn write_within(&self, first: &[u8], second: &[u8], patience: Duration) -> Result<(), TransportError> {
        let mut slices = [IoSlice::new(first), IoSlice::new(second)];
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, 0);
        // Most writes are whole at once, and look at no clock.
        let mut deadline = None;
        while !rest.is_empty() {
            let written = match &*self.link {
                Link::Tcp { socket, .. } => (&mut &*socket).write_vectored(rest),
                Link::Memory(end) => end.write(&rest[0]),
            };
            match written {
                Ok(0) => return Err(TransportError::Closed(ErrorKind::WriteZero.into())),
                Ok(count) => {
                    IoSlice::advance_slices(&mut rest, count);
                    if rest.is_empty() {
                        break;
                    }
                    let left = rest.iter().map(|slice| slice.len()).sum::<usize>();
                    let slowest = patience + WRITE_PER_BYTE * u32::try_from(left).unwrap_or(u32::MAX);
                    let now = clock::instant();
                    if now >= *deadline.get_or_insert(now + slowest) {
                        return Err(TransportError::Stalled(patience));
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(TransportError::Stalled(patience));
                }
                Err(error) => return Err(TransportError::io("write to the peer", error)),
            }
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn socket(&self) -> &TcpStream {
        match &*self.link {
            Link::Tcp { socket, .. } => socket,
            Link::Memory(_) => panic!("an in-memory stream has no socket"),
        }
    }
}

/// Tries the host's addresses in the resolver's order. Each gets an equal share of the time that is left, so that one
/// that swallows packets does not use up everything.
fn connect(address: &Address, timeout: Duration) -> io::Result<TcpStream> {
    let places: Vec<_> = (address.host.as_str(), address.port).to_socket_addrs()?.collect();
    let deadline = clock::instant() + timeout;
    let mut failure = io::Error::new(ErrorKind::NotFound, "the host name has no address");
    for (tried, place) in places.iter().enumerate() {
        let left = deadline.saturating_duration_since(clock::instant());
        let others = u32::try_from(places.len() - tried).unwrap_or(u32::MAX);
        let share = (left / others).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(place, share) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
