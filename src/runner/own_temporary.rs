//! The temporary directories of a process that has no work directory: those of `surveil run`.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::temporary::Temporary;
use crate::git::remove_directory;
use crate::locked::Locked;

/// The start of the names of [`OwnTemporary`] directories, and of those that are not locked yet.
const OWN: &str = "surveil-run-";
const UNFINISHED: &str = "surveil-new-";

/// A temporary directory for a process that has no work directory. It is removed with this value; if the process was
/// killed, the next one removes it.
#[derive(Debug)]
pub struct OwnTemporary {
    /// Declared first, so that it is removed before its parent.
    temporary: Temporary,
    parent: Parent,
}

/// A directory in the system's temporary directory, locked as long as it is in use.
#[derive(Debug)]
struct Parent {
    path: PathBuf,
    _lock: Locked,
}

impl OwnTemporary {
    /// Makes a private directory in `system`.
    pub fn new(system: &Path) -> io::Result<Self> {
        remove_abandoned(system);
        let id = format!("{:08x}", getrandom::u32().map_err(io::Error::other)?);
        let (unfinished, path) = (system.join(format!("{UNFINISHED}{id}")), system.join(format!("{OWN}{id}")));
        DirBuilder::new().mode(0o700).create(&unfinished)?;
        let lock = File::open(&unfinished)?;
        lock.lock()?;
        // Other processes may only see it when it is locked.
        fs::rename(&unfinished, &path)?;
        let parent = Parent { path: path.clone(), _lock: Locked::new(lock) };
        Ok(Self { temporary: Temporary::new(path, "t".to_owned()), parent })
    }

    /// Makes the directory of the next attempt and returns its path.
    pub fn make(&mut self) -> io::Result<PathBuf> {
        self.temporary.make()
    }

    /// Removes the attempt's directory with everything in it.
    pub fn clear(&mut self) {
        self.temporary.clear();
    }

    /// The directory that holds the attempts' ones.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.parent.path
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        // Something that could not be removed may be left in it. It was told.
        fs::remove_dir(&self.path).ok();
    }
}

/// Removes the directories of processes that were killed. What fails is left for the next time.
fn remove_abandoned(system: &Path) {
    let user = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(system).into_iter().flatten().flatten() {
        let (name, path): (OsString, PathBuf) = (entry.file_name(), entry.path());
        let is_own = |meta: &fs::Metadata| meta.is_dir() && meta.uid() == user;
        if !name.to_string_lossy().starts_with(OWN) || !entry.metadata().is_ok_and(|meta| is_own(&meta)) {
            continue;
        }
        let Ok(lock) = File::open(&path) else { continue };
        if lock.try_lock().is_ok() {
            let lock = Locked::new(lock);
            drop(remove_directory(&path));
            drop(lock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_its_own_ends_with_its_process_even_if_that_was_killed() {
        let place = tempfile::tempdir().unwrap();
        let mut first = OwnTemporary::new(place.path()).unwrap();
        fs::write(first.make().unwrap().join("file"), "").unwrap();
        let mut second = OwnTemporary::new(place.path()).unwrap();
        let path = second.make().unwrap();
        assert!(first.path().join("t/file").exists() && path.starts_with(second.path()));
        fs::write(path.join("file"), "").unwrap();
        second.clear();
        assert!(fs::read_dir(second.path()).unwrap().next().is_none());
        drop((first, second));
        assert!(fs::read_dir(place.path()).unwrap().next().is_none());
        // Nobody has it locked.
        fs::create_dir_all(place.path().join("surveil-run-00000000/t/deep")).unwrap();
        fs::create_dir(place.path().join("surveil-other")).unwrap();
        drop(OwnTemporary::new(place.path()).unwrap());
        assert_eq!(fs::read_dir(place.path()).unwrap().next().unwrap().unwrap().file_name(), "surveil-other");
    }
}
