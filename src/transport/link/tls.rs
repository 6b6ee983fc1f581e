//! A connection that is encrypted with TLS, over another link.
//!
//! The reader and the writer share rustls' connection. Its lock is never held while a thread waits for the link below:
//! the reader takes plaintext under the lock, waits for the link without it, and feeds what has arrived piece by piece;
//! the writer encrypts into a buffer under the lock, and hands the buffer on without it. Each of them has a lock of its
//! own for its buffer, for which nobody else waits. (A single lock around the whole would deadlock: a reader that waits
//! for the peer would keep out the writer for which the peer waits.)
//!
//! An end without close_notify reads like an end with it. Every message has a length, and an end says no more than that
//! the connection is gone, which an attacker between the peers can bring about in any case.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use rustls::Connection;

use super::Link;
use crate::transport::tls::TlsError;
use crate::{clock, threads};

/// Encrypted bytes that wait for the link below, from which on no more plaintext is accepted.
const HELD_BYTES: usize = 64 * 1024;
/// The size of the buffer into which an idle connection reads: several pings.
const IDLE_BYTES: usize = 512;
/// Encrypted bytes of one write up to which a connection counts as idle.
const SMALL_BYTES: usize = 4 * 1024;
/// Capacity that an idle connection keeps of the buffer for encrypted bytes.
const KEPT_BYTES: usize = 512;
/// The size to which the buffer grows into which a busy connection reads.
const BUSY_BYTES: usize = 64 * 1024;

/// An encrypted connection.
pub(crate) struct Encrypted {
    below: Arc<dyn Link>,
    /// Never locked while a thread waits for the link below.
    state: Mutex<State>,
    /// Locked by the one thread that reads, also while it waits.
    incoming: Mutex<Incoming>,
    /// Locked by the one thread that writes, also while it waits. Others only try to lock it.
    outgoing: Mutex<Outgoing>,
}

struct State {
    connection: Connection,
    /// The number of encrypted bytes that the link below has not accepted.
    unsent: usize,
    end: End,
    /// The error for which nothing more can be read.
    failure: Option<rustls::Error>,
}

/// How far the end of the direction to the peer has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// Its close_notify is behind the bytes that wait.
    Held,
    Gone,
}

/// Encrypted bytes that have arrived and were not fed to rustls: `bytes[start..end]`.
#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The number of bytes of the last read.
    last: usize,
    is_over: bool,
}

/// Encrypted bytes on their way to the peer: `bytes[start..]`.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    start: usize,
}

impl Encrypted {
    /// Makes the handshake, within `patience`. `received` has arrived from the peer already. Waits on the caller's
    /// thread.
    pub(crate) fn over(
        below: Arc<dyn Link>,
        connection: Connection,
        received: Vec<u8>,
        patience: Duration,
    ) -> Result<Self, TlsError> {
        let deadline = clock::instant() + patience;
        let end = received.len();
        let link = Self {
            below,
            state: Mutex::new(State { connection, unsent: 0, end: End::Open, failure: None }),
            incoming: Mutex::new(Incoming { bytes: received, start: 0, end, last: 0, is_over: false }),
            outgoing: Mutex::default(),
        };
        link.shake_hands(|| left(deadline).ok_or(TlsError::TimedOut(patience)))?;
        Ok(link)
    }

    /// Makes the handshake, as long as there is time left.
    fn shake_hands(&self, time: impl Fn() -> Result<Duration, TlsError>) -> Result<(), TlsError> {
        let mut incoming = threads::lock(&self.incoming);
        loop {
            self.hand_on_all(&time)?;
            if !self.lock().connection.is_handshaking() {
                return Ok(());
            }
            if incoming.is_empty() {
                if incoming.is_over {
                    return Err(TlsError::Ended);
                }
                match incoming.fill(&*self.below, Some(time()?)) {
                    Ok(()) => {}
                    Err(error) if is_short(&error) => {}
                    Err(error) => return Err(TlsError::Broken(error)),
                }
                continue;
            }
            let mut state = self.lock();
            if let Err(error) = state.feed(&mut incoming) {
                drop(state);
                self.tell_peer();
                return Err(TlsError::of(error));
            }
        }
    }

