//! The body of a request: its bytes from the buffer behind the head and from the connection, by length or in chunks.

use std::io::{self, ErrorKind};
use std::time::Duration;

use super::head::BodyLength;
use super::limits::{BODY_RATE, BODY_TIME, CHUNK_LINE_BYTES, PIECE_BYTES, SKIPPED_BYTES};
use super::link::Link;

/// The bytes that have come and are not used yet.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    used: usize,
}

impl Buffer {
    /// Returns the bytes that are not used.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// Counts bytes as used.
    pub(super) fn consume(&mut self, count: usize) {
        self.used = (self.used + count).min(self.bytes.len());
        if self.used == self.bytes.len() {
            self.bytes.clear();
            self.used = 0;
        }
    }

    /// Reads more, at most `most` bytes. Returns false at the end of the connection.
    pub(super) fn fill(&mut self, link: &mut impl Link, most: usize) -> io::Result<bool> {
        self.bytes.drain(..self.used);
        self.used = 0;
        let before = self.bytes.len();
        self.bytes.resize(before + most, 0);
        let read = loop {
            match link.read(&mut self.bytes[before..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.bytes.truncate(before + *read.as_ref().unwrap_or(&0));
        read.map(|count| count > 0)
    }
}

/// A body that is being read.
pub(super) struct Body<'a, L: Link> {
    link: &'a mut L,
    buffer: &'a mut Buffer,
    left: Left,
    /// The bytes for which time was allowed so far.
    allowed: u64,
    /// The bytes of the body that were read.
    read: u64,
}

/// The rest of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Bytes(u64),
    /// Of a chunk; behind it stands an end of line.
    Chunk(u64),
    /// The line with the length of a chunk comes next.
    Length,
    Nothing,
}

impl<'a, L: Link> Body<'a, L> {
    pub(super) fn new(length: BodyLength, link: &'a mut L, buffer: &'a mut Buffer) -> Self {
        let left = match length {
            BodyLength::Bytes(0) => Left::Nothing,
            BodyLength::Bytes(bytes) => Left::Bytes(bytes),
            BodyLength::Chunked => Left::Length,
        };
        Self { link, buffer, left, allowed: 0, read: 0 }
    }

    /// The number of bytes that are surely still to come.
    pub(super) fn announced(&self) -> u64 {
        match self.left {
            Left::Bytes(bytes) | Left::Chunk(bytes) => bytes,
            Left::Length | Left::Nothing => 0,
        }
    }

    /// Passes the next bytes to `take`. Returns false behind the last ones.
    pub(super) fn next(&mut self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
        let bytes = match self.left {
            Left::Nothing => return Ok(false),
            Left::Bytes(bytes) | Left::Chunk(bytes) => bytes,
            Left::Length => {
                let bytes = self.chunk_length()?;
                if bytes == 0 {
                    self.trailer()?;
                    self.left = Left::Nothing;
                    return Ok(false);
                }
                bytes
            }
        };
        if self.buffer.rest().is_empty() {
            self.more()?;
        }
        let part = self.buffer.rest();
        let count = part.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
        take(&part[..count])?;
        self.buffer.consume(count);
        self.read += count as u64;
        let bytes = bytes - count as u64;
        let is_chunk = matches!(self.left, Left::Chunk(_) | Left::Length);
        self.left = match (is_chunk, bytes) {
            (false, 0) => Left::Nothing,
            (false, bytes) => Left::Bytes(bytes),
            (true, 0) => {
                if !self.line()?.is_empty() {
                    return Err(wrong("a chunk is longer than its length"));
                }
                Left::Length
            }
            (true, bytes) => Left::Chunk(bytes),
        };
        Ok(true)
    }

    /// Reads what is left, and keeps nothing of it. Fails if it is too much to be worth an answer.
    pub(super) fn skip(&mut self) -> io::Result<()> {
        while self.next(&mut |_| Ok(()))? {
            if self.read + self.announced() > SKIPPED_BYTES {
                return Err(wrong("the body is too long"));
            }
        }
        Ok(())
    }

    fn chunk_length(&mut self) -> io::Result<u64> {
        let line = self.line()?;
        let digits = line.split(|byte| matches!(byte, b';' | b' ' | b'\t')).next().unwrap_or_default();
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
        let text = str::from_utf8(digits).ok().filter(|_| is_number);
        text.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or_else(|| wrong("a chunk has no length"))
    }

    /// Reads the lines behind the last chunk, of which none counts.
    fn trailer(&mut self) -> io::Result<()> {
        let mut bytes = 0;
        loop {
            let line = self.line()?;
            bytes += line.len();
            match line.is_empty() {
                true => return Ok(()),
                false if bytes > CHUNK_LINE_BYTES => return Err(wrong("there is too much behind the last chunk")),
                false => {}
            }
        }
    }

    /// Reads a line, and returns it without its end.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let rest = self.buffer.rest();
            if let Some(end) = rest.iter().take(CHUNK_LINE_BYTES).position(|byte| *byte == b'\n') {
                let Some(line) = rest[..end].strip_suffix(b"\r").map(<[u8]>::to_vec) else {
                    return Err(wrong("a line of a chunk has no carriage return"));
                };
                self.buffer.consume(end + 1);
                return Ok(line);
            }
            if rest.len() >= CHUNK_LINE_BYTES {
                return Err(wrong("a line of a chunk is too long"));
            }
            self.more()?;
        }
    }

    /// Reads more of the connection. The whole of the body has as much time as its bytes take at the slowest rate.
    fn more(&mut self) -> io::Result<()> {
        if self.allowed <= self.read {
            // The time is that for the announced bytes; chunks get theirs when they are announced.
            self.allowed = self.read + self.announced().max(PIECE_BYTES as u64);
            let seconds = (self.allowed - self.read) / BODY_RATE;
            self.link.allow(Some(BODY_TIME + Duration::from_secs(seconds)))?;
        }
        match self.buffer.fill(self.link, PIECE_BYTES)? {
            true => Ok(()),
            false => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}
