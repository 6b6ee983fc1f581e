//! The layout of a runner's work directory: every path of the runner comes from here. Its locks keep the directory for
//! one runner, also while the attempts of a runner that was killed are still being ended.
//!
//! A task or a cleaner may remove the directory or parts of it while the runner works. They are made anew before the
//! next attempt; see [`Layout::restore`].

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Stat};

use super::error::RunnerError;
use super::limits::DISK_FULL_BYTES;
use super::stamp::{Checked, Stamp};
use super::temporary::{self, Temporary};
use crate::clock;
use crate::locked::Locked;
use crate::model::{RepoName, StreamId};
use crate::threads;

/// A work directory. It is locked as long as this value lives.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
    /// The directory for the temporary directories of attempts.
    temporary: PathBuf,
    /// Locked for a few system calls, while an attempt begins.
    locks: Mutex<Locks>,
}

/// The two locked files: the lock of one ends with the process, that of the other with the last supervisor of its
/// attempts.
#[derive(Debug)]
struct Locks {
    own: Locked,
    /// A file that is locked by this runner, and as long as a process supervises attempts of it.
    attempts: Arc<File>,
    /// The work directory itself, which makes looking for its parts cheaper.
    directory: File,
    /// The work directory when it was whole. A removed or replaced part changes its stamp.
    whole: Option<Checked>,
}

impl Locks {
    fn take(root: &Path) -> Result<Self, RunnerError> {
        let (own, attempts) = (lock_own(root)?, lock_attempts(root)?);
        Ok(Self { own, attempts, directory: open_directory(root)?, whole: None })
    }

    /// Whether nothing of the directory at `root` was removed or replaced, and its owner can work in all parts.
    fn are_whole(&mut self, root: &Path) -> bool {
        let Ok(stamp) = fs::metadata(root).map(|meta| Stamp::of(&meta)) else { return false };
        if self.whole.as_ref().is_some_and(|whole| whole.is_unchanged(stamp)) {
            return true;
        }
        let is_whole = self.look_through(root);
        if is_whole {
            Checked::note(&mut self.whole, stamp);
        }
        is_whole
    }

    fn look_through(&mut self, root: &Path) -> bool {
        let directory = &self.directory;
        let is_usable =
            |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory && stat.st_mode & 0o700 == 0o700;
        let is_lock = |file: &File, name| is_same(file, rustix::fs::statat(directory, name, AtFlags::empty()));
        rustix::fs::stat(root).is_ok_and(|stat| is_usable(&stat) && is_same(directory, Ok(stat)))
            && PARTS
                .iter()
                .all(|part| rustix::fs::statat(directory, *part, AtFlags::empty()).is_ok_and(|stat| is_usable(&stat)))
            && is_lock(self.own.file(), OWN_LOCK)
            && is_lock(&self.attempts, ATTEMPTS_LOCK)
    }
}

const OWN_LOCK: &str = "lock";
const ATTEMPTS_LOCK: &str = "attempts.lock";

/// The directories in the work directory.
const PARTS: [&str; 4] = ["stores", "trees", "quarantine", "spool"];

/// The time that the attempts of an earlier runner have to end. Their supervisors give up earlier.
const ENDING: Duration = Duration::from_secs(30);

impl Layout {
    /// Creates the directory if needed and locks it.
    pub(super) fn open(root: &Path) -> Result<Self, RunnerError> {
        let unusable = |source| RunnerError::WorkDirectory { path: root.to_owned(), source };
        fs::create_dir_all(root).map_err(unusable)?;
        let root = root.canonicalize().map_err(unusable)?;
        for part in PARTS {
            make_directory(&root.join(part)).map_err(unusable)?;
        }
        let locks = Mutex::new(Locks::take(&root)?);
        let temporary = temporary::parent_of(&root, &std::env::temp_dir());
        let layout = Self { root, temporary, locks };
        for parent in [&layout.temporary, &layout.guarded_temporary().0] {
            temporary::clear_leftovers(parent, |what| layout.quarantine(what));
        }
        Ok(layout)
    }

    /// Looks through the directory at the next [`Layout::restore`] in any case. Called when an attempt was lost here: a
    /// part whose permissions were taken away does not change the directory.
    pub(super) fn doubt(&self) {
        threads::lock(&self.locks).whole = None;
    }

