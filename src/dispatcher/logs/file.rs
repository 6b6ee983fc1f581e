//! The file of one log: appended to, counted and summed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crc32fast::Hasher;

use super::times::TimesFile;
use crate::model::ShortLog;

/// A log file that is open for writing.
pub(super) struct LogFile {
    file: File,
    len: u64,
    hasher: Hasher,
    /// The bytes, as long as they are few and none of them was synced.
    short: Option<Vec<u8>>,
    times: TimesFile,
    /// The directory whose entry for this file has not been synced yet.
    unsynced_directory: Option<PathBuf>,
}

impl LogFile {
    /// Opens the file, or creates it with its directories. A file that has bytes already is read through, to compute
    /// the checksum.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let directory = path.parent().map(Path::to_owned).unwrap_or_default();
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let mut file = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&directory)?;
                options.open(path)
            }
            other => other,
        }?;
        let (mut len, mut hasher, mut short) = (0, Hasher::new(), Some(Vec::new()));
        // Most files are new.
        if file.metadata()?.len() > 0 {
            let mut buffer = vec![0; 64 * 1024];
            while let count @ 1.. = file.read(&mut buffer)? {
                hasher.update(&buffer[..count]);
                len += count as u64;
                add_short(&mut short, &buffer[..count]);
            }
        }
        let unsynced_directory = (len == 0).then_some(directory);
        Ok(Self { file, len, hasher, short, times: TimesFile::of(path), unsynced_directory })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn crc32(&self) -> u32 {
        self.hasher.clone().finalize()
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        add_short(&mut self.short, bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Notes when the bytes from `offset` on were written, before they are appended: who reads them then knows it.
    pub(super) fn note_time(&mut self, offset: u64, at_ms: i64) {
        self.times.note(offset, at_ms);
    }

    /// Empties the file, because its bytes are not those that were sent.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.times.clear()?;
        self.len = 0;
        self.hasher = Hasher::new();
        self.short = Some(Vec::new());
        Ok(())
    }

    /// Returns the bytes if they are few enough for the store to keep them.
    pub(super) fn short(&self) -> Option<&[u8]> {
        self.short.as_deref()
    }

    /// Makes the file durable, its directory entry included.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        if let Some(directory) = &self.unsynced_directory {
            // The build's directory may be new too, and so its parent's entry for it.
            File::open(directory)?.sync_all()?;
            if let Some(parent) = directory.parent() {
                File::open(parent)?.sync_all()?;
            }
            self.unsynced_directory = None;
        }
        Ok(())
    }
}

/// Adds the next bytes of a stream that was short so far.
fn add_short(short: &mut Option<Vec<u8>>, bytes: &[u8]) {
    match short {
        Some(before) if before.len() + bytes.len() <= ShortLog::MAX_BYTES => before.extend_from_slice(bytes),
        _ => *short = None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_opened_again_goes_on_where_it_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app").join("b1").join("test.1.log");
        let mut log = LogFile::open(&path).unwrap();
        log.append(b"hello ").unwrap();
        log.sync().unwrap();
        drop(log);
        let mut log = LogFile::open(&path).unwrap();
        assert_eq!(log.len(), 6);
        log.append(b"world\0\xff").unwrap();
        assert_eq!(log.crc32(), crc32fast::hash(b"hello world\0\xff"));
        assert_eq!(fs::read(&path).unwrap(), b"hello world\0\xff");
        log.clear().unwrap();
        assert_eq!((log.len(), log.crc32()), (0, 0));
    }

    #[test]
    fn the_bytes_of_a_short_log_are_known_and_those_of_a_longer_one_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app/b1/test.1.log");
        let mut log = LogFile::open(&path).unwrap();
        assert_eq!(log.short(), Some(&[][..]));
        log.append(b"hello ").unwrap();
        log.append(b"world").unwrap();
        assert_eq!(log.short(), Some(&b"hello world"[..]));
        let mut again = LogFile::open(&path).unwrap();
        assert_eq!(again.short(), Some(&b"hello world"[..]));
        again.append(&[b'x'; ShortLog::MAX_BYTES - 11]).unwrap();
        assert_eq!(again.short().map(<[u8]>::len), Some(ShortLog::MAX_BYTES));
        again.append(b"x").unwrap();
        assert_eq!(again.short(), None);
        assert_eq!(LogFile::open(&path).unwrap().short(), None);
        again.clear().unwrap();
        assert_eq!(again.short(), Some(&[][..]));
    }
}
