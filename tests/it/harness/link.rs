//! A line between a dispatcher and a peer: slow, if so wanted, and it can go dead without either side being told.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::never;
use surveil::threads;

use super::World;

/// Interval at which a pump checks whether the line is over.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) struct Link {
    address: SocketAddrV4,
    state: Arc<State>,
}

struct State {
    /// Bytes per second in each direction.
    bytes_per_second: Option<u64>,
    is_dead: AtomicBool,
    is_over: AtomicBool,
}

impl Link {
    /// A line to the world's dispatcher; as fast as this machine without a rate.
    pub(crate) fn new(world: &World, bytes_per_second: Option<u64>) -> Self {
        let listener = TcpListener::bind((*world.address().ip(), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = SocketAddrV4::new(*world.address().ip(), port);
        listener.set_nonblocking(true).unwrap();
        let state = State { bytes_per_second, is_dead: AtomicBool::new(false), is_over: AtomicBool::new(false) };
        let link = Self { address, state: Arc::new(state) };
        let (state, far) = (link.state.clone(), world.address());
        // The thread ends soon after the link, and holds nothing but its socket.
        threads::spawn("link", move || accept(&listener, &state, far)).unwrap().detach();
        link
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on nothing passes, and neither side gets an end or a reset.
    pub(crate) fn dies(&self) {
        self.state.is_dead.store(true, Ordering::Release);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Release);
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>, far: SocketAddrV4) {
    while !state.is_over.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((near, _)) => {
                // A client that finds no dispatcher sees the end of its connection.
                let Ok(far) = TcpStream::connect(far) else { continue };
                near.set_nonblocking(false).unwrap();
                let (near, far) = (Arc::new(near), Arc::new(far));
                for (from, to) in [(near.clone(), far.clone()), (far, near)] {
                    let state = state.clone();
                    threads::spawn_large("pump", move || pump(&from, &to, &state)).unwrap().detach();
                }
            }
            Err(_) => pause(LOOK_EVERY),
        }
    }
}

/// Forwards bytes until either side ends.
fn pump(mut from: &TcpStream, mut to: &TcpStream, state: &State) {
    let rate = state.bytes_per_second.unwrap_or(u64::MAX);
    // The bytes of a hundredth of a second, so that a slow link holds little at a time.
    let mut piece = vec![0; usize::try_from(rate / 100).unwrap().clamp(1, 64 << 10)];
    from.set_read_timeout(Some(LOOK_EVERY)).unwrap();
    while !state.is_over.load(Ordering::Acquire) {
        if state.is_dead.load(Ordering::Acquire) {
            pause(LOOK_EVERY);
            continue;
        }
        match from.read(&mut piece) {
            Ok(count @ 1..) => {
                if to.write_all(&piece[..count]).is_err() {
                    break;
                }
                if rate != u64::MAX {
                    pause(Duration::from_micros(count as u64 * 1_000_000 / rate));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => break,
        }
    }
    for socket in [from, to] {
        // The other direction may have closed it.
        socket.shutdown(Shutdown::Both).ok();
    }
}

fn pause(length: Duration) {
    // Nothing ever arrives: the timeout is the pause.
    never::<()>().recv_timeout(length).unwrap_err();
}
