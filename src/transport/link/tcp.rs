//! A TCP socket, with the options that make the kernel notice a dead peer.
//!
//! Both directions use one descriptor: two for each of 10,000 peers would exceed the usual limit. The kernel has every
//! byte that was accepted, so nothing is ever pending.

use std::io::{self, ErrorKind, IoSlice, Read};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg, sockopt};

use super::{Link, WRITE_PATIENCE};
use crate::clock;
use crate::model::Address;

/// Silence on a connection before the kernel sends the first keepalive probe.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// Time between two keepalive probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Unanswered probes after which the connection is broken.
const KEEPALIVE_PROBES: u32 = 3;
/// The connection breaks if sent bytes stay unacknowledged, or the receive window stays closed, for this long.
const USER_TIMEOUT_MS: u32 = 20_000;

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: TcpStream,
    peer: SocketAddr,
    /// The socket's timeouts in nanoseconds, 0 for none. They spare a system call if a timeout is right already.
    read_timeout_ns: AtomicU64,
    write_timeout_ns: AtomicU64,
}

impl Socket {
    /// Dials the host's addresses in the resolver's order. Each gets an equal share of the time that is left, so that
    /// an address that swallows packets does not use up all of it.
    pub(crate) fn dial(address: &Address, timeout: Duration) -> io::Result<Self> {
        let places: Vec<_> = (address.host.as_str(), address.port).to_socket_addrs()?.collect();
        let deadline = clock::instant() + timeout;
        let mut failure = io::Error::new(ErrorKind::NotFound, "the host name has no address");
        for (tried, place) in places.iter().enumerate() {
            let left = deadline.saturating_duration_since(clock::instant());
            let others = u32::try_from(places.len() - tried).unwrap_or(u32::MAX);
            // A timeout of zero would be an error.
            let share = (left / others).max(Duration::from_millis(1));
            match TcpStream::connect_timeout(place, share) {
                Ok(socket) => {
                    let peer = socket.peer_addr()?;
                    return Self::new(socket, peer);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Takes over a connected socket, dialled or accepted.
    pub(crate) fn new(socket: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(WRITE_PATIENCE))?;
        sockopt::set_socket_keepalive(&socket, true)?;
        sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_PROBES)?;
        sockopt::set_tcp_user_timeout(&socket, USER_TIMEOUT_MS)?;
        let write_timeout_ns = AtomicU64::new(nanos(WRITE_PATIENCE));
        Ok(Self { socket, peer, read_timeout_ns: AtomicU64::new(0), write_timeout_ns })
    }
}

impl Link for Socket {
    fn read(&self, into: &mut [u8], wait: Option<Duration>) -> io::Result<usize> {
        let wait = wait.map(at_least_a_millisecond);
        let wait_ns = wait.map_or(0, nanos);
        // One thread reads, so the socket and this copy of its timeout cannot disagree.
        if self.read_timeout_ns.swap(wait_ns, Ordering::Relaxed) != wait_ns {
            self.socket.set_read_timeout(wait)?;
        }
        (&mut &self.socket).read(into)
    }

    fn write_some(&self, slices: &[IoSlice<'_>], wait: Duration) -> io::Result<usize> {
        let mut flags = SendFlags::NOSIGNAL;
        if wait.is_zero() {
            // The flag concerns this call only: a non-blocking socket would not let the reading thread wait either.
            flags |= SendFlags::DONTWAIT;
        } else {
            let wait = at_least_a_millisecond(wait);
            // One thread at a time writes, so the socket and this copy of its timeout cannot disagree.
            if self.write_timeout_ns.swap(nanos(wait), Ordering::Relaxed) != nanos(wait) {
                self.socket.set_write_timeout(Some(wait))?;
            }
        }
        Ok(sendmsg(&self.socket, slices, &mut SendAncillaryBuffer::default(), flags)?)
    }

    fn finish(&self) {
        // It fails only if the connection is gone already.
        self.socket.shutdown(Shutdown::Write).unwrap_or_default();
    }

    fn close(&self) {
        // It fails only if the connection is gone already.
        self.socket.shutdown(Shutdown::Both).unwrap_or_default();
    }

    fn has_unread(&self) -> bool {
        // A broken socket has nothing to read.
        rustix::io::ioctl_fionread(&self.socket).is_ok_and(|count| count > 0)
    }

    fn peer(&self) -> String {
        self.peer.to_string()
    }

    fn peer_ip(&self) -> Option<IpAddr> {
        Some(self.peer.ip().to_canonical())
    }

    #[cfg(test)]
    fn socket(&self) -> Option<&TcpStream> {
        Some(&self.socket)
    }
}

/// The kernel counts in milliseconds or coarser, and takes 0 for no timeout at all.
fn at_least_a_millisecond(wait: Duration) -> Duration {
    wait.max(Duration::from_millis(1))
}

fn nanos(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)
}
