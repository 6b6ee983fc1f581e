//! The listening side: binds, accepts, survives what goes wrong with single connections or for lack of descriptors.
//! The `accept` thread of a dispatcher and a listening runner call it; it never reads from what it accepted.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Stream, TransportError};
use crate::model::Address;

/// Connections the kernel keeps until they are accepted; std's 128 make 10,000 runners that come back take a minute.
const BACKLOG: i32 = 4096;
/// Waiting for descriptors or memory to come free.
const SHORTAGE_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// One warning for so many waits in a row: every ten seconds.
const SHORTAGE_WARN_EVERY: u32 = 50;

/// Accepts connections.
#[derive(Debug)]
pub struct Listener {
    /// One for each address of the host, not blocking; never empty.
    sockets: Vec<TcpListener>,
    local: SocketAddr,
    is_closed: AtomicBool,
}

impl Listener {
    /// Binds to every address the host resolves to, all at one port; backlog 4096, SO_REUSEADDR. An address that this
    /// machine cannot use (IPv6 switched off, say) is left out as long as another one remains.
    pub fn bind(address: &Address) -> Result<Self, TransportError> {
        let fail = |source| TransportError::Bind { address: address.clone(), source };
        let places = (address.host.as_str(), address.port).to_socket_addrs().map_err(fail)?;
        let mut sockets: Vec<TcpListener> = Vec::new();
        let mut port = address.port;
        let mut unusable = io::Error::new(ErrorKind::NotFound, "the host name has no address");
        for mut place in places {
            place.set_port(port);
            match listen(place) {
                Ok(socket) => {
                    port = socket.local_addr().map_err(fail)?.port();
                    sockets.push(socket);
                }
                Err(error) if error.kind() == ErrorKind::AddrNotAvailable || error.kind() == ErrorKind::Unsupported => {
                    unusable = error;
                }
                // The resolver may name one address twice.
                Err(_) if sockets.iter().any(|socket| socket.local_addr().is_ok_and(|local| local == place)) => {}
                Err(error) => return Err(fail(error)),
            }
        }
        let Some(first) = sockets.first() else { return Err(fail(unusable)) };
        let local = first.local_addr().map_err(fail)?;
        Ok(Self { sockets, local, is_closed: AtomicBool::new(false) })
    }

    /// Where it listens, with the real port where 0 was asked for; the first address of several.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Waits for the next connection. `None` once [`Listener::close`] was called.
    ///
    /// A connection that broke before it was accepted is passed over. Too few descriptors or too little memory is
    /// waited out with a warning: the connections that are there go on, and new ones queue in the kernel.
    pub fn accept(&self) -> Result<Option<Stream>, TransportError> {
        let mut shortages = 0;
        while !self.is_closed.load(Ordering::Acquire) {
            let mut has_met_shortage = false;
            for socket in &self.sockets {
                match accept_one(socket) {
                    Ok(Some(stream)) => return Ok(Some(stream)),
                    Ok(None) => {}
                    Err(error) if is_shortage(&error) => {
                        if shortages % SHORTAGE_WARN_EVERY == 0 {
                            log::warn!("cannot accept connections for now: {error} (see `ulimit -n`)");
                        }
                        has_met_shortage = true;
                    }
                    // Closing makes the socket invalid for accept.
                    Err(_) if self.is_closed.load(Ordering::Acquire) => return Ok(None),
                    Err(source) => return Err(TransportError::Io { doing: "accept a connection", source }),
                }
            }
            if has_met_shortage {
                shortages += 1;
                // Only closing wakes this one; the connections that wait must not, or it would spin.
                self.wait(PollFlags::empty(), Some(&SHORTAGE_WAIT))?;
            } else {
                shortages = 0;
                self.wait(PollFlags::IN, None)?;
            }
        }
        Ok(None)
    }

    /// Makes a blocked accept return, and all later ones; from any thread. New connections are refused from here on.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        for socket in &self.sockets {
            // Linux ends the listening and reports a hang-up to whoever polls. A failure means it is done already.
            rustix::net::shutdown(socket, rustix::net::Shutdown::Both).ok();
        }
    }

    fn wait(&self, events: PollFlags, timeout: Option<&Timespec>) -> Result<(), TransportError> {
        let mut fds: Vec<_> = self.sockets.iter().map(|socket| PollFd::new(socket, events)).collect();
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(TransportError::Io { doing: "wait for connections", source: errno.into() }),
        }
    }
}

fn listen(place: SocketAddr) -> io::Result<TcpListener> {
    // On Unix std sets SO_REUSEADDR. Listening once more only changes the backlog.
    let socket = TcpListener::bind(place)?;
    rustix::net::listen(&socket, BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The next connection, or `None` where there is none now, or it broke before it could be taken.
fn accept_one(socket: &TcpListener) -> io::Result<Option<Stream>> {
    let accepted = match socket.accept() {
        Ok(accepted) => accepted,
        Err(error) if error.kind() == ErrorKind::WouldBlock || is_of_one_connection(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (connection, peer) = accepted;
    match Stream::over(connection, peer) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => {
            log::debug!("connection from {peer} broke at once: {error}");
            Ok(None)
        }
    }
}

/// Errors that Linux passes on from the new connection, or a signal; the listening socket is fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    let passed_on = [
        Errno::INTR,
        Errno::CONNABORTED,
        Errno::PERM,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::NETDOWN,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::NETUNREACH,
        Errno::TIMEDOUT,
    ];
    Errno::from_io_error(error).is_some_and(|errno| passed_on.contains(&errno))
}

fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
}