    /// Hands on everything that waits.
    fn hand_on_all(&self, time: impl Fn() -> Result<Duration, TlsError>) -> Result<(), TlsError> {
        while self.pending() > 0 {
            match self.flush(time()?) {
                Ok(()) => {}
                Err(error) if is_short(&error) => {}
                Err(error) => return Err(TlsError::Broken(error)),
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        threads::lock(&self.state)
    }

    /// Returns plaintext that is there, or the end, or the error that ends the connection; `None` if more has to
    /// arrive.
    fn take(&self, incoming: &mut Incoming, into: &mut [u8]) -> Option<io::Result<usize>> {
        let mut state = self.lock();
        loop {
            // Taken before more is fed, so that rustls never holds more than a record.
            match state.connection.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return Some(other),
            }
            if let Some(error) = state.failure.clone() {
                return Some(Err(io::Error::new(ErrorKind::ConnectionAborted, error)));
            }
            if incoming.is_empty() {
                return incoming.is_over.then_some(Ok(0));
            }
            if let Err(error) = state.feed(incoming) {
                // Returned behind the plaintext that arrived before it.
                state.failure = Some(error);
                drop(state);
                // The alert tells the peer why.
                self.tell_peer();
                state = self.lock();
            }
        }
    }

    /// Hands on what waits, if that needs no waiting. If another thread writes just now, it does so itself.
    fn tell_peer(&self) {
        if let Some(mut outgoing) = self.try_outgoing() {
            // The peer may be gone, or may not read. Nothing more can be done for it.
            self.hand_on(&mut outgoing, Duration::ZERO).ok();
        }
    }

    fn try_outgoing(&self) -> Option<MutexGuard<'_, Outgoing>> {
        match self.outgoing.try_lock() {
            Ok(outgoing) => Some(outgoing),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Hands some of what waits to the link below, and ends the direction behind the last of it.
    fn hand_on(&self, outgoing: &mut Outgoing, wait: Duration) -> io::Result<()> {
        self.lock().encrypt_into(outgoing);
        if !outgoing.is_empty() {
            let count = self.below.write_some(&[IoSlice::new(outgoing.rest())], wait)?;
            if count == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            outgoing.advance(count);
        }
        if self.below.pending() > 0 {
            self.below.flush(wait)?;
        }
        let mut state = self.lock();
        state.unsent = outgoing.len();
        if state.is_all_sent() && state.end == End::Held {
            state.end = End::Gone;
            drop(state);
            self.below.finish();
        }
        Ok(())
    }
}

impl Link for Encrypted {
    fn read(&self, into: &mut [u8], wait: Option<Duration>) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let mut incoming = threads::lock(&self.incoming);
        let (mut wait, mut deadline) = (wait, None);
        loop {
            if let Some(taken) = self.take(&mut incoming, into) {
                return taken;
            }
            // A part of a record may have arrived: the peer gains no time by it.
            if let Some(length) = wait {
                match deadline {
                    None => deadline = clock::instant().checked_add(length),
                    Some(deadline) => wait = Some(left(deadline).ok_or(ErrorKind::WouldBlock)?),
                }
            }
            incoming.fill(&*self.below, wait)?;
        }
    }

    fn write_some(&self, slices: &[IoSlice<'_>], wait: Duration) -> io::Result<usize> {
        let mut outgoing = threads::lock(&self.outgoing);
        let (mut wait, mut deadline) = (wait, None);
        while outgoing.len() >= HELD_BYTES {
            // The link below may take a few bytes at a time, and not enough of them yet.
            match deadline {
                None => deadline = clock::instant().checked_add(wait),
                Some(deadline) => wait = left(deadline).ok_or(ErrorKind::WouldBlock)?,
            }
            self.hand_on(&mut outgoing, wait)?;
        }
        let mut state = self.lock();
        if state.end != End::Open {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let count = state.connection.writer().write_vectored(slices)?;
        state.encrypt_into(&mut outgoing);
        Ok(count)
    }

    fn pending(&self) -> usize {
        let state = self.lock();
        // An alert or an end that rustls has not encrypted yet counts as one byte.
        let unwritten = usize::from(state.connection.wants_write()) + usize::from(state.end == End::Held);
        state.unsent + unwritten + self.below.pending()
    }

    fn flush(&self, wait: Duration) -> io::Result<()> {
        self.hand_on(&mut threads::lock(&self.outgoing), wait)
    }

    fn finish(&self) {
        let mut state = self.lock();
        if state.end != End::Open {
            return;
        }
        state.connection.send_close_notify();
        state.end = End::Held;
        drop(state);
        self.tell_peer();
    }

    fn close(&self) {
        let mut state = self.lock();
        let is_polite = state.end == End::Open && state.is_all_sent();
        if is_polite {
            state.connection.send_close_notify();
        }
        state.end = End::Gone;
        drop(state);
        if is_polite {
            self.tell_peer();
        }
        self.below.close();
    }

    fn has_unread(&self) -> bool {
        let is_held = self.incoming.try_lock().is_ok_and(|incoming| !incoming.is_empty());
        is_held || self.below.has_unread()
    }

    fn peer(&self) -> String {
        self.below.peer()
    }

    fn peer_ip(&self) -> Option<IpAddr> {
        self.below.peer_ip()
    }

    fn is_encrypted(&self) -> bool {
        true
    }

    #[cfg(test)]
    fn socket(&self) -> Option<&std::net::TcpStream> {
        self.below.socket()
    }
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted").field("below", &self.below).finish_non_exhaustive()
    }
}

impl State {
    /// Feeds one piece to rustls, which decrypts the records that are whole by now.
    fn feed(&mut self, incoming: &mut Incoming) -> Result<(), rustls::Error> {
        let mut rest = incoming.rest();
        let before = rest.len();
        let fed = self.connection.read_tls(&mut rest).map_err(|error| rustls::Error::General(error.to_string()))?;
        let taken = before - rest.len();
        if fed == 0 {
            // Nothing counts behind the peer's close_notify.
            incoming.start = incoming.end;
        }
        incoming.start += taken;
        self.connection.process_new_packets().map(drop)
    }

    /// Moves encrypted bytes to those that wait for the link below.
    fn encrypt_into(&mut self, outgoing: &mut Outgoing) {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut outgoing.bytes).expect("a vector takes everything");
        }
        self.unsent = outgoing.len();
    }

