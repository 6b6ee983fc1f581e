//! The listening side: binds and accepts, and survives errors of single connections and a lack of descriptors. The
//! `accept` thread of a dispatcher and a listening runner call it. It never reads from a connection.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{Stream, TransportError};
use crate::model::Address;

/// Connections that the kernel queues until they are accepted. With std's 128, 10,000 reconnecting runners take a
/// minute.
const BACKLOG: i32 = 4096;
/// Pause between two tries while descriptors or memory are short.
const SHORTAGE_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// Consecutive pauses for each warning: one warning every ten seconds.
const SHORTAGE_WARN_EVERY: u32 = 50;

/// Accepts connections.
#[derive(Debug)]
pub struct Listener {
    /// One non-blocking socket for each address of the host; never empty.
    sockets: Vec<TcpListener>,
    local: SocketAddr,
    is_closed: AtomicBool,
}

impl Listener {
    /// Binds to every address that the host resolves to, all at one port, with backlog 4096 and SO_REUSEADDR. Leaves
    /// out an address that this machine cannot use (such as IPv6 if it is switched off), unless it is the only one.
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

    /// Whether [`bind`](Self::bind) would succeed now. Does not listen: a program that waits for the port must not take
    /// this look for its dispatcher.
    pub fn is_free(address: &Address) -> bool {
        let Ok(places) = (address.host.as_str(), address.port).to_socket_addrs() else { return false };
        let results: Vec<io::Result<()>> = places.map(bind_only).collect();
        let is_absent =
            |error: &io::Error| matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported);
        results.iter().any(Result::is_ok) && results.iter().all(|result| result.as_ref().err().is_none_or(is_absent))
    }

    /// Whether the address is one of this machine's beyond loopback: nobody else can bind it.
    pub fn is_of_this_machine(address: &Address) -> bool {
        let Ok(places) = (address.host.as_str(), 0).to_socket_addrs() else { return false };
        let is_own = |place: SocketAddr| {
            let ip = place.ip().to_canonical();
            !ip.is_loopback() && !ip.is_unspecified() && bind_only(place).is_ok()
        };
        let found: Vec<bool> = places.map(is_own).collect();
        !found.is_empty() && found.into_iter().all(|is_own| is_own)
    }

    /// The address at which it listens, the first of several, with the real port if port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Waits for the next connection. `None` once [`Listener::close`] was called.
    ///
    /// Skips a connection that broke before it was accepted. If descriptors or memory are short, warns and tries again:
    /// present connections go on, and new ones queue in the kernel.
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
                // Only closing wakes this wait. If waiting connections woke it, this loop would spin.
                self.wait(PollFlags::empty(), Some(&SHORTAGE_WAIT))?;
            } else {
                shortages = 0;
                // A connection that has arrived since `accept` ends this wait at once, so none is missed.
                self.wait(PollFlags::IN, None)?;
            }
        }
        Ok(None)
    }

    /// Makes the present and all later calls of accept return; from any thread. New connections are refused from here
    /// on.
    pub fn close(&self) {
        // Set before the sockets end: a thread that wakes in accept must find it.
        self.is_closed.store(true, Ordering::Release);
        for socket in &self.sockets {
            // Linux ends the listening and reports a hang-up to the poll. A failure means that it has ended already.
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

/// Binds a socket as [`listen`] does, without listening, and closes it.
fn bind_only(place: SocketAddr) -> io::Result<()> {
    let family = if place.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A port that an earlier dispatcher left in TIME_WAIT is free. One at which somebody listens is not, despite this.
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(rustix::net::bind(&socket, &place)?)
}

/// Accepts the next connection. `None` if there is none now, or if it broke before it was accepted.
fn accept_one(socket: &TcpListener) -> io::Result<Option<Stream>> {
    let accepted = match socket.accept() {
        Ok(accepted) => accepted,
        Err(error) if error.kind() == ErrorKind::WouldBlock || is_of_one_connection(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (connection, peer) = accepted;
    match Stream::accepted(connection, peer) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => {
            log::debug!("connection from {peer} broke at once: {error}");
            Ok(None)
        }
    }
}

/// Whether the error belongs to the new connection (Linux passes it on) or to a signal; the listening socket is fine.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::bounded;

    use super::*;
    use crate::threads;

    const LONG: Duration = Duration::from_secs(20);

    fn listener() -> Listener {
        Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap()
    }

    fn address_of(listener: &Listener) -> Address {
        listener.local_addr().to_string().parse().unwrap()
    }

    #[test]
    fn a_port_in_use_is_named_with_what_to_do() {
        let listener = listener();
        let address = address_of(&listener);
        let error = Listener::bind(&address).unwrap_err();
        let expected = format!(
            "could not listen at {address}: the port is in use by another program, choose another with `--port`"
        );
        assert_eq!(error.to_string(), expected);
        let error = Listener::bind(&"192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("no such address"), "{error}");
    }

    #[test]
    fn a_port_can_be_taken_again_at_once() {
        let first = listener();
        let address = address_of(&first);
        let (dialled, accepted) = (Stream::dial(&address, LONG).unwrap(), first.accept().unwrap().unwrap());
        // The side that closes first is left in TIME_WAIT.
        accepted.close();
        drop((accepted, first, dialled));
        Listener::bind(&address).unwrap();
    }

    #[test]
    fn a_look_whether_a_port_is_free_sees_who_listens_there_and_is_not_seen_itself() {
        let first = listener();
        let address = address_of(&first);
        assert!(!Listener::is_free(&address));
        let (dialled, accepted) = (Stream::dial(&address, LONG).unwrap(), first.accept().unwrap().unwrap());
        accepted.close();
        drop((accepted, first, dialled));
        assert!(Listener::is_free(&address), "although a connection is left in TIME_WAIT");
        assert!(Listener::is_free(&Address { host: "localhost".into(), port: address.port }));
        assert!(!Listener::is_free(&"192.0.2.1:9000".parse().unwrap()), "no address of this machine");
        assert!(!Listener::is_free(&"no.such.host.invalid:9000".parse().unwrap()));
    }

    #[test]
    fn closing_a_listener_ends_accept_before_and_during_it() {
        let listener = std::sync::Arc::new(listener());
        let address = address_of(&listener);
        let (begun, has_begun) = bounded(1);
        let accepting = std::sync::Arc::clone(&listener);
        let accept = threads::spawn("accept", move || {
            let first = accepting.accept();
            begun.send(()).unwrap();
            (first, accepting.accept())
        });
        let _dialled = Stream::dial(&address, LONG).unwrap();
        has_begun.recv_timeout(LONG).unwrap();
        listener.close();
        let (first, second) = accept.unwrap().join().unwrap();
        assert!(matches!((first, second), (Ok(Some(_)), Ok(None))));
        assert!(matches!(listener.accept(), Ok(None)));
        assert!(Stream::dial(&address, LONG).is_err());
    }

    #[test]
    fn a_name_is_dialled_at_each_of_its_addresses() {
        let listener = listener();
        let address = Address { host: "localhost".to_owned(), port: listener.local_addr().port() };
        assert!(Stream::dial(&address, LONG).is_ok());
    }

    #[test]
    fn dialling_where_nobody_listens_says_so() {
        let address = address_of(&listener());
        let error = Stream::dial(&address, LONG).unwrap_err();
        assert!(matches!(error, TransportError::Dial { .. }));
        assert_eq!(error.to_string(), format!("could not connect to {address}: no dispatcher listens there"));
        let error = Stream::dial(&"no.such.host.invalid:9000".parse().unwrap(), LONG).unwrap_err();
        assert_eq!(error.to_string(), "could not connect to no.such.host.invalid:9000");
    }

    #[test]
    fn a_name_with_several_addresses_is_listened_at_on_one_port() {
        let listener = Listener::bind(&"localhost:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().port();
        for socket in &listener.sockets {
            let place = socket.local_addr().unwrap();
            assert_eq!(place.port(), port);
            let _dialled = Stream::dial(&place.to_string().parse().unwrap(), LONG).unwrap();
            assert!(listener.accept().unwrap().is_some());
        }
    }

    #[test]
    fn a_shortage_is_told_from_one_bad_connection() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
            assert!(is_shortage(&errno.into()) && !is_of_one_connection(&errno.into()));
        }
        for errno in [Errno::CONNABORTED, Errno::PROTO, Errno::INTR] {
            assert!(is_of_one_connection(&errno.into()) && !is_shortage(&errno.into()));
        }
        assert!(!is_of_one_connection(&Errno::BADF.into()) && !is_shortage(&Errno::BADF.into()));
    }
}
