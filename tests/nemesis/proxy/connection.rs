//! One connection through a link: two sockets, two pumps, and what has been done to it.

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
    /// Both ends learn of it in order.
    Close,
    /// Both ends learn of it by a reset.
    Reset,
    /// A reset in the middle of the next message of this way, after so many of its bytes.
    MidLine(Way, usize),
    /// Nothing passes any more, and nobody learns of it. What is under way is never delivered.
    Silent,
    /// Nothing passes this way until then; later it all arrives.
    OneWay(Way, Instant),
    /// Nothing passes either way until then; later it all arrives.
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
    /// Until when nothing passes, up and down.
    held: [Option<Instant>; 2],
    /// After how many bytes the next message is torn, up and down.
    torn: [Option<usize>; 2],
    is_silent: bool,
    /// Messages to be said in between, up.
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
            // Who does not read for so long has the connection cut, so that a pump ends.
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

    /// Nothing of it is left to be cut.
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

    /// Lets go what is held back; ends what was cut without a word.
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

    /// Whether anything passes this way now.
    pub(super) fn is_held(&self, way: Way) -> bool {
        let state = lock(&self.state);
        state.is_silent || state.held[way as usize].is_some_and(|until| now() < until)
    }

    /// Where the next message is to be torn.
    pub(super) fn torn(&self, way: Way) -> Option<usize> {
        lock(&self.state).torn[way as usize].take()
    }

    /// One direction ends in order; whether the other has already.
    pub(super) fn is_second_end(&self) -> bool {
        std::mem::replace(&mut lock(&self.state).is_half_over, true)
    }

    /// An announcement will have two answers.
    pub(super) fn expect_two(&self) {
        lock(&self.state).doubled += 1;
    }

    /// How many answers follow the one that is passed on now and were not asked for.
    pub(super) fn take_expected(&self) -> usize {
        std::mem::take(&mut lock(&self.state).doubled)
    }

    /// Ends it for both; the pumps notice.
    pub(super) fn end(&self, with_reset: bool) {
        self.is_over.store(true, Ordering::Release);
        for socket in [&self.client, &self.server] {
            if with_reset {
                // A reset is what a close sends that does not linger; it comes with the last handle's end.
                rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)).ok();
            } else {
                // It may have ended meanwhile.
                socket.shutdown(Shutdown::Both).ok();
            }
        }
    }
}
