//! What lies where below a runner's work directory, and the lock that makes it one runner's alone. Every path of the
//! runner comes from here.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::RunnerError;
use super::limits::DISK_FULL_BYTES;
use crate::model::{AttemptId, RepoName};

/// A work directory, locked for as long as this lives.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
    _lock: File,
}

impl Layout {
    /// Makes the directory where needed and takes its lock.
    pub(super) fn open(root: &Path) -> Result<Self, RunnerError> {
        let unusable = |source| RunnerError::WorkDirectory { path: root.to_owned(), source };
        fs::create_dir_all(root).map_err(unusable)?;
        let root = root.canonicalize().map_err(unusable)?;
        for directory in ["stores", "trees", "quarantine", "spool"] {
            fs::create_dir_all(root.join(directory)).map_err(unusable)?;
        }
        let lock = File::options().create(true).truncate(false).write(true).open(root.join("lock"));
        let lock = lock.map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(RunnerError::InUse { path: root }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The bare repository that receives packs, one for all slots.
    pub(super) fn store(&self, repo: &RepoName) -> PathBuf {
        self.root.join("stores").join(format!("{repo}.git"))
    }

    /// Which commits the store has complete, newest last.
    pub(super) fn recent(&self, repo: &RepoName) -> PathBuf {
        self.root.join("stores").join(format!("{repo}.recent"))
    }

    pub(super) fn stores(&self) -> PathBuf {
        self.root.join("stores")
    }

    /// The work tree of one slot. Its index lies beside it.
    pub(super) fn tree(&self, repo: &RepoName, slot: usize) -> PathBuf {
        self.root.join("trees").join(repo.as_str()).join(format!("slot{slot}"))
    }

    /// A name that is not taken, for what has to get out of the way.
    pub(super) fn quarantine(&self, what: &str) -> PathBuf {
        let place = |n: u32| self.root.join("quarantine").join(format!("{what}.{n}"));
        (1..).map(place).find(|path| !path.exists()).unwrap_or_else(|| place(0))
    }

    pub(super) fn quarantined(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub(super) fn spool(&self, attempt: AttemptId) -> PathBuf {
        self.spools().join(format!("{attempt}.log"))
    }

    pub(super) fn spools(&self) -> PathBuf {
        self.root.join("spool")
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Bytes that may still be written.
    pub(super) fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Whether there is so little room that failing is no wonder.
    pub(super) fn is_full(&self) -> bool {
        self.free().is_ok_and(|free| free < DISK_FULL_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_directory_serves_one_runner_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = Layout::open(directory.path()).unwrap();
        let refusal = Layout::open(directory.path()).unwrap_err();
        assert!(refusal.to_string().contains("--work"), "{refusal}");
        drop(first);
        assert!(Layout::open(directory.path()).unwrap().free().unwrap() > 0);
    }
}
