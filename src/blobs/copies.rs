//! A bounded directory of copies of blobs that are stored elsewhere, so that they need not be sent again. `AB/REST` is
//! the copy of the blob of that name. Nothing is synced, and nothing is believed: a copy is verified whenever it is
//! read, so a power cut, a bad disk or another process can only make it useless. For the same reason a copy can be made
//! of a file that is not read again. The copies that were used longest ago are removed first.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::content::Summing;
use super::directory::TreeDirectory;
use super::store::make_private;
use crate::clock;
use crate::model::BlobId;

/// The directory of copies that are being written.
const UNFINISHED: &str = "unfinished";
/// A copy that is used again counts as new if it is older than this. More often would only cost writes.
const RENEW_AFTER: Duration = Duration::from_secs(60 * 60);
/// Bytes that are copied at a time.
const PIECE_BYTES: usize = 128 * 1024;
/// The part of the limit that a removal leaves, in tenths, so that it is not done again at once.
const LEFT_TENTHS: u64 = 9;
/// The part of the limit that one owner's files may have, so that a large artifact does not push out everything else.
const LARGEST_PART: u64 = 2;

/// Copies of blobs in a directory of this process. Clones share one.
#[derive(Debug, Clone)]
pub struct BlobCopies {
    root: Arc<PathBuf>,
    limit: u64,
    /// The number of the next file that is written.
    next: Arc<AtomicU64>,
}

/// A copy that is open for reading.
#[derive(Debug)]
pub struct StoredCopy {
    id: BlobId,
    path: PathBuf,
    file: File,
    length: u64,
}

/// A copy that is being written. If it is dropped, nothing of it stays.
#[derive(Debug)]
pub struct CopyWriter {
    path: PathBuf,
    file: File,
    is_kept: bool,
}

