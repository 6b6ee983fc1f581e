//! A bounded directory of copies of blobs that are stored elsewhere, so that they need not be sent again. `AB/REST` is
//! the copy of the blob of that name. Nothing is synced, and nothing is believed: a copy is verified whenever it is
//! read, so a power cut, a bad disk or another process can only make it useless. The copies that were used longest ago
//! are removed first.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::content::Summing;
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

/// Copies of blobs in a directory of this process. Clones share one.
#[derive(Debug, Clone)]
pub struct BlobCopies {
    root: Arc<PathBuf>,
    limit: u64,
    /// The number of the next file that is written.
    next: Arc<AtomicU64>,
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

    /// Whether there is a copy of this length. If there is, it was just used.
    #[must_use]
    pub fn has(&self, id: BlobId, bytes: u64) -> bool {
        let Ok(file) = OpenOptions::new().append(true).open(self.path(id)) else { return false };
        let Ok(meta) = file.metadata() else { return false };
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(clock::wall().0.max(0).unsigned_abs());
        let is_old = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age > RENEW_AFTER);
        if meta.modified().is_ok_and(is_old) {
            // It goes a little sooner if this fails.
            file.set_modified(now).ok();
        }
        meta.len() == bytes
    }

    /// Returns the length of a copy, if there is one.
    #[must_use]
    pub fn length(&self, id: BlobId) -> Option<u64> {
        fs::metadata(self.path(id)).ok().map(|meta| meta.len())
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

    /// Writes a blob of so many bytes from its copy. Returns false if there is none, or if its bytes are not those of
    /// its name: what was written then is of no use, and the copy is removed.
    pub fn read(&self, id: BlobId, bytes: u64, to: &mut dyn Write) -> io::Result<bool> {
        let path = self.path(id);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        // One that grew is found by one byte more.
        let mut summing = Summing::new(to, bytes.saturating_add(1));
        let mut buffer = vec![0; PIECE_BYTES.min(usize::try_from(bytes).unwrap_or(PIECE_BYTES) + 1)];
        let mut left = bytes.saturating_add(1);
        while left > 0 {
            match file.read(&mut buffer) {
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
        if (found, length) == (id, bytes) {
            return Ok(true);
        }
        log::warn!("the copy of blob {id} was damaged on the disk, and is removed");
        fs::remove_file(&path)?;
        Ok(false)
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
            fs::remove_file(&path)?;
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
