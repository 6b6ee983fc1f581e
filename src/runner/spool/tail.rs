//! The newest output of an attempt beyond its limit, in a ring on disk. It adds no marker: the writer does.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::characters::{MAX_CONTINUATIONS, is_continuation};
use super::{COPY_BYTES, create};

/// The newest output, in a file that is used as a ring. No other process needs it, so it has no name.
#[derive(Debug)]
pub(super) struct SpoolTail {
    file: File,
    capacity: u64,
    /// Bytes that were ever written.
    total: u64,
}

impl SpoolTail {
    pub(super) fn new(path: PathBuf, capacity: u64) -> io::Result<Self> {
        let file = create(&path)?;
        // The file lives as long as its descriptor, so that nothing is left of it if the runner is killed.
        fs::remove_file(&path)?;
        Ok(Self { file, capacity, total: 0 })
    }

    pub(super) fn left_out(&self) -> u64 {
        self.total.saturating_sub(self.capacity)
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() && self.capacity > 0 {
            let at = self.total % self.capacity;
            let room = usize::try_from(self.capacity - at).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.file.write_all_at(now, at)?;
            self.total += now.len() as u64;
            bytes = later;
        }
        self.total += bytes.len() as u64;
        Ok(())
    }

    /// Returns the number of bytes at the beginning of the kept ones that are the end of a character.
    pub(super) fn cut_character(&self) -> io::Result<u64> {
        let mut first = Vec::new();
        for position in self.left_out()..self.total.min(self.left_out() + MAX_CONTINUATIONS + 1) {
            let mut byte = [0];
            self.file.read_exact_at(&mut byte, position % self.capacity)?;
            first.push(byte[0]);
        }
        let count = first.iter().take_while(|byte| is_continuation(**byte)).count() as u64;
        // More of them in a row are not UTF-8, and are left as they are.
        Ok(if count > MAX_CONTINUATIONS { 0 } else { count })
    }

    /// Passes the kept bytes from `position` on, oldest first.
    pub(super) fn read(&self, mut position: u64, into: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = vec![0; COPY_BYTES];
        while position < self.total {
            let at = position % self.capacity;
            let length = (self.capacity - at).min(self.total - position).min(COPY_BYTES as u64);
            let piece = &mut buffer[..usize::try_from(length).unwrap_or(COPY_BYTES)];
            self.file.read_exact_at(piece, at)?;
            into(piece)?;
            position += length;
        }
        Ok(())
    }
}
