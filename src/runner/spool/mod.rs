//! The spool: a stream on disk until the dispatcher has it. The file is made at the first byte, so that a silent
//! attempt costs none. One thread writes (`writer.rs`), another reads the complete bytes. Output is bytes and is never
//! interpreted.

mod characters;
mod tail;
mod writer;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crc32fast::Hasher;

use super::read_times::ReadTimes;
use crate::clock;
use crate::model::{LogSummary, Moment};

pub(super) use writer::SpoolWriter;

const COPY_BYTES: usize = 256 * 1024;

/// The reading side.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    file: OnceLock<File>,
    /// Bytes that are complete in the file.
    len: AtomicU64,
    /// When the bytes were read.
    times: Mutex<ReadTimes>,
    /// The uploader was told of bytes and has not looked at them yet.
    pub(super) is_announced: AtomicBool,
}

impl Spool {
    /// The spool of an attempt that begins.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: OnceLock::new(),
            len: AtomicU64::new(0),
            times: Mutex::default(),
            is_announced: AtomicBool::new(false),
        }
    }

    /// Opens the spool of an earlier run. Returns `None` if the attempt had printed nothing.
    pub(super) fn recover(path: PathBuf) -> io::Result<Option<(Self, LogSummary)>> {
        let file = match File::options().read(true).append(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let (bytes, crc32) = checksum(&file)?;
        if bytes == 0 {
            return Ok(None);
        }
        let spool = Self::new(path);
        spool.len.store(bytes, Ordering::Release);
        spool.file.get_or_init(|| file);
        Ok(Some((spool, LogSummary { bytes, crc32, missing: None })))
    }

    /// Returns the number of bytes that can be read.
    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// Reads at most `limit` bytes from `offset` on.
    pub(super) fn read(&self, offset: u64, limit: u64) -> io::Result<Vec<u8>> {
        let wanted = self.len().saturating_sub(offset).min(limit);
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
        let Some(file) = self.file.get() else { return Ok(bytes) };
        while bytes.len() < bytes.capacity() && (bytes.len() as u64) < wanted {
            let at = offset + bytes.len() as u64;
            if rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        bytes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    /// Returns how old the bytes of a piece are at `now`, as pairs of an offset in the piece and an age in
    /// milliseconds; none for bytes of an earlier run.
    pub(super) fn ages(&self, offset: u64, length: u64, now: Moment) -> Vec<(u64, u64)> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).ages(offset, length, now)
    }

    /// Deletes the file, if there is one. A reader that has it open may go on.
    pub(super) fn remove(&self) {
        if self.file.get().is_some() {
            remove(&self.path);
        }
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = match self.file.get() {
            Some(file) => file,
            None => {
                let file = create(&self.path)?;
                self.file.get_or_init(|| file)
            }
        };
        // First the bytes and their time, then the length: a reader never sees a length without them.
        file.write_all(bytes)?;
        self.times.lock().unwrap_or_else(PoisonError::into_inner).note(self.len(), clock::now());
        self.len.fetch_add(bytes.len() as u64, Ordering::Release);
        Ok(())
    }
}

/// Creates an empty file, and its directory if somebody has removed that.
fn create(path: &Path) -> io::Result<File> {
    let create = || File::options().read(true).write(true).create(true).truncate(true).open(path);
    match create() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            create()
        }
        created => created,
    }
}

/// Deletes a spool's file by its path.
pub(super) fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::warn!("could not delete {}: {error}", path.display());
        }
        Ok(()) | Err(_) => {}
    }
}

fn checksum(file: &File) -> io::Result<(u64, u32)> {
    let mut buffer = vec![0; COPY_BYTES];
    let (mut crc, mut bytes) = (Hasher::new(), 0);
    loop {
        let length = file.read_at(&mut buffer, bytes)?;
        if length == 0 {
            return Ok((bytes, crc.finalize()));
        }
        crc.update(&buffer[..length]);
        bytes += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_run_spooled_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a1.log");
        Spool::new(path.clone()).append(b"half a li").unwrap();
        let (spool, summary) = Spool::recover(path.clone()).unwrap().unwrap();
        assert_eq!(summary, LogSummary { bytes: 9, crc32: crc32fast::hash(b"half a li"), missing: None });
        assert_eq!(spool.read(5, 100).unwrap(), b"a li");
        spool.remove();
        assert!(!path.exists());
    }
}
