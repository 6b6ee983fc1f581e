//! The reading half of a session: lines and payloads, each bounded in length and in time. The reading thread of a
//! session owns one. It never writes and does not interpret messages.

use std::io::ErrorKind;
use std::ops::Range;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::buffer::LineBuffer;
use super::{Stream, TransportError};
use crate::clock;
use crate::protocol::codec::{self, CodecError};
use crate::protocol::limits::MAX_PAYLOAD_BYTES;

/// A payload is read in steps of this size, or of as much as has arrived of it, so that memory grows with the arrived
/// bytes, not with the announced length.
const PAYLOAD_STEP: usize = 64 * 1024;
/// The lowest rate at which a payload may arrive, in bytes a second; lower than that of the slowest useful link.
const PAYLOAD_MIN_RATE: u64 = 512;

/// The reading half: lines and payloads, each bounded.
#[derive(Debug)]
pub struct FrameReader {
    stream: Stream,
    buffer: LineBuffer,
    timeout: Option<Duration>,
    /// Payload bytes behind a message of unknown type, to be skipped before the next line.
    skip: u64,
    /// Whether a line that was too long is to be skipped first.
    is_line_skipped: bool,
}

impl FrameReader {
    pub fn new(stream: Stream) -> Self {
        Self { stream, buffer: LineBuffer::new(), timeout: None, skip: 0, is_line_skipped: false }
    }

