//! An in-memory connection that behaves like TCP as far as a session can tell: it is bounded, it has an end, and
//! closing it wakes every thread that waits for it. [`super::super::Stream::pair`] makes the two ends.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Link;
use crate::{clock, threads};

/// Bytes in flight in one direction before a write waits; about as many as a loopback socket takes.
const PIPE_BYTES: usize = 64 * 1024;

/// One end of the pair. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct PairEnd {
    incoming: Arc<Pipe>,
    outgoing: Arc<Pipe>,
}

impl PairEnd {
    /// Two connected ends. Without a `capacity`, about as many bytes may be in flight as with a socket.
    pub(crate) fn pair(capacity: Option<usize>) -> (Self, Self) {
        let there = Arc::new(Pipe::new(capacity.unwrap_or(PIPE_BYTES)));
        let back = Arc::new(Pipe::new(capacity.unwrap_or(PIPE_BYTES)));
        let one = Self { incoming: Arc::clone(&back), outgoing: Arc::clone(&there) };
        (one, Self { incoming: there, outgoing: back })
    }
}

impl Link for PairEnd {
    fn read(&self, into: &mut [u8], wait: Option<Duration>) -> io::Result<usize> {
        let mut state = self.incoming.wait_until(wait, |state| !state.bytes.is_empty() || state.is_closed)?;
        let count = state.bytes.read(into)?;
        drop(state);
        // A writer of the other end may wait for this room.
        self.incoming.changed.notify_all();
        Ok(count)
    }

    fn write_some(&self, slices: &[IoSlice<'_>], wait: Duration) -> io::Result<usize> {
        let capacity = self.outgoing.capacity;
        let has_room = |state: &State| state.bytes.len() < capacity || state.is_closed;
        let mut state = self.outgoing.wait_until(Some(wait), has_room)?;
        if state.is_closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let before = state.bytes.len();
        for slice in slices {
            let count = slice.len().min(capacity - state.bytes.len());
            state.bytes.write_all(&slice[..count])?;
        }
        let count = state.bytes.len() - before;
        drop(state);
        self.outgoing.changed.notify_all();
        Ok(count)
    }

    fn finish(&self) {
        self.outgoing.close();
    }

    fn close(&self) {
        self.outgoing.close();
        self.incoming.close();
    }

    fn has_unread(&self) -> bool {
        false
    }

    fn peer(&self) -> String {
        "memory".to_owned()
    }
}

impl Drop for PairEnd {
    fn drop(&mut self) {
        self.close();
    }
}

/// One direction of the connection.
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