    /// Makes anew what is gone of the directory, and locks it anew if the locked files are gone. Called before each
    /// attempt. An error other than a full disk means that the directory cannot be used any more.
    pub(super) fn restore(&self) -> Result<(), RunnerError> {
        let unusable = |source| RunnerError::WorkDirectory { path: self.root.clone(), source };
        let mut locks = threads::lock(&self.locks);
        if locks.are_whole(&self.root) {
            return Ok(());
        }
        let mut made = Vec::new();
        if make_directory(&self.root).map_err(unusable)? {
            made.push("the directory itself");
        }
        for part in PARTS {
            if make_directory(&self.root.join(part)).map_err(unusable)? {
                made.push(part);
            }
        }
        if !is_at(locks.own.file(), &self.root.join(OWN_LOCK)) {
            locks.own = lock_own(&self.root)?;
            made.push(OWN_LOCK);
        }
        if !is_at(&locks.attempts, &self.root.join(ATTEMPTS_LOCK)) {
            locks.attempts = lock_attempts(&self.root)?;
            made.push(ATTEMPTS_LOCK);
        }
        locks.directory = open_directory(&self.root)?;
        if !made.is_empty() {
            log::warn!("something removed parts of {}, which were made anew: {}", self.root.display(), made.join(", "));
        }
        Ok(())
    }

