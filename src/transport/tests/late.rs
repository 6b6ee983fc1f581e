//! A link that accepts bytes and hands them on later, as an encrypted one may: it tries the contract of
//! [`crate::transport::link`] without a cipher.
//!
//! It is as difficult as the contract allows: a write or a flush that does not wait hands nothing on, one that waits
//! hands on at most [`STEP_BYTES`], and the end of the direction is itself held back.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::sync::Mutex;
use std::time::Duration;

use crate::threads;
use crate::transport::link::{Link, memory};

/// Bytes that one flush hands on.
const STEP_BYTES: usize = 30_000;
/// Bytes that are accepted before a write waits; about as many as a TLS library buffers.
const HELD_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Late {
    inner: memory::PairEnd,
    /// Never locked while `inner` waits.
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: VecDeque<u8>,
    end: End,
}

/// How far the end of the direction has come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// It is behind the bytes that are held.
    Held,
    Gone,
}

impl Late {
    pub(crate) fn pair() -> (Self, Self) {
        let (one, other) = memory::PairEnd::pair(None);
        (Self { inner: one, held: Mutex::default() }, Self { inner: other, held: Mutex::default() })
    }
}

impl Link for Late {
    fn read(&self, into: &mut [u8], wait: Option<Duration>) -> io::Result<usize> {
        self.inner.read(into, wait)
    }

    fn write_some(&self, slices: &[IoSlice<'_>], wait: Duration) -> io::Result<usize> {
        if threads::lock(&self.held).bytes.len() >= HELD_BYTES {
            self.flush(wait)?;
        }
        // A peer that is gone is noticed at a write, too.
        self.inner.write_some(&[IoSlice::new(&[])], Duration::from_millis(1)).or_else(unless_full)?;
        let mut held = threads::lock(&self.held);
        let before = held.bytes.len();
        for slice in slices {
            let count = slice.len().min(HELD_BYTES.saturating_sub(held.bytes.len()));
            held.bytes.write_all(&slice[..count])?;
        }
        match held.bytes.len() - before {
            0 => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn pending(&self) -> usize {
        let held = threads::lock(&self.held);
        held.bytes.len() + usize::from(held.end == End::Held)
    }

    fn flush(&self, wait: Duration) -> io::Result<()> {
        if wait.is_zero() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut held = threads::lock(&self.held);
        let step: Vec<u8> = held.bytes.iter().copied().take(STEP_BYTES).collect();
        if step.is_empty() && held.end == End::Held {
            held.end = End::Gone;
            self.inner.finish();
        }
        drop(held);
        if !step.is_empty() {
            let count = self.inner.write_some(&[IoSlice::new(&step)], wait)?;
            // One thread at a time flushes, so these are the bytes just written, unless the link was closed meanwhile.
            let mut held = threads::lock(&self.held);
            let count = count.min(held.bytes.len());
            held.bytes.drain(..count);
        }
        Ok(())
    }

    fn finish(&self) {
        let mut held = threads::lock(&self.held);
        if held.end == End::Open {
            held.end = End::Held;
        }
    }

    fn close(&self) {
        *threads::lock(&self.held) = Held { bytes: VecDeque::new(), end: End::Gone };
        self.inner.close();
    }

    fn has_unread(&self) -> bool {
        self.inner.has_unread()
    }

    fn peer(&self) -> String {
        "late".to_owned()
    }
}

fn unless_full(error: io::Error) -> io::Result<usize> {
    if error.kind() == ErrorKind::WouldBlock { Ok(0) } else { Err(error) }
}
