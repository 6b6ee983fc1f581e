//! The buffer of received bytes, cut into lines. Pure: no socket, no clock.
//!
//! It starts small, because a dispatcher has one for each of thousands of idle peers, grows while much arrives at once,
//! and shrinks again. A line that is too long is refused as soon as the limit is reached, not at its end. Only
//! [`super::FrameReader`] uses it.

use std::io::BufRead;
use std::ops::Range;

/// The size of an idle peer's buffer.
pub(super) const IDLE_BYTES: usize = 2 * 1024;
/// The size to which a busy peer's buffer grows. It grows further only for a single line that needs it.
pub(crate) const BUSY_BYTES: usize = 64 * 1024;
/// Consecutive reads that would have fitted into an idle buffer after which the buffer shrinks to that size.
const CALM_READS: u32 = 16;

/// The error that a line has more bytes than allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// The received bytes that were not used yet: `bytes[start..end]`.
#[derive(Debug)]
pub(super) struct LineBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// There is no newline in `bytes[start..scanned]`.
    scanned: usize,
    /// Whether the last read filled the whole space, so that more bytes are probably waiting.
    was_filled: bool,
    calm_reads: u32,
}

impl LineBuffer {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; IDLE_BYTES], start: 0, end: 0, scanned: 0, was_filled: false, calm_reads: 0 }
    }

    /// Takes the next line if all of it has arrived. Its newline is not part of the range, but counts towards
    /// `max_line`.
    pub(super) fn take_line(&mut self, max_line: usize) -> Result<Option<Range<usize>>, TooLong> {
        let mut unseen = &self.bytes[self.scanned..self.end];
        let seen = unseen.skip_until(b'\n').expect("a slice can always be read");
        self.scanned += seen;
        let is_complete = seen > 0 && self.bytes[self.scanned - 1] == b'\n';
        let len = self.scanned - self.start;
        // A line of `max_line` bytes without its newline is too long already.
        if len > max_line || (len == max_line && !is_complete) {
            // Nothing is consumed, so a repeated call gives the same answer.
            self.scanned -= seen;
            return Err(TooLong);
        }
        if !is_complete {
            return Ok(None);
        }
        let line = self.start..self.scanned - 1;
        self.start = self.scanned;
        Ok(Some(line))
    }

    /// Drops bytes up to the end of a line, or all bytes if its end has not arrived. Returns whether it has.
    pub(super) fn drop_line(&mut self) -> bool {
        let end = self.bytes[self.start..self.end].iter().position(|byte| *byte == b'\n');
        self.start = end.map_or(self.end, |at| self.start + at + 1);
        self.scanned = self.start;
        end.is_some()
    }

    /// The bytes of a line that was just taken. They are valid until [`LineBuffer::space`] is called.
    pub(super) fn line(&self, line: Range<usize>) -> &[u8] {
        &self.bytes[line]
    }

    /// Takes up to `max` bytes that are not a line.
    pub(super) fn take_bytes(&mut self, max: usize) -> &[u8] {
        let from = self.start;
        self.start = self.end.min(from.saturating_add(max));
        self.scanned = self.scanned.max(self.start);
        // The rest of a payload is read past this buffer, so a full buffer says nothing about waiting lines.
        self.was_filled = false;
        &self.bytes[from..self.start]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes that were not used yet.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The space for the next read. It is never empty if [`LineBuffer::take_line`] was called before.
    pub(super) fn space(&mut self) -> &mut [u8] {
        let held = self.end - self.start;
        if self.start > 0 {
            // Only the beginning of one line is left, because whole lines are taken before the next read.
            self.bytes.copy_within(self.start..self.end, 0);
            self.scanned -= self.start;
            (self.start, self.end) = (0, held);
        }
        let size = self.bytes.len();
        if held == size || (self.was_filled && size < BUSY_BYTES) {
            self.bytes.resize(size * 2, 0);
        // Room for one long line is returned at once, that of a busy peer only when the peer has become calm.
        } else if held < IDLE_BYTES && (size > BUSY_BYTES || (size > IDLE_BYTES && self.calm_reads >= CALM_READS)) {
            self.bytes.truncate(IDLE_BYTES);
            self.bytes.shrink_to_fit();
        }
        &mut self.bytes[self.end..]
    }

    /// Records that a read put `count` bytes into the space.
    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
        self.was_filled = self.end == self.bytes.len();
        self.calm_reads = if count < IDLE_BYTES { self.calm_reads.saturating_add(1) } else { 0 };
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn size(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Puts bytes in as a socket would, at most `piece` at a time, and takes out lines as they become whole.
    fn lines_of(bytes: &[u8], piece: usize, max_line: usize) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut buffer = LineBuffer::new();
        let mut lines = Vec::new();
        let mut rest = bytes;
        loop {
            while let Some(line) = buffer.take_line(max_line)? {
                lines.push(buffer.line(line).to_vec());
            }
            if rest.is_empty() {
                return Ok(lines);
            }
            let space = buffer.space();
            let count = piece.min(rest.len()).min(space.len());
            assert!(count > 0, "there is always space");
            space[..count].copy_from_slice(&rest[..count]);
            buffer.filled(count);
            rest = &rest[count..];
            assert!(buffer.size() <= BUSY_BYTES.max(2 * max_line), "{}", buffer.size());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn lines_come_out_as_they_went_in_however_they_are_cut(
            lines in prop::collection::vec(
                prop::collection::vec(any::<u8>().prop_map(|b| if b == b'\n' { 0 } else { b }), 0..9000),
                0..20,
            ),
            piece in 1_usize..100_000,
        ) {
            let bytes: Vec<u8> = lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect();
            prop_assert_eq!(lines_of(&bytes, piece, 10_000), Ok(lines));
        }

        #[test]
        fn a_line_is_too_long_exactly_when_it_is_however_it_is_cut(len in 0_usize..300, piece in 1_usize..400) {
            let mut bytes = vec![b'x'; len];
            prop_assert_eq!(lines_of(&bytes, piece, 100).is_err(), len >= 100);
            bytes.push(b'\n');
            prop_assert_eq!(lines_of(&bytes, piece, 100).is_err(), len >= 100);
        }
    }

    #[test]
    fn a_busy_buffer_grows_and_a_calm_one_shrinks() {
        let mut buffer = LineBuffer::new();
        let mut arrive = |count: usize| {
            let space = buffer.space();
            let count = count.min(space.len());
            space[..count].fill(b'\n');
            buffer.filled(count);
            while buffer.take_line(10).unwrap().is_some() {}
            buffer.size()
        };
        for _ in 0..10 {
            arrive(usize::MAX);
        }
        assert_eq!(arrive(100), BUSY_BYTES);
        for _ in 0..CALM_READS {
            arrive(100);
        }
        assert_eq!(arrive(100), IDLE_BYTES);
    }
}
