//! One connection through a link: two sockets, two pumps, and the faults that apply to it.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use surveil::threads;

use super::pump::{READ_EVERY, pump};
use super::{Frame, Shared, Way, lock};
use crate::harness::now;

/// A way to lose a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// Both ends see an orderly end.
    Close,
    /// Both ends see a reset.
    Reset,
    /// A reset in the middle of the next message in this direction, after this many of its bytes.
    MidLine(Way, usize),
    /// Nothing passes any more, without an end or a reset. Messages on their way are never delivered.
    Silent,
    /// Nothing passes in this direction until then; later all of it arrives.
    OneWay(Way, Instant),
    /// Nothing passes in either direction until then; later all of it arrives.
    Hole(Instant),
}

pub(crate) struct Connection {
    pub(crate) number: u64,
    pub(super) client: TcpStream,
    pub(super) server: TcpStream,
    state: Mutex<State>,
    is_over: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Times until which nothing passes, up and down.
    held: [Option<Instant>; 2],
    /// Number of bytes after which the next message is torn, up and down.
    torn: [Option<usize>; 2],
    is_silent: bool,
    /// Messages to be inserted, up.
    injected: Vec<Frame>,
    /// Announcements that were passed on twice and not answered yet.
    doubled: usize,
    /// One direction has ended in order.
    is_half_over: bool,
}

impl Connection {
    pub(super) fn begin(number: u64, client: TcpStream, server: TcpStream, shared: &Arc<Shared>) -> Arc<Self> {
        for socket in [&client, &server] {
            socket.set_nodelay(true).unwrap();
            socket.set_read_timeout(Some(READ_EVERY)).unwrap();
            // The connection of a peer that does not read for this long is cut, so that the pump ends.
            socket.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        }
        let is_over = AtomicBool::new(false);
        let connection = Arc::new(Self { number, client, server, state: Mutex::default(), is_over });
        for way in [Way::Up, Way::Down] {
            let (connection, shared) = (connection.clone(), shared.clone());
            // They end with the connection, which they keep open.
            threads::spawn_large("pump", move || pump(&connection, way, &shared)).unwrap().detach();
        }
        connection
    }

    /// Whether the connection has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    pub(crate) fn is_whole(&self) -> bool {
        !self.is_over() && !lock(&self.state).is_silent
    }

    pub(crate) fn cut(&self, cut: Cut) {
        match cut {
            Cut::Close => self.end(false),
            Cut::Reset => self.end(true),
            Cut::MidLine(way, bytes) => lock(&self.state).torn[way as usize] = Some(bytes),
            Cut::Silent => lock(&self.state).is_silent = true,
            Cut::OneWay(way, until) => lock(&self.state).held[way as usize] = Some(until),
            Cut::Hole(until) => lock(&self.state).held = [Some(until); 2],
        }
    }

    /// Releases delayed messages; ends connections that were cut silently.
    pub(super) fn heal(&self) {
        lock(&self.state).held = [None; 2];
        if lock(&self.state).is_silent {
            self.end(true);
        }
    }

    pub(super) fn inject(&self, frame: Frame) {
        lock(&self.state).injected.push(frame);
    }

    pub(super) fn injected(&self) -> Vec<Frame> {
        std::mem::take(&mut lock(&self.state).injected)
    }

    /// Whether messages pass in this direction now.
    pub(super) fn is_held(&self, way: Way) -> bool {
        let state = lock(&self.state);
        state.is_silent || state.held[way as usize].is_some_and(|until| now() < until)
    }

    /// Takes the number of bytes after which the next message is torn, if it is to be torn.
    pub(super) fn torn(&self, way: Way) -> Option<usize> {
        lock(&self.state).torn[way as usize].take()
    }

    /// Notes the orderly end of one direction; returns whether the other has ended already.
    pub(super) fn is_second_end(&self) -> bool {
        std::mem::replace(&mut lock(&self.state).is_half_over, true)
    }

    /// An announcement will have two answers.
    pub(super) fn expect_two(&self) {
        lock(&self.state).doubled += 1;
    }

    /// Number of unrequested answers that follow the one that is forwarded now.
    pub(super) fn take_expected(&self) -> usize {
        std::mem::take(&mut lock(&self.state).doubled)
    }

    /// Ends the connection for both sides; the pumps notice.
    pub(super) fn end(&self, with_reset: bool) {
        self.is_over.store(true, Ordering::Release);
        for socket in [&self.client, &self.server] {
            if with_reset {
                // A close without linger sends a reset, when the last handle is closed.
                rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)).ok();
            } else {
                // The connection may have ended meanwhile.
                socket.shutdown(Shutdown::Both).ok();
            }
        }
    }
}