    /// Sets the time in which the peer must complete a line or payload. `None` waits for ever.
    ///
    /// It applies to each later call of [`FrameReader::read`]: from the call until the whole line has arrived, however
    /// many bytes arrive in between, so a peer that sends a byte now and then gains nothing. It is therefore also the
    /// longest accepted silence: a caller that expects a ping every 5 s and gives up after 30 s sets 30 s. Lines that
    /// are in the buffer already are returned without reading the clock.
    ///
    /// In [`FrameReader::read_payload`] the peer may be silent for this long at any point, and may take this long plus
    /// 2 ms a byte in all, so that a slow link is not taken for a dead one.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), TransportError> {
        self.timeout = timeout;
        Ok(())
    }

    /// Reads the next message, whose line has at most `max_line` bytes, newline included. Returns `None` if the peer
    /// closed between messages.
    ///
    /// After [`TransportError::TimedOut`] the received bytes are kept, and the next call continues. After
    /// [`TransportError::Malformed`] and [`TransportError::UnknownType`] the next call reads the message behind, and so
    /// it does after [`TransportError::LineTooLong`] and [`FrameReader::skip_line`]. After any other error the session
    /// cannot go on.
    pub fn read<M: DeserializeOwned>(&mut self, max_line: usize) -> Result<Option<M>, TransportError> {
        match self.next_line(max_line)? {
            Some(line) => self.decode(line).map(Some),
            None => Ok(None),
        }
    }

    /// Waits for the next line. Apart from [`FrameReader::decode`], because both take much room on the stack, and
    /// thousands of threads wait in here.
    #[inline(never)]
    fn next_line(&mut self, max_line: usize) -> Result<Option<Range<usize>>, TransportError> {
        let mut deadline = Deadline::new(self.timeout);
        self.pass_over_line(&mut deadline)?;
        self.pass_over_skipped(&mut deadline)?;
        loop {
            match self.buffer.take_line(max_line) {
                Ok(Some(line)) => return Ok(Some(line)),
                Ok(None) => {}
                Err(_) => return Err(TransportError::LineTooLong { max: max_line }),
            }
            if self.fill(&mut deadline)? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(TransportError::EndOfStream) };
            }
        }
    }

    #[inline(never)]
    fn decode<M: DeserializeOwned>(&mut self, line: Range<usize>) -> Result<M, TransportError> {
        match codec::decode(self.buffer.line(line)) {
            Ok(message) => Ok(message),
            Err(CodecError::UnknownType { bytes, .. }) if bytes > MAX_PAYLOAD_BYTES as u64 => {
                Err(TransportError::PayloadTooLong { len: bytes })
            }
            Err(CodecError::UnknownType { name, bytes }) => {
                self.skip = bytes;
                Err(TransportError::UnknownType { name })
            }
            Err(error) => Err(TransportError::Malformed(error)),
        }
    }

    /// Waits for the next byte and returns it; it stays unread. Returns `None` at the end of the stream.
    pub fn peek(&mut self) -> Result<Option<u8>, TransportError> {
        let mut deadline = Deadline::new(self.timeout);
        if self.buffer.is_empty() && self.fill(&mut deadline)? == 0 {
            return Ok(None);
        }
        Ok(self.unread().first().copied())
    }

    /// The bytes that have arrived and were not read.
    pub fn unread(&self) -> &[u8] {
        self.buffer.unread()
    }

    /// Returns the bytes that have arrived and were not read.
    pub fn into_unread(mut self) -> Vec<u8> {
        self.buffer.take_bytes(usize::MAX).to_vec()
    }

    /// Lets the next call of [`FrameReader::read`] skip a line that was too long, however long it is.
    pub fn skip_line(&mut self) {
        self.is_line_skipped = true;
    }

    /// Reads exactly `len` raw bytes that follow the last message. They replace what `into` holds; room that it has
    /// already costs no time to prepare. Refuses more than [`crate::protocol::limits::MAX_PAYLOAD_BYTES`].
    pub fn read_payload(&mut self, len: u64, into: &mut Vec<u8>) -> Result<(), TransportError> {
        if len > MAX_PAYLOAD_BYTES as u64 {
            return Err(TransportError::PayloadTooLong { len });
        }
        let bytes = usize::try_from(len).expect("the limit fits");
        into.truncate(bytes);
        // Reserved exactly, because the caller may keep the payload. The memory is untouched until bytes arrive.
        into.reserve_exact(bytes - into.len());
        let buffered = self.buffer.take_bytes(bytes);
        let mut filled = buffered.len();
        if into.len() < filled {
            into.resize(filled, 0);
        }
        into[..filled].copy_from_slice(buffered);

        let allowed = self.timeout.map(|timeout| timeout + Duration::from_millis(len * 1000 / PAYLOAD_MIN_RATE));
        let mut whole = Deadline::new(allowed);
        while filled < bytes {
            if filled == into.len() {
                into.resize(filled + (bytes - filled).min(filled.max(PAYLOAD_STEP)), 0);
            }
            match self.read_directly(&mut into[filled..], &mut whole) {
                Ok(count @ 1..) => filled += count,
                ended => {
                    // Only received bytes are left.
                    into.truncate(filled);
                    let missing = (bytes - filled) as u64;
                    return Err(ended.err().unwrap_or(TransportError::ShortPayload { len, missing }));
                }
            }
        }
        Ok(())
    }

    /// Does one read past the buffer, which is empty.
    fn read_directly(&self, into: &mut [u8], whole: &mut Deadline) -> Result<usize, TransportError> {
        debug_assert!(self.buffer.is_empty());
        let mut silence = Deadline::new(self.timeout);
        loop {
            let wait = silence.left()?.min(whole.left()?);
            if let Some(count) = retryable(self.stream.read(into, (wait != Duration::MAX).then_some(wait)))? {
                return Ok(count);
            }
        }
    }

    /// Does one read into the buffer. Returns 0 at the end of the stream.
    fn fill(&mut self, deadline: &mut Deadline) -> Result<usize, TransportError> {
        loop {
            let wait = deadline.left()?;
            let space = self.buffer.space();
            if let Some(count) = retryable(self.stream.read(space, (wait != Duration::MAX).then_some(wait)))? {
                self.buffer.filled(count);
                return Ok(count);
            }
        }
    }

    fn pass_over_line(&mut self, deadline: &mut Deadline) -> Result<(), TransportError> {
        while self.is_line_skipped {
            self.is_line_skipped = !self.buffer.drop_line();
            if self.is_line_skipped && self.fill(deadline)? == 0 {
                return Err(TransportError::EndOfStream);
            }
        }
        Ok(())
    }

    fn pass_over_skipped(&mut self, deadline: &mut Deadline) -> Result<(), TransportError> {
        while self.skip > 0 {
            let passed = self.buffer.take_bytes(usize::try_from(self.skip).unwrap_or(usize::MAX)).len();
            self.skip -= passed as u64;
            if self.skip > 0 && self.fill(deadline)? == 0 {
                return Err(TransportError::ShortPayload { len: self.skip, missing: self.skip });
            }
        }
        Ok(())
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn buffer_size(&self) -> usize {
        self.buffer.size()
    }
}

/// Turns an interrupted or timed-out read into `None`: the caller checks its deadline and reads again.
fn retryable(read: std::io::Result<usize>) -> Result<Option<usize>, TransportError> {
    match read {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(TransportError::io("read from the peer", error)),
    }
}

/// A deadline that reads the clock only when the caller has to wait.
struct Deadline {
    timeout: Option<Duration>,
    at: Option<Instant>,
}

impl Deadline {
    fn new(timeout: Option<Duration>) -> Self {
        Self { timeout, at: None }
    }

    /// The time that is left: the whole timeout at the first call, [`Duration::MAX`] without a timeout.
    fn left(&mut self) -> Result<Duration, TransportError> {
        let Some(timeout) = self.timeout else { return Ok(Duration::MAX) };
        let now = clock::instant();
        let Some(at) = self.at else {
            self.at = now.checked_add(timeout);
            return Ok(timeout);
        };
        let left = at.saturating_duration_since(now);
        if left.is_zero() { Err(TransportError::TimedOut(timeout)) } else { Ok(left) }
    }
}
