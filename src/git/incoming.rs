//! The directories in which packs arrive, one pack at a time in each, and the notes of packs that each may hold.
//!
//! A note makes a small pack durable. It holds the pack's bytes, in a file that already has its full length, so that
//! one flush of the disk is enough. Syncing the pack's own files and the directory they are moved to would take three
//! flushes, each with an entry in the file system's journal, and would hold up the runner that is preparing the commit
//! on the same disk. So they are synced later, when it is quiet or the notes are full. If the process ends in between,
//! the directory stays with its notes, and the next process receives the packs from the notes again.
//!
//! Knows nothing about a pack's content. Used only by [`super::receiver`].

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::error::GitError;
use crate::locked::Locked;

/// Prefix of these directories' names. Each is locked as long as its receiver lives.
const PREFIX: &str = "incoming-";
const NOTES: &str = "notes";

/// The largest pack that is noted. Most pushes are far smaller. For a larger pack, syncing its files is not what takes
/// the time.
pub(super) const NOTED_BYTES_MAX: usize = 256 << 10;

/// Capacity of the notes; when they are full, the packs' files are synced.
const NOTES_BYTES: usize = 1 << 20;

/// A note begins with these bytes, then the pack's length and the CRC-32 of its bytes.
const MAGIC: [u8; 4] = *b"note";
const HEADER_BYTES: usize = 12;

/// A directory for one pack at a time. Dropping it removes it with all its content, unless its notes are still needed.
pub(super) struct IncomingDirectory {
    directory: TempDir,
    notes: Option<Notes>,
    _lock: Locked,
}

/// The notes of packs whose files are not synced yet.
struct Notes {
    file: File,
    used: usize,
    /// Names of the noted packs.
    packs: Vec<String>,
}

impl IncomingDirectory {
    pub(super) fn new(objects: &Path) -> Result<Self, GitError> {
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(objects);
        let directory = directory.map_err(GitError::io("make a directory in", objects))?;
        let lock = File::open(directory.path()).and_then(|opened| opened.lock().map(|()| opened));
        let lock = lock.map_err(GitError::io("lock", directory.path()))?;
        let incoming = Self { directory, notes: None, _lock: Locked::new(lock) };
        fs::create_dir(incoming.packs()).map_err(GitError::io("make directory", &incoming.packs()))?;
        Ok(incoming)
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The directory in which a pack is put together.
    pub(super) fn packs(&self) -> PathBuf {
        self.path().join("pack")
    }

    /// The store's `objects` directory.
    fn objects(&self) -> &Path {
        self.path().parent().unwrap_or(Path::new("."))
    }

    /// Makes the named pack durable by a note, before it is moved among the store's packs. Returns false if the disk
    /// has no room for notes; then the caller must sync the pack's files.
    pub(super) fn note(&mut self, name: String, pack: &[u8]) -> Result<bool, GitError> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + pack.len());
        bytes.extend(MAGIC);
        bytes.extend((pack.len() as u32).to_le_bytes());
        bytes.extend(crc32fast::hash(pack).to_le_bytes());
        bytes.extend(pack);
        if self.notes.as_ref().is_some_and(|notes| notes.used + bytes.len() > NOTES_BYTES) {
            self.sync_noted()?;
        }
        let path = self.path().join(NOTES);
        let mut notes = match self.notes.take() {
            Some(notes) => notes,
            None => match self.make_notes(&path).map_err(GitError::io("make", &path)) {
                Ok(notes) => notes,
                Err(error) if error.is_disk_full() => {
                    // A partial file is of no use. If it cannot be removed, `truncate` empties it the next time.
                    drop(fs::remove_file(&path));
                    return Ok(false);
                }
                Err(error) => return Err(error),
            },
        };
        let written = notes.file.write_all_at(&bytes, notes.used as u64).and_then(|()| notes.file.sync_data());
        // After a failed write, the next note reuses the space.
        if written.is_ok() {
            notes.used += bytes.len();
            notes.packs.push(name);
        }
        self.notes = Some(notes);
        written.map(|()| true).map_err(GitError::io("write", &path))
    }

    /// Makes a durable notes file of full length that holds no note.
    fn make_notes(&self, path: &Path) -> io::Result<Notes> {
        let file = File::options().write(true).create(true).truncate(true).open(path)?;
        file.write_all_at(&vec![0; NOTES_BYTES], 0)?;
        file.sync_all()?;
        File::open(self.path())?.sync_all()?;
        // The entry of the directory itself must be durable as well, or the notes are not found after a power loss.
        File::open(self.objects())?.sync_all()?;
        Ok(Notes { file, used: 0, packs: Vec::new() })
    }

    /// Syncs the files of the noted packs, so that they no longer need their notes.
    pub(super) fn sync_noted(&mut self) -> Result<(), GitError> {
        let packs = self.objects().join("pack");
        let Some(notes) = self.notes.as_mut().filter(|notes| !notes.packs.is_empty()) else { return Ok(()) };
        for file in notes.packs.iter().flat_map(|name| files_of(name)) {
            match sync(&packs.join(file)) {
                // The pack was merged into another one meanwhile, which is durable.
                Err(GitError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                other => other?,
            }
        }
        sync(&packs)?;
        notes.packs.clear();
        notes.used = 0;
        // Not synced: after a power loss the packs would be received from the notes again, which costs only a moment.
        drop(notes.file.write_all_at(&[0; HEADER_BYTES], 0));
        Ok(())
    }
}

