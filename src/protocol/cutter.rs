//! Fills the pieces of an answer, each of which is far shorter than a line may be.

use std::io;

use serde::Serialize;

/// Fills one piece after the other.
pub(super) struct Cutter<P> {
    /// The full pieces, and behind them the one that is being filled.
    pub(super) done: Vec<P>,
    /// A piece without entries.
    empty: P,
    /// The length of `empty`.
    base: usize,
    /// The length of the piece that is being filled.
    used: usize,
    max: usize,
}

impl<P: Serialize + Clone> Cutter<P> {
    pub(super) fn new(first: P, empty: P, max: usize) -> Self {
        let (used, base) = (length(&first), length(&empty));
        Self { done: vec![first], empty, base, used, max }
    }

    /// Returns the piece that has room for the entry, which the caller puts there.
    pub(super) fn add(&mut self, entry: &impl Serialize) -> &mut P {
        // With its comma.
        let length = length(entry) + 1;
        if self.used + length > self.max && self.used > self.base {
            self.done.push(self.empty.clone());
            self.used = self.base;
        }
        self.used += length;
        self.done.last_mut().expect("there is always one")
    }

    /// Returns the pieces; all but the last say that more follows.
    pub(super) fn finish(mut self, more: impl Fn(&mut P) -> &mut bool) -> Vec<P> {
        let last = self.done.len() - 1;
        self.done[..last].iter_mut().for_each(|piece| *more(piece) = true);
        self.done
    }
}

/// Returns the number of bytes that a value takes on the wire.
pub(super) fn length(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).expect("wire types have text keys only and counting takes every byte");
    count.0
}
