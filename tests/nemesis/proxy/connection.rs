//! One connection through a link: two ends, two pumps, and the faults that apply to it.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::Connection as Secure;
use surveil::threads;
use surveil::transport::pinned_client;

use super::end::End;
use super::pump::{READ_EVERY, pump};
use super::{Frame, Shared, Way, lock};
use crate::harness::now;
use crate::wait;

/// The first byte of a TLS connection: the type of a handshake record.
const TLS_HANDSHAKE: u8 = 22;

/// A way to lose a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// Both ends see an orderly end.
    Close,
    /// Both ends see a reset.
    Reset,
    /// A reset in the middle of the next message in this direction, after this many of its bytes.
    MidLine(Way, usize),
    /// One encrypted byte of the next message in this direction is changed, the one at this place. The ends notice.
    Flip(Way, usize),
    /// Nothing passes any more, without an end or a reset. Messages on their way are never delivered.
    Silent,
    /// Nothing passes in this direction until then; later all of it arrives.
    OneWay(Way, Instant),
    /// Nothing passes in either direction until then; later all of it arrives.
    Hole(Instant),
}

pub(crate) struct Connection {
    pub(crate) number: u64,
    pub(super) client: End,
    pub(super) server: End,
    state: Mutex<State>,
    is_over: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Times until which nothing passes, up and down.
    held: [Option<Instant>; 2],
    /// Number of bytes after which the next message is torn, up and down.
    torn: [Option<usize>; 2],
    /// Place of the byte of the next message that is changed, up and down.
    flips: [Option<usize>; 2],
    /// A changed byte was delivered.
    is_flipped: bool,
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
        let (client, server) = (End::new(client), End::new(server));
        let connection = Arc::new(Self { number, client, server, state: Mutex::default(), is_over });
        // The threads end with the connection, which they keep open.
        let begin = {
            let (connection, shared) = (connection.clone(), shared.clone());
            move || {
                if !connection.enter(&shared) {
                    return connection.abandon(&shared);
                }
                let other = {
                    let (connection, shared) = (connection.clone(), shared.clone());
                    move || pump(&connection, Way::Down, &shared)
                };
                threads::spawn_large("pump", other).unwrap().detach();
                pump(&connection, Way::Up, &shared);
            }
        };
        threads::spawn_large("pump", begin).unwrap().detach();
        connection
    }

    /// Waits for the first byte and makes both handshakes if it begins one: first with the dispatcher, so that a peer
    /// waits for a dispatcher that stands still. Returns false if the connection is over.
    fn enter(&self, shared: &Shared) -> bool {
        loop {
            while (self.is_held(Way::Up) || self.is_held(Way::Down)) && !self.is_over() {
                wait(5);
            }
            if self.is_over() {
                return false;
            }
            match self.client.first_byte() {
                Ok(Some(first)) => {
                    let is_encrypted = first == TLS_HANDSHAKE;
                    shared.kinds[usize::from(is_encrypted)].fetch_add(1, Ordering::AcqRel);
                    return !is_encrypted || self.encrypt(shared).is_ok();
                }
                Ok(None) => return true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
            // The dispatcher gives up a peer that says nothing, and tells it so in plain text.
            match self.server.first_byte() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => return true,
            }
        }
    }

    fn encrypt(&self, shared: &Shared) -> io::Result<()> {
        let ((tls, pin), goes_on) = (shared.tls(), || !self.is_over());
        self.server.encrypt(Secure::from(pinned_client(&[*pin]).unwrap()), goes_on)?;
        self.client.encrypt(Secure::from(tls.connection().unwrap()), goes_on)
    }

    /// Ends a connection on which nothing has passed.
    fn abandon(&self, shared: &Shared) {
        self.end(true);
        lock(&shared.connections).retain(|connection| !connection.is_over());
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
            Cut::Flip(way, place) => lock(&self.state).flips[way as usize] = Some(place),
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

    /// Takes the place at which the next message is to be changed, if it is.
    pub(super) fn flip(&self, way: Way) -> Option<usize> {
        lock(&self.state).flips[way as usize].take()
    }

    /// Notes that a changed byte is delivered.
    pub(super) fn note_flip(&self) {
        lock(&self.state).is_flipped = true;
    }

    pub(super) fn is_flipped(&self) -> bool {
        lock(&self.state).is_flipped
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
        for end in [&self.client, &self.server] {
            end.cut(with_reset);
        }
    }
}
