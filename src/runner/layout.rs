//! The layout of a runner's work directory: every path of the runner comes from here. Its locks keep the directory for
//! one runner, also while the attempts of a runner that was killed are still being ended.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::error::RunnerError;
use super::limits::DISK_FULL_BYTES;
use crate::clock;
use crate::locked::Locked;
use crate::model::{RepoName, StreamId};

/// A work directory. It is locked as long as this value lives.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
    /// A file that is locked by this runner, and as long as a process supervises attempts of it.
    attempts: Arc<File>,
    _lock: Locked,
}

/// The time that the attempts of an earlier runner have to end. Their supervisors give up earlier.
const ENDING: Duration = Duration::from_secs(30);

impl Layout {
    /// Creates the directory if needed and locks it.
    pub(super) fn open(root: &Path) -> Result<Self, RunnerError> {
        let unusable = |source| RunnerError::WorkDirectory { path: root.to_owned(), source };
        fs::create_dir_all(root).map_err(unusable)?;
        let root = root.canonicalize().map_err(unusable)?;
        for directory in ["stores", "trees", "quarantine", "spool"] {
            fs::create_dir_all(root.join(directory)).map_err(unusable)?;
        }
        let open = |name| File::options().create(true).truncate(false).write(true).open(root.join(name));
        // Two locks: this one ends with the process, the other with the last supervisor of its attempts.
        let lock = open("lock").map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RunnerError::InUse { path: root }),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let attempts = open("attempts.lock").map_err(unusable)?;
        if !locked_within(&attempts, ENDING).map_err(unusable)? {
            return Err(RunnerError::Leftovers { path: root });
        }
        Ok(Self { root, attempts: Arc::new(attempts), _lock: Locked::new(lock) })
    }

    /// Returns the file that supervisors keep open until nothing of their attempts is left.
    pub(super) fn attempts(&self) -> Arc<File> {
        self.attempts.clone()
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the bare repository that receives packs. All slots share it.
    pub(super) fn store(&self, repo: &RepoName) -> PathBuf {
        self.root.join("stores").join(format!("{repo}.git"))
    }

    /// Returns the list of the commits that the store has completely, newest last.
    pub(super) fn recent(&self, repo: &RepoName) -> PathBuf {
        self.root.join("stores").join(format!("{repo}.recent"))
    }

    pub(super) fn stores(&self) -> PathBuf {
        self.root.join("stores")
    }

    /// Returns the work tree of one slot. Its index lies beside it.
    pub(super) fn tree(&self, repo: &RepoName, slot: usize) -> PathBuf {
        self.root.join("trees").join(repo.as_str()).join(format!("slot{slot}"))
    }

    /// Returns a free name in quarantine.
    pub(super) fn quarantine(&self, what: &str) -> PathBuf {
        let place = |n: u32| self.root.join("quarantine").join(format!("{what}.{n}"));
        (1..).map(place).find(|path| !path.exists()).unwrap_or_else(|| place(0))
    }

    pub(super) fn quarantined(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// Returns the spool file of a stream: `a12.log` for a log.
    pub(super) fn spool(&self, stream: &StreamId) -> PathBuf {
        self.spools().join(format!("{}.{}", stream.attempt, stream.kind))
    }

    pub(super) fn spools(&self) -> PathBuf {
        self.root.join("spool")
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Returns the free space in bytes.
    pub(super) fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Whether the disk has so little room that a failure may be the disk's fault.
    pub(super) fn is_full(&self) -> bool {
        self.free().is_ok_and(|free| free < DISK_FULL_BYTES)
    }
}

/// Locks `attempts`, waiting for at most `patience`. The process of a killed runner is gone at once, but its
/// supervisors end a moment later. Until then its attempts are not over: nothing may be said of them, and their trees
/// are in use.
fn locked_within(attempts: &File, patience: Duration) -> io::Result<bool> {
    let deadline = clock::instant() + patience;
    let mut is_told = false;
    loop {
        match attempts.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if clock::instant() >= deadline => return Ok(false),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(source),
        }
        if !std::mem::replace(&mut is_told, true) {
            log::info!("waiting until nothing of this runner's earlier attempts is left");
        }
        crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(5)).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads;

    #[test]
    fn a_runner_waits_for_those_who_end_an_earlier_ones_attempts() {
        let directory = tempfile::tempdir().unwrap();
        let file = || File::create(directory.path().join("attempts.lock")).unwrap();
        let supervising = file();
        supervising.lock().unwrap();
        assert!(!locked_within(&file(), Duration::ZERO).unwrap());
        let path = directory.path().to_owned();
        let opening = threads::spawn("opening", move || Layout::open(&path).map(drop)).unwrap();
        drop(supervising);
        opening.join().unwrap().unwrap();
        assert!(locked_within(&file(), ENDING).unwrap());
    }

    #[test]
    fn who_supervises_attempts_keeps_the_directory_from_the_next_runner() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open(directory.path()).unwrap();
        let kept_open = layout.attempts().try_clone().unwrap();
        drop(layout);
        let next = File::create(directory.path().join("attempts.lock")).unwrap();
        assert!(!locked_within(&next, Duration::ZERO).unwrap());
        drop(kept_open);
        assert!(locked_within(&next, ENDING).unwrap());
    }

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