    /// Returns the file that supervisors keep open until nothing of their attempts is left.
    pub(super) fn attempts(&self) -> Arc<File> {
        threads::lock(&self.locks).attempts.clone()
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the bare repository that receives packs. All slots share it.
    pub(super) fn store(&self, repo: &RepoName) -> PathBuf {
        self.root.join("stores").join(format!("{repo}.git"))
    }

    /// Returns the directory of the objects in that repository, which the git of an attempt reads.
    pub(super) fn objects(&self, repo: &RepoName) -> PathBuf {
        self.store(repo).join("objects")
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

    /// Returns the temporary directory of a slot. Nothing is made yet.
    pub(super) fn temporary(&self, slot: usize) -> Temporary {
        Temporary::new(self.temporary.clone(), slot.to_string())
    }

    /// Returns the home directory of a repository's attempts that do not see the one of the runner's user.
    pub(super) fn home(&self, repo: &RepoName) -> PathBuf {
        self.root.join("homes").join(repo.as_str())
    }

    /// Returns the directory for the temporary directories of guarded attempts, and whether sockets fit into them.
    pub(super) fn guarded_temporary(&self) -> (PathBuf, bool) {
        let parent = temporary::usual_parent(&self.root);
        let is_short = temporary::is_short(&parent);
        (parent, is_short)
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

    /// Returns the directory for container images that are files. It is made when it is needed.
    pub(super) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Returns the directory of the tool cache. It is made when it is needed.
    pub(super) fn tool_cache(&self) -> PathBuf {
        self.root.join("tool-cache")
    }

    /// Returns the directory of copies of files of caches and taken artifacts. It is made when it is needed.
    pub(super) fn caches(&self) -> PathBuf {
        self.root.join("caches")
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

impl Drop for Layout {
    fn drop(&mut self) {
        // It is empty, unless something in it cannot be removed.
        fs::remove_dir(&self.temporary).ok();
        fs::remove_dir(self.guarded_temporary().0).ok();
    }
}

/// Makes a directory and those above it. Returns false if it is there, whose owner can then work in it. A file in its
/// place is removed: the place belongs to the runner.
pub(super) fn make_directory(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            if meta.mode() & 0o700 != 0o700 {
                fs::set_permissions(path, Permissions::from_mode(meta.mode() & 0o7777 | 0o700))?;
            }
            return Ok(false);
        }
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::create_dir_all(path).map(|()| true)
}

/// Whether the file is the one at that path.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    is_same(file, rustix::fs::stat(path))
}

fn is_same(file: &File, found: rustix::io::Result<Stat>) -> bool {
    let identity = |stat: Stat| (stat.st_dev, stat.st_ino);
    found.is_ok_and(|found| rustix::fs::fstat(file).is_ok_and(|open| identity(open) == identity(found)))
}

fn open_directory(path: &Path) -> Result<File, RunnerError> {
    File::open(path).map_err(|source| RunnerError::WorkDirectory { path: path.to_owned(), source })
}

fn open_lock(root: &Path, name: &str) -> Result<File, RunnerError> {
    let file = File::options().create(true).truncate(false).write(true).open(root.join(name));
    file.map_err(|source| RunnerError::WorkDirectory { path: root.to_owned(), source })
}

fn lock_own(root: &Path) -> Result<Locked, RunnerError> {
    let path = root.to_owned();
    let lock = open_lock(root, OWN_LOCK)?;
    match lock.try_lock() {
        Ok(()) => Ok(Locked::new(lock)),
        Err(TryLockError::WouldBlock) => Err(RunnerError::InUse { path }),
        Err(TryLockError::Error(source)) => Err(RunnerError::WorkDirectory { path, source }),
    }
}

fn lock_attempts(root: &Path) -> Result<Arc<File>, RunnerError> {
    let path = root.to_owned();
    let attempts = open_lock(root, ATTEMPTS_LOCK)?;
    match locked_within(&attempts, ENDING) {
        Ok(true) => Ok(Arc::new(attempts)),
        Ok(false) => Err(RunnerError::Leftovers { path }),
        Err(source) => Err(RunnerError::WorkDirectory { path, source }),
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

    /// Whatever is removed, it is there again, and locked: a second runner is refused as before.
    #[test]
    fn what_is_removed_from_a_work_directory_is_made_anew_and_locked() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("cache/work");
        let layout = Layout::open(&root).unwrap();
        let first = layout.attempts();
        layout.restore().unwrap();
        assert!(Arc::ptr_eq(&first, &layout.attempts()), "nothing was gone");
        let parts = |harm: &dyn Fn(&Path)| {
            for part in PARTS {
                harm(&root.join(part));
            }
        };
        let harms: [&dyn Fn(); 6] = [
            &|| fs::remove_dir_all(directory.path().join("cache")).unwrap(),
            &|| parts(&|part| fs::remove_dir_all(part).unwrap()),
            &|| parts(&|part| fs::remove_dir(part).and_then(|()| fs::write(part, "a file")).unwrap()),
            &|| [OWN_LOCK, ATTEMPTS_LOCK].iter().for_each(|name| fs::remove_file(root.join(name)).unwrap()),
            &|| parts(&|part| fs::set_permissions(part, Permissions::from_mode(0o000)).unwrap()),
            &|| fs::remove_dir_all(&root).and_then(|()| fs::write(&root, "a file")).unwrap(),
        ];
        for (number, harm) in harms.iter().enumerate() {
            harm();
            layout.restore().unwrap();
            for part in PARTS {
                let file = root.join(part).join("file");
                fs::write(&file, "").and_then(|()| fs::remove_file(&file)).unwrap();
            }
            assert!(matches!(Layout::open(&root), Err(RunnerError::InUse { .. })), "after harm {number}");
            let next = File::open(root.join(ATTEMPTS_LOCK)).unwrap();
            assert!(!locked_within(&next, Duration::ZERO).unwrap(), "after harm {number}");
        }
        assert!(!Arc::ptr_eq(&first, &layout.attempts()));
    }

    /// S41. What the attempts of a killed runner left goes at once, even if no attempt follows.
    #[test]
    fn temporary_directories_of_an_earlier_runner_are_gone_when_the_next_one_opens() {
        let directory = tempfile::Builder::new().prefix("t").rand_bytes(4).tempdir_in("/tmp").unwrap();
        for root in [directory.path().join("w"), directory.path().join("w".repeat(60))] {
            let layout = Layout::open(&root).unwrap();
            let left = layout.temporary(3).make().unwrap();
            fs::create_dir_all(left.join("deep")).unwrap();
            let parent = left.parent().unwrap();
            drop(layout);
            let layout = Layout::open(&root).unwrap();
            assert_eq!(fs::read_dir(parent).map_or(0, Iterator::count), 0, "{}", parent.display());
            drop(layout);
            assert!(!parent.exists(), "an empty one is left by nobody");
        }
    }

    #[test]
    fn a_runner_that_lost_its_directory_to_another_one_ends() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("work");
        let layout = Layout::open(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        let _other = Layout::open(&root).unwrap();
        assert!(matches!(layout.restore(), Err(RunnerError::InUse { .. })));
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