    fn is_all_sent(&self) -> bool {
        self.unsent == 0 && !self.connection.wants_write()
    }
}

impl Incoming {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Reads once into the empty buffer, which grows while reads fill it, and shrinks after one that would have fitted
    /// into the smallest.
    fn fill(&mut self, below: &dyn Link, wait: Option<Duration>) -> io::Result<()> {
        let size = match self.last {
            last if last <= IDLE_BYTES / 2 => IDLE_BYTES,
            last if last >= self.bytes.len() => (last * 4).min(BUSY_BYTES),
            _ => self.bytes.len(),
        };
        if self.bytes.len() != size {
            self.bytes.resize(size, 0);
            self.bytes.shrink_to_fit();
        }
        (self.start, self.end) = (0, 0);
        self.end = below.read(&mut self.bytes, wait)?;
        self.last = self.end;
        self.is_over = self.end == 0;
        Ok(())
    }
}

impl Outgoing {
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn advance(&mut self, count: usize) {
        self.start += count;
        if self.is_empty() {
            let was_small = self.start < SMALL_BYTES;
            self.start = 0;
            self.bytes.clear();
            // There may be thousands of idle connections, so each keeps little memory. A busy one keeps its buffer.
            if was_small {
                self.bytes.shrink_to(KEPT_BYTES);
            }
        }
    }
}

/// The time that is left, or `None`.
fn left(deadline: Instant) -> Option<Duration> {
    Some(deadline.saturating_duration_since(clock::instant())).filter(|left| !left.is_zero())
}

/// Whether a wait was only too short, or interrupted.
fn is_short(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
