//! The files of entries of the tool cache: `AB/REST` below a directory of their own, by the digits of the key. Nothing
//! is synced: what a power cut tears does not have the hash that its record names, and is a miss.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::blobs::{Form, Unpacking, sum};
use crate::dispatcher::data_dir::create_private;
use crate::model::{BlobId, CacheKey, ToolEntry};

/// The directory of files that are being written.
const NEW: &str = "new";
/// Digits of a key that name the directory of its file.
const DIRECTORY_DIGITS: usize = 2;

/// The files of all entries.
#[derive(Debug)]
pub(super) struct EntryFiles {
    root: PathBuf,
    /// Numbers the files in [`NEW`].
    written: AtomicU64,
}

/// A file that is being written. It is gone unless it becomes that of an entry.
pub(crate) struct NewEntryFile {
    path: PathBuf,
    unpacking: Option<Unpacking<File>>,
}

impl NewEntryFile {
    /// Takes the next bytes.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.unpacking.as_mut().map_or(Ok(()), |unpacking| unpacking.take(bytes))
    }

    /// Ends the file. Returns the hash and the number of its bytes.
    pub(crate) fn finish(&mut self) -> io::Result<(BlobId, u64)> {
        let unpacking = self.unpacking.take().ok_or(io::ErrorKind::UnexpectedEof)?;
        unpacking.finish().map(|(_, blob, bytes)| (blob, bytes))
    }
}

impl Drop for NewEntryFile {
    fn drop(&mut self) {
        // Once it is the file of an entry, there is nothing of this name.
        fs::remove_file(&self.path).ok();
    }
}

impl EntryFiles {
    /// Opens the directory, and makes it for its owner alone if it is missing. Files that were not completed are
    /// removed.
    pub(super) fn open(root: PathBuf) -> io::Result<Self> {
        let new = root.join(NEW);
        drop(fs::remove_dir_all(&new));
        create_private(&new)?;
        Ok(Self { root, written: AtomicU64::new(0) })
    }

    /// Begins a file of at most `limit` bytes.
    pub(super) fn begin(&self, limit: u64) -> io::Result<NewEntryFile> {
        let path = self.root.join(NEW).join(self.written.fetch_add(1, Ordering::Relaxed).to_string());
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        // Made first, so that the file goes if the rest fails.
        let mut new = NewEntryFile { path, unpacking: None };
        new.unpacking = Some(Unpacking::new(Form::Plain, file, limit)?);
        Ok(new)
    }

    /// Makes the file that of the entry with this key, in place of one that is there.
    pub(super) fn put(&self, new: &NewEntryFile, key: &CacheKey) -> io::Result<()> {
        let to = self.path(key);
        match fs::rename(&new.path, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_private(to.parent().unwrap_or(&self.root))?;
                fs::rename(&new.path, &to)
            }
            other => other,
        }
    }

    /// Opens the file of an entry; `None` if it is not there. With `verify`, also if its bytes are not the entry's.
    pub(super) fn read(&self, entry: &ToolEntry, verify: bool) -> io::Result<Option<File>> {
        let mut file = match File::open(self.path(&entry.key)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_whole = file.metadata()?.len() == entry.bytes && (!verify || sum(&file)? == (entry.blob, entry.bytes));
        file.rewind()?;
        Ok(is_whole.then_some(file))
    }

    /// Removes the file of an entry.
    pub(super) fn remove(&self, key: &CacheKey) {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("the file of the entry {} of the tool cache is not removed: {error}", key.short());
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Returns the keys of all files.
    pub(super) fn keys(&self) -> Vec<CacheKey> {
        let mut keys = Vec::new();
        for directory in list(&self.root) {
            let Some(first) = directory.file_name().and_then(|name| name.to_str()) else { continue };
            for file in list(&directory) {
                let rest = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                keys.extend(format!("{first}{rest}").parse::<CacheKey>());
            }
        }
        keys
    }

    /// Returns the free space of the disk, in bytes.
    pub(super) fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn path(&self, key: &CacheKey) -> PathBuf {
        let (directory, rest) = key.as_str().split_at(DIRECTORY_DIGITS);
        self.root.join(directory).join(rest)
    }
}

/// Returns the paths in a directory; none if it cannot be read.
fn list(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
