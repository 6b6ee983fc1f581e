//! The directories in which packs arrive, one pack at a time in each, and the note that each may hold of its pack.
//!
//! A note makes a small pack durable: its bytes, in a file that has its full length already, so that one flush of the
//! disk is enough. The pack's own files and the directory that they are moved to would take three, each with an entry
//! in the file system's journal; they are synced afterwards, when nobody waits any more. A process that is ended in
//! between leaves the directory with its note, and the next one receives the pack from there once more.
//!
//! Knows nothing of what is in a pack. Used by [`super::receiver`] only.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::GitError;

/// What the names of these directories start with. Each is locked for as long as its receiver lives.
const PREFIX: &str = "incoming-";
const NOTE: &str = "note";

/// The largest pack that is noted. A push is mostly far smaller; beyond this, syncing files is not what takes time.
pub(super) const NOTED_BYTES_MAX: usize = 256 << 10;

/// A note begins with these, then the pack's length and the CRC-32 of its bytes.
const MAGIC: [u8; 4] = *b"note";
const HEADER_BYTES: usize = 12;

/// A directory for one pack at a time. Removed on drop with all that is in it.
pub(super) struct Incoming {
    directory: TempDir,
    note: Option<File>,
    _lock: File,
}

impl Incoming {
    pub(super) fn new(objects: &Path) -> Result<Self, GitError> {
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(objects);
        let directory = directory.map_err(GitError::io("make a directory in", objects))?;
        let lock = File::open(directory.path()).and_then(|opened| opened.lock().map(|()| opened));
        let lock = lock.map_err(GitError::io("lock", directory.path()))?;
        let incoming = Self { directory, note: None, _lock: lock };
        fs::create_dir(incoming.packs()).map_err(GitError::io("make directory", &incoming.packs()))?;
        Ok(incoming)
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where the pack is put together.
    pub(super) fn packs(&self) -> PathBuf {
        self.path().join("pack")
    }

    /// Makes the pack durable.
    pub(super) fn note(&mut self, pack: &[u8]) -> Result<(), GitError> {
        let path = self.path().join(NOTE);
        let note = match self.note.take() {
            Some(note) => note,
            None => self.make_note(&path).map_err(GitError::io("make", &path))?,
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES + pack.len());
        bytes.extend(MAGIC);
        bytes.extend((pack.len() as u32).to_le_bytes());
        bytes.extend(crc32fast::hash(pack).to_le_bytes());
        bytes.extend(pack);
        note.write_all_at(&bytes, 0).and_then(|()| note.sync_data()).map_err(GitError::io("write", &path))?;
        self.note = Some(note);
        Ok(())
    }

    /// An empty note of full length, durable and found by its name.
    fn make_note(&self, path: &Path) -> io::Result<File> {
        let note = File::create_new(path)?;
        note.write_all_at(&[0; HEADER_BYTES + NOTED_BYTES_MAX], 0)?;
        note.sync_all()?;
        File::open(self.path())?.sync_all()?;
        // The directory itself has to be found as well.
        self.path().parent().map_or(Ok(()), |objects| File::open(objects)?.sync_all())?;
        Ok(note)
    }

    /// The pack needs its note no longer. Not synced: to find it once more would only cost a moment.
    pub(super) fn forget_note(&self) {
        if let Some(note) = &self.note {
            drop(note.write_all_at(&[0; HEADER_BYTES], 0));
        }
    }

    /// Leaves the directory to whoever looks for [`abandoned`] ones.
    pub(super) fn leave(self) {
        let _left = self.directory.keep();
    }
}

/// A directory that a process left behind that was ended.
pub(super) struct Abandoned {
    path: PathBuf,
    _lock: File,
}

/// The directories that nobody has in use, and from now on the caller has.
pub(super) fn abandoned(objects: &Path) -> Result<Vec<Abandoned>, GitError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(objects).map_err(GitError::io("read", objects))? {
        let entry = entry.map_err(GitError::io("read", objects))?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        // Gone by now, perhaps.
        let Ok(lock) = File::open(&path) else { continue };
        // One that is not locked yet has nothing in it yet.
        if lock.try_lock().is_ok() && path.join("pack").exists() {
            found.push(Abandoned { path, _lock: lock });
        }
    }
    Ok(found)
}

impl Abandoned {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The pack that is noted in it. None as well where a note was being written: then nobody was told of its pack.
    pub(super) fn noted(&self) -> Result<Option<Vec<u8>>, GitError> {
        let path = self.path.join(NOTE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(GitError::io("read", &path))?,
        };
        Ok(pack_of(&bytes).map(<[u8]>::to_vec))
    }

    pub(super) fn remove(self) -> Result<(), GitError> {
        fs::remove_dir_all(&self.path).map_err(GitError::io("remove", &self.path))
    }
}

fn pack_of(note: &[u8]) -> Option<&[u8]> {
    let (header, rest) = note.split_at_checked(HEADER_BYTES)?;
    let number = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let pack = rest.get(..number(4)? as usize)?;
    (header.starts_with(&MAGIC) && crc32fast::hash(pack) == number(8)?).then_some(pack)
}
