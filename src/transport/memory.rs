//! An in-memory connection that behaves like TCP as far as sessions can tell: bounded, with an end, waking whoever is
//! blocked when it closes. Used through [`super::Stream::pair`] only.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{clock, threads};

/// Bytes in flight in one direction before a write waits; about what a loopback socket takes.
const PIPE_BYTES: usize = 64 * 1024;

/// One end of the pair. Dropping it closes it.
#[derive(Debug)]
pub(super) struct End {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
    /// How long a write waits for room.
    write_patience: Duration,
}

impl End {
    /// Two ends, connected. Without a `capacity` about as much is in flight as with a socket.
    pub(super) fn pair(capacity: Option<usize>, write_patience: Duration) -> (Self, Self) {
        let there = Arc::new(Pipe::new(capacity.unwrap_or(PIPE_BYTES)));
        let back = Arc::new(Pipe::new(capacity.unwrap_or(PIPE_BYTES)));
        let one = Self { incoming: Arc::clone(&back), outgoing: Arc::clone(&there), write_patience };
        (one, Self { incoming: there, outgoing: back, write_patience })
    }

    /// As `read(2)`: waits for at least one byte. 0 at the end; `WouldBlock` after `wait`.
    pub(super) fn read(&self, into: &mut [u8], wait: Option<Duration>) -> io::Result<usize> {
        let mut state = self.incoming.wait_until(wait, |state| !state.bytes.is_empty() || state.is_closed)?;
        let count = state.bytes.read(into)?;
        drop(state);
        self.incoming.changed.notify_all();
        Ok(count)
    }

    /// As `write(2)`: waits for room for at least one byte. `WouldBlock` when there was none for too long.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write_within(bytes, self.write_patience)
    }

    /// As a `write(2)` that does not wait.
    pub(super) fn write_at_once(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write_within(bytes, Duration::ZERO)
    }

    fn write_within(&self, bytes: &[u8], patience: Duration) -> io::Result<usize> {
        let capacity = self.outgoing.capacity;
        let has_room = |state: &State| state.bytes.len() < capacity || state.is_closed;
        let mut state = self.outgoing.wait_until(Some(patience), has_room)?;
        if state.is_closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(capacity - state.bytes.len());
        state.bytes.write_all(&bytes[..count])?;
        drop(state);
        self.outgoing.changed.notify_all();
        Ok(count)
    }

    /// Nothing more will be written here; the other end reads what is there, then the end.
    pub(super) fn finish(&self) {
        self.outgoing.close();
    }

    /// Ends both directions and wakes everyone.
    pub(super) fn close(&self) {
        self.outgoing.close();
        self.incoming.close();
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.close();
    }
}

/// One direction.
#[derive(Debug)]
struct Pipe {
    state: Mutex<State>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    is_closed: bool,
}

impl Pipe {
    fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        threads::lock(&self.state)
    }

    fn wait_until(
        &self,
        wait: Option<Duration>,
        is_ready: impl Fn(&State) -> bool,
    ) -> io::Result<MutexGuard<'_, State>> {
        let deadline = wait.map(|wait| clock::instant() + wait);
        let mut state = self.lock();
        while !is_ready(&state) {
            state = match deadline {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(clock::instant());
                    if left.is_zero() {
                        return Err(ErrorKind::WouldBlock.into());
                    }
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        Ok(state)
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }
}
