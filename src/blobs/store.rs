//! The blobs of a data directory. `AB/REST` is the blob of that name, `AB/REST.zst` one that is compressed. What is on
//! its way is in `arriving/OWNER/`, and becomes a blob only when it is verified and synced, so that a blob is always
//! whole. Blobs that nothing refers to are removed by [`BlobStore::sweep`], once they are old enough.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::content::Form;
use crate::clock;
use crate::model::{BlobId, WallTime};
use crate::threads;

/// The directory of blobs that are on their way.
pub const ARRIVING: &str = "arriving";
/// The ending of a compressed blob.
const PACKED: &str = "zst";
/// The ending of a blob that is not whole yet.
pub(super) const PART: &str = "part";
/// The ending of a blob whose bytes are not those of its name any more.
const ROTTEN: &str = "rotten";
/// A blob that is used again counts as new if it is older than this. More often would only cost writes.
const RENEW_AFTER: Duration = Duration::from_secs(60 * 60);
/// From this many files on, the file system is synced as a whole.
const SYNC_ALL_FROM: usize = 32;

/// The blobs of a data directory. Clones share one.
#[derive(Debug, Clone)]
pub struct BlobStore {
    root: Arc<PathBuf>,
    /// Held while one blob is renewed or removed: a blob that was found to be there is not removed just then.
    renewing: Arc<Mutex<()>>,
}

/// How much of a blob is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// All of it, verified.
    Whole,
    /// The blob is not whole: this many bytes of its stored form have arrived.
    Part(u64),
}

/// A blob that is open for reading.
#[derive(Debug)]
pub struct StoredBlob {
    /// Reads the stored form.
    pub file: File,
    pub form: Form,
}

/// The files that a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub blobs: u64,
    pub bytes: u64,
}

impl BlobStore {
    /// Opens the directory, and makes it for its owner alone if it is missing.
    pub fn open(root: &Path) -> io::Result<Self> {
        make_private(&root.join(ARRIVING))?;
        Ok(Self::at(root))
    }

