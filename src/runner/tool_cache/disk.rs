//! The disk tier of a runner's tool cache. All attempts share it; each sees the scopes that its lease names.
//!
//! An entry is written beside, and renamed to its place when it is whole. It is never changed. Nothing is synced: what
//! a power cut tears is found by its sum, and is a miss.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use super::entry::{About, Entry, Writing};
use super::index::{Index, Place};
use super::limits::{ENTRY_BYTES, ENTRY_SHARE, NOTED_MS};
use crate::clock;
use crate::error_chain::chain;
use crate::model::{BlobId, Trust};
use crate::threads;

/// The folders of entries, by the trust of those who wrote them.
const FOLDERS: [(&str, Trust); 2] = [("trusted", Trust::Trusted), ("untrusted", Trust::Untrusted)];
/// The folder of entries that are being written.
const NEW: &str = "new";

/// The disk tier.
#[derive(Debug)]
pub(crate) struct DiskTier {
    root: PathBuf,
    /// The most bytes of all entries.
    limit: u64,
    /// Free space below which nothing is stored.
    min_free: u64,
    /// The list of entries. It is made when the first one is to be written. Held for a few system calls, except when it
    /// is made, or when entries are removed; a reader does not wait for that.
    index: Mutex<Option<Index>>,
    /// Numbers the files in [`NEW`].
    written: AtomicU64,
}

/// A file that is gone unless it becomes an entry.
pub(super) struct NewEntry {
    path: PathBuf,
    writing: Option<Writing>,
}

impl NewEntry {
    /// Takes the next bytes.
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writing.as_mut().map_or(Ok(()), |writing| writing.take(bytes))
    }
}

impl Drop for NewEntry {
    fn drop(&mut self) {
        // Once it is an entry, there is nothing of this name.
        fs::remove_file(&self.path).ok();
    }
}

impl DiskTier {
    /// A cache in this directory, which need not exist. Nothing else may use it. What an earlier runner has not
    /// completed is removed.
    pub(crate) fn new(root: PathBuf, limit: u64, min_free: u64) -> Self {
        drop(fs::remove_dir_all(root.join(NEW)));
        Self { root, limit, min_free, index: Mutex::new(None), written: AtomicU64::new(0) }
    }

    /// Whether the cache is switched off.
    pub(crate) fn is_off(&self) -> bool {
        self.limit == 0
    }

    /// Makes the directory. Called when an attempt begins: somebody may have removed it.
    pub(super) fn make(&self) -> io::Result<()> {
        fs::create_dir_all(self.root.join(NEW))
    }

    /// Returns the entry of this name in the scope of this trust.
    pub(super) fn read(&self, place: Place) -> Option<Entry> {
        let path = self.path(place);
        let found = File::open(&path).and_then(|file| {
            self.note_use(place, &file);
            Entry::read(file)
        });
        match found {
            Ok(Some(entry)) => return Some(entry),
            Ok(None) => log::warn!("the entry {} of the tool cache is damaged, and is removed", path.display()),
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => log::warn!("the entry {} of the tool cache is removed: {}", path.display(), chain(&error)),
        }
        fs::remove_file(&path).ok();
        if let Some(index) = threads::lock(&self.index).as_mut() {
            index.remove(place);
        }
        None
    }

    /// Whether there is an entry of this name. It may still turn out to be damaged.
    pub(super) fn has(&self, place: Place) -> bool {
        self.path(place).exists()
    }

    fn note_use(&self, place: Place, file: &File) {
        // Who makes the list or makes room must not hold up a reader, whose use is not important.
        let Ok(mut index) = self.index.try_lock() else { return };
        let is_due = index.as_mut().is_none_or(|index| index.use_at(place, clock::now().0, NOTED_MS));
        drop(index);
        if is_due {
            let at = |nanos| Timespec { tv_sec: 0, tv_nsec: nanos };
            let times = Timestamps { last_access: at(UTIME_OMIT), last_modification: at(UTIME_NOW) };
            rustix::fs::futimens(file, &times).ok();
        }
    }

    /// The most bytes of one entry.
    pub(super) fn longest(&self) -> u64 {
        ENTRY_BYTES.min(self.limit / ENTRY_SHARE)
    }

    /// Begins an entry. An error means that it cannot be kept.
    pub(super) fn begin(&self) -> io::Result<NewEntry> {
        let stat = rustix::fs::statvfs(&self.root)?;
        // The runner takes no job below `min_free`, and the cache must not be the reason for that.
        if stat.f_bavail.saturating_mul(stat.f_frsize) < self.min_free.saturating_mul(2) {
            return Err(ErrorKind::StorageFull.into());
        }
        let path = self.root.join(NEW).join(self.written.fetch_add(1, Ordering::Relaxed).to_string());
        let file = File::options().write(true).create_new(true).open(&path)?;
        let writing = Writing::new(file, self.longest())?;
        Ok(NewEntry { path, writing: Some(writing) })
    }

    /// Makes an entry of a complete file. The first one of a name stays. Returns whether it is this one.
    pub(super) fn keep(&self, mut new: NewEntry, place: Place, about: &About) -> io::Result<bool> {
        let Some(writing) = new.writing.take() else { return Ok(false) };
        let bytes = writing.finish(about)?;
        let path = self.path(place);
        let mut index = threads::lock(&self.index);
        let index = index.get_or_insert_with(|| self.look());
        // The file counts, and not the list: somebody may have emptied the directory meanwhile.
        if index.has(place) && path.exists() {
            return Ok(false);
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::rename(&new.path, &path)?;
        index.add(place, bytes);
        let gone = index.evict(self.limit);
        for place in &gone {
            // A reader of it has it open.
            fs::remove_file(self.path(*place)).ok();
        }
        if !gone.is_empty() {
            let (count, left) = (gone.len(), index.bytes() >> 20);
            log::info!("removed {count} entries of the tool cache that were not used for longest; {left} MiB are left");
        }
        Ok(true)
    }

    fn path(&self, place: Place) -> PathBuf {
        let (folder, _) = FOLDERS[usize::from(!place.is_trusted)];
        let name = place.name.to_string();
        self.root.join(folder).join(&name[..2]).join(name)
    }

    /// Lists the entries on the disk, in the order of their last use.
    fn look(&self) -> Index {
        let mut found = Vec::new();
        for (folder, trust) in FOLDERS {
            for part in list(&self.root.join(folder)) {
                for path in list(&part) {
                    let name = path.file_name().and_then(|name| name.to_str()?.parse::<BlobId>().ok());
                    let (Some(name), Ok(meta)) = (name, path.symlink_metadata()) else { continue };
                    if meta.is_file() {
                        found.push((meta.modified().ok(), Place::new(trust, name), meta.len()));
                    }
                }
            }
        }
        found.sort_unstable_by_key(|(used, ..)| *used);
        let mut index = Index::default();
        found.into_iter().for_each(|(_, place, bytes)| index.add(place, bytes));
        index
    }
}

/// Returns what is in a directory; nothing if it is not there.
fn list(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