impl BlobCopies {
    /// The copies in this directory, of at most `limit` bytes. Removes what an earlier process was writing when it
    /// ended, and makes nothing yet.
    #[must_use]
    pub fn open(root: PathBuf, limit: u64) -> Self {
        match fs::remove_dir_all(root.join(UNFINISHED)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("could not remove unfinished copies of blobs: {error}");
            }
            Ok(()) | Err(_) => {}
        }
        Self { root: Arc::new(root), limit, next: Arc::default() }
    }

    /// Whether files of so many bytes are worth a copy.
    #[must_use]
    pub fn takes(&self, bytes: u64) -> bool {
        bytes <= self.limit / LARGEST_PART
    }

    /// Whether there is a copy of this length. If there is, it was just used.
    #[must_use]
    pub fn has(&self, id: BlobId, bytes: u64) -> bool {
        self.find(id).is_some_and(|copy| copy.length == bytes)
    }

    /// Opens a copy, which was just used then. One that cannot be opened is none.
    #[must_use]
    pub fn find(&self, id: BlobId) -> Option<StoredCopy> {
        let path = self.path(id);
        let file = File::open(&path).ok()?;
        let meta = file.metadata().ok()?;
        let now = now();
        let is_old = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age > RENEW_AFTER);
        if meta.modified().is_ok_and(is_old) {
            // It goes a little sooner if this fails.
            file.set_modified(now).ok();
        }
        Some(StoredCopy { id, path, file, length: meta.len() })
    }

    /// Returns a blob of at most `limit` bytes from its copy.
    #[must_use]
    pub fn text(&self, id: BlobId, limit: u64) -> Option<Vec<u8>> {
        let copy = self.find(id).filter(|copy| copy.length <= limit)?;
        let (mut text, length) = (Vec::new(), copy.length);
        let is_sound = copy.read(length, &mut text, &mut Vec::new()).unwrap_or(false);
        is_sound.then_some(text)
    }

    /// Makes a copy of a blob that is in memory.
    pub fn keep_text(&self, id: BlobId, text: &[u8]) -> io::Result<()> {
        let mut copy = self.begin()?;
        copy.write_all(text)?;
        self.keep(id, copy)
    }

    /// Makes a copy of a file that has the bytes of this blob.
    pub fn keep_file(&self, id: BlobId, mut file: &File) -> io::Result<()> {
        let mut copy = self.begin()?;
        file.seek(SeekFrom::Start(0))?;
        // The kernel copies, and shares the blocks if the file system can.
        io::copy(&mut file, &mut copy.file)?;
        self.keep(id, copy)
    }

    /// Makes a copy by moving a file that has the bytes of this blob, and that nobody else will read or write.
    pub fn keep_moved(&self, id: BlobId, root: &TreeDirectory, path: &str) -> io::Result<()> {
        let (file, _) = root.file(path)?;
        let to = self.path(id);
        let moved = root.move_file(path, &to).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            make_private(to.parent().unwrap_or(&to))?;
            root.move_file(path, &to)
        });
        match moved {
            // It was just used.
            Ok(()) => file.set_modified(now()),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => self.keep_file(id, &file),
            Err(error) => Err(error),
        }
    }

    /// Begins a copy.
    pub fn begin(&self) -> io::Result<CopyWriter> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(UNFINISHED).join(number.to_string());
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            make_private(path.parent().unwrap_or(&path))?;
            options.open(&path)
        })?;
        Ok(CopyWriter { path, file, is_kept: false })
    }

    /// Keeps a copy that is complete.
    pub fn keep(&self, id: BlobId, mut copy: CopyWriter) -> io::Result<()> {
        let to = self.path(id);
        match fs::rename(&copy.path, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_private(to.parent().unwrap_or(&to))?;
                fs::rename(&copy.path, &to)?;
            }
            renamed => renamed?,
        }
        copy.is_kept = true;
        Ok(())
    }

    /// Removes the copies that were used longest ago, if all of them are too many. Returns the bytes that this freed.
    pub fn shrink(&self) -> io::Result<u64> {
        let mut copies = Vec::new();
        let mut total = 0;
        for directory in entries(&self.root)?.iter().filter(|path| !path.ends_with(UNFINISHED)) {
            for path in entries(directory)? {
                let Ok(meta) = fs::symlink_metadata(&path) else { continue };
                total += meta.len();
                copies.push((meta.modified()?, meta.len(), path));
            }
        }
        if total <= self.limit {
            return Ok(0);
        }
        copies.sort();
        let left = self.limit / 10 * LEFT_TENTHS;
        let mut freed = 0;
        for (_, bytes, path) in copies {
            if total - freed <= left {
                break;
            }
            match fs::remove_file(&path) {
                // Another slot is removing copies, too.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
            freed += bytes;
        }
        Ok(freed)
    }

    fn path(&self, id: BlobId) -> PathBuf {
        let name = id.to_string();
        let (directory, rest) = name.split_at(2);
        self.root.join(directory).join(rest)
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(clock::wall().0.max(0).unsigned_abs())
}

impl StoredCopy {
    /// Writes the blob, which has so many bytes. Returns false if the bytes are not those of its name: what was written
    /// then is of no use, and the copy is removed. An error is one of the writer. `buffer` may be used again.
    pub fn read(mut self, bytes: u64, to: &mut dyn Write, buffer: &mut Vec<u8>) -> io::Result<bool> {
        // One that grew is found by one byte more.
        let mut left = bytes.saturating_add(1);
        let mut summing = Summing::new(to, left);
        buffer.resize(PIECE_BYTES, 0);
        while left > 0 {
            match self.file.read(buffer) {
                Ok(0) => break,
                Ok(count) => {
                    let taken = count.min(usize::try_from(left).unwrap_or(count));
                    summing.write_all(&buffer[..taken])?;
                    left -= taken as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A part of the disk that cannot be read is damage like any other.
                Err(_) => break,
            }
        }
        let (_, found, length) = summing.finish();
        if (found, length) == (self.id, bytes) {
            return Ok(true);
        }
        log::warn!("the copy of blob {} was damaged on the disk, and is removed", self.id);
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("could not remove {}: {error}", self.path.display());
            }
            Ok(()) | Err(_) => {}
        }
        Ok(false)
    }
}

/// Returns the entries of a directory; none if it is not there.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

impl Write for CopyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for CopyWriter {
    fn drop(&mut self) {
        if !self.is_kept {
            // The error is ignored: the next start removes what is left.
            fs::remove_file(&self.path).ok();
        }
    }
}