    /// The blobs in a directory that is only read.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: Arc::new(root.to_owned()), renewing: Arc::default() }
    }

    /// Opens a blob for reading; `None` if it is not there.
    pub fn read(&self, id: BlobId) -> io::Result<Option<StoredBlob>> {
        for form in [Form::Plain, Form::Packed] {
            match File::open(self.path(id, form)) {
                Ok(file) => return Ok(Some(StoredBlob { file, form })),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Returns the bytes that a blob takes on the disk; none if it is not there.
    pub fn stored_bytes(&self, id: BlobId) -> io::Result<u64> {
        Ok(match self.read(id)? {
            Some(blob) => blob.file.metadata()?.len(),
            None => 0,
        })
    }

    /// Returns whether a blob is there. If it is, the next sweep leaves it.
    pub fn renew(&self, id: BlobId) -> io::Result<bool> {
        let _renewing = threads::lock(&self.renewing);
        for form in [Form::Plain, Form::Packed] {
            let path = self.path(id, form);
            let meta = match fs::metadata(&path) {
                Ok(meta) => meta,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let now = system_time(clock::wall());
            if now.duration_since(meta.modified()?).is_ok_and(|age| age > RENEW_AFTER) {
                File::open(&path)?.set_modified(now)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Returns how much of a blob has arrived for this owner, and is no blob of the store yet.
    pub fn arrived(&self, owner: &str, id: BlobId) -> io::Result<Arrived> {
        for form in [Form::Plain, Form::Packed] {
            let whole = self.arriving(owner, id, form);
            if whole.try_exists()? {
                return Ok(Arrived::Whole);
            }
            match fs::metadata(whole.with_added_extension(PART)) {
                Ok(meta) => return Ok(Arrived::Part(meta.len())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Arrived::Part(0))
    }

    /// Makes blobs of everything that has arrived for this owner, durably.
    pub fn settle(&self, owner: &str) -> io::Result<()> {
        let directory = self.root.join(ARRIVING).join(owner);
        let mut whole = Vec::new();
        match fs::read_dir(&directory) {
            Ok(entries) => {
                for entry in entries {
                    let path = entry?.path();
                    if let Some((id, form)) = named(&path) {
                        whole.push((path, self.path(id, form)));
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        let sync = |paths: &mut dyn Iterator<Item = &Path>| -> io::Result<()> {
            if whole.len() >= SYNC_ALL_FROM {
                return Ok(rustix::fs::syncfs(File::open(&*self.root)?)?);
            }
            for path in paths {
                File::open(path)?.sync_all()?;
            }
            Ok(())
        };
        // The bytes come first: a blob that has its name is whole, whatever a power cut leaves.
        sync(&mut whole.iter().map(|(from, _)| from.as_path()))?;
        for (from, to) in &whole {
            match fs::rename(from, to) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make_private(above(to))?;
                    fs::rename(from, to)?;
                }
                other => other?,
            }
        }
        let directories: HashSet<&Path> = whole.iter().map(|(_, to)| above(to)).collect();
        sync(&mut directories.into_iter().chain([self.root.as_path()]))
    }

    /// Removes what has arrived for this owner and did not become a blob.
    pub fn clear(&self, owner: &str) {
        match fs::remove_dir_all(self.root.join(ARRIVING).join(owner)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("could not remove what is left of an upload of {owner}: {error}");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Takes a blob away whose bytes are not those of its name any more. If it is sent again, it is whole again.
    pub fn condemn(&self, id: BlobId) {
        for form in [Form::Plain, Form::Packed] {
            let path = self.path(id, form);
            match fs::rename(&path, path.with_added_extension(ROTTEN)) {
                Ok(()) => log::error!("blob {id} is damaged on the disk: it is set aside, and not delivered any more"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => log::error!("blob {id} is damaged on the disk, and cannot be set aside: {error}"),
            }
        }
    }

    /// Removes blobs that are not in `marked`, and everything that is on its way, if it was last used before `before`.
    pub fn sweep(&self, marked: &HashSet<BlobId>, before: WallTime) -> io::Result<Swept> {
        let before = system_time(before);
        let mut swept = Swept::default();
        for directory in fs::read_dir(&*self.root)? {
            let directory = directory?.path();
            if !directory.is_dir() {
                continue;
            }
            let is_arriving = directory.ends_with(ARRIVING);
            for entry in fs::read_dir(&directory)? {
                let entry = entry?.path();
                if named(&entry).is_some_and(|(id, _)| marked.contains(&id)) {
                    continue;
                }
                let _renewing = threads::lock(&self.renewing);
                let Ok(meta) = fs::symlink_metadata(&entry) else { continue };
                if meta.modified()? >= before {
                    continue;
                }
                let removed = if is_arriving { fs::remove_dir_all(&entry) } else { fs::remove_file(&entry) };
                match removed {
                    Ok(()) if is_arriving => {}
                    Ok(()) => {
                        swept.blobs += 1;
                        swept.bytes += meta.len();
                    }
                    Err(error) => log::warn!("could not remove {}: {error}", entry.display()),
                }
            }
        }
        Ok(swept)
    }

    /// Returns the free space of the disk, in bytes.
    pub fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&*self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Returns the path of a blob on its way.
    pub(super) fn arriving(&self, owner: &str, id: BlobId, form: Form) -> PathBuf {
        with_form(self.root.join(ARRIVING).join(owner).join(id.to_string()), form)
    }

    fn path(&self, id: BlobId, form: Form) -> PathBuf {
        let name = id.to_string();
        let (directory, rest) = name.split_at(2);
        with_form(self.root.join(directory).join(rest), form)
    }
}

fn with_form(path: PathBuf, form: Form) -> PathBuf {
    match form {
        Form::Plain => path,
        Form::Packed => path.with_added_extension(PACKED),
    }
}

/// Returns the whole blob that a path names, in either place.
fn named(path: &Path) -> Option<(BlobId, Form)> {
    let form = match path.extension() {
        None => Form::Plain,
        Some(ending) if ending == PACKED => Form::Packed,
        Some(_) => return None,
    };
    let (stem, above) = (path.file_stem()?.to_str()?, above(path).file_name()?.to_str()?);
    let id = stem.parse().or_else(|_| format!("{above}{stem}").parse()).ok()?;
    Some((id, form))
}

fn system_time(at: WallTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(at.0.max(0).unsigned_abs())
}

fn above(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Makes a directory for its owner alone, with its parents. One that is there is left as it is.
pub(super) fn make_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}