impl Drop for IncomingDirectory {
    fn drop(&mut self) {
        if let Err(error) = self.sync_noted() {
            let store = self.objects().display();
            log::warn!("{error}: packs in {store} will be received from their notes again at the next start");
            self.directory.disable_cleanup(true);
        }
    }
}

/// The files of a pack, in the order in which they must be moved into place.
pub(super) fn files_of(name: &str) -> [String; 2] {
    [format!("pack-{name}.pack"), format!("pack-{name}.idx")]
}

/// Waits until a file, or the entries of a directory, are on disk.
pub(super) fn sync(path: &Path) -> Result<(), GitError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(GitError::io("sync", path))
}

/// A directory left behind by a process that was ended.
pub(super) struct Abandoned {
    path: PathBuf,
    _lock: Locked,
}

/// Returns the directories that no process uses, and locks them for the caller.
pub(super) fn abandoned(objects: &Path) -> Result<Vec<Abandoned>, GitError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(objects).map_err(GitError::io("read", objects))? {
        let entry = entry.map_err(GitError::io("read", objects))?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        // It may be gone already.
        let Ok(lock) = File::open(&path) else { continue };
        // A directory without `pack` in it was made a moment ago, and its owner has not locked it yet.
        if lock.try_lock().is_ok() && path.join("pack").exists() {
            found.push(Abandoned { path, _lock: Locked::new(lock) });
        }
    }
    Ok(found)
}

impl Abandoned {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the packs noted in the directory. A note that was only partly written is left out: nobody was told of
    /// its pack.
    pub(super) fn noted(&self) -> Result<Vec<Vec<u8>>, GitError> {
        let path = self.path.join(NOTES);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(GitError::io("read", &path))?,
        };
        let mut rest = &bytes[..];
        Ok(std::iter::from_fn(|| take_note(&mut rest).map(<[u8]>::to_vec)).collect())
    }

    pub(super) fn remove(self) -> Result<(), GitError> {
        fs::remove_dir_all(&self.path).map_err(GitError::io("remove", &self.path))
    }
}

/// Returns the next note's pack. Behind the last note there may be older notes, whose packs are durable without them.
fn take_note<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (header, behind) = rest.split_at_checked(HEADER_BYTES)?;
    let number = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let (pack, behind) = behind.split_at_checked(number(4)? as usize)?;
    if !header.starts_with(&MAGIC) || crc32fast::hash(pack) != number(8)? {
        return None;
    }
    *rest = behind;
    Some(pack)
}
