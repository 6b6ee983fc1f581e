//! `surveil backup` and `surveil restore`: copy a data directory, whether its dispatcher is running or not, and bring a
//! copy back. Both work on the directories themselves, as the user who owns them; no dispatcher needs to answer.
//!
//! The order makes a backup consistent. The store is copied first and gets its name last. Logs are synced before the
//! outcome that names them is recorded, and sources before their commit; so the files that are copied after the store
//! have everything that the store names. Blobs are durable before the record of their artifact. A backup that was cut
//! short has no store, so nobody takes it for one. Meanwhile [`hold`] keeps retention from deleting files. A
//! restoration works the other way round: files first, the store last.

use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};

use super::data_dir::{DataDir, LogPlace, create_private};
use super::logs::TIMES_EXTENSION;
use crate::blobs::{ARRIVING, BlobStore};
use crate::clock;
use crate::locked::Locked;
use crate::model::{Attempt, Build, BuildId, Job, TaskName, WholeBuild};
use crate::store::{Reader, StoreError, sqlite};

/// The reason why there is no backup, or why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} is not empty, and no file is overwritten: {advice}", path.display())]
    NotEmpty { path: PathBuf, advice: &'static str },
    #[error("{} holds no surveil.db: it is not a data directory, or a backup that was interrupted", path.display())]
    NoStore { path: PathBuf },
    #[error("could not {doing} {}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The contents of a data directory or a backup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copied {
    pub builds: u64,
    pub store_bytes: u64,
    pub logs: u64,
    pub log_bytes: u64,
    pub blobs: u64,
    pub blob_bytes: u64,
    pub mirrors: u64,
    pub mirror_bytes: u64,
    pub tokens: bool,
    /// The paths of logs of recorded outcomes that are missing or not whole.
    pub missing: Vec<PathBuf>,
    /// Artifacts of which a file is missing: build, task and name.
    pub incomplete: Vec<(BuildId, TaskName, String)>,
}

/// A restoration that is done.
#[derive(Debug)]
pub struct Restored {
    pub copied: Copied,
    /// New builds get numbers above this one.
    pub last_build: BuildId,
}

/// The name of the file that is locked to keep files from being deleted.
const HOLD: &str = "surveil.backup";

impl DataDir {
    /// Keeps files from being deleted as long as the lock lives. The lock is shared by threads that copy, and exclusive
    /// for the one that deletes. Returns `None` while it is held otherwise.
    pub(super) fn hold(&self, to_delete: bool) -> io::Result<Option<Locked>> {
        let file = File::options().create(true).append(true).open(self.root().join(HOLD))?;
        let held = if to_delete { file.try_lock() } else { file.lock_shared().map_err(fs::TryLockError::Error) };
        match held {
            Ok(()) => Ok(Some(Locked::new(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Copies the data directory at `data` into the empty directory `target`, and checks the copy.
pub fn back_up(data: &Path, target: &Path, with_tokens: bool) -> Result<Copied, BackupError> {
    let from = existing(data)?;
    prepare(target, "name an empty directory, or one that is not there yet")?;
    let to = DataDir::at(target);
    let made = copy_all(&from, &to, with_tokens);
    if made.is_err() {
        // The error says why there is no backup, and a part of one is of no use. The directory was empty, so everything
        // in it is ours.
        for entry in fs::read_dir(target).into_iter().flatten().flatten() {
            drop(fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path())));
        }
    }
    made
}

fn copy_all(from: &DataDir, to: &DataDir, with_tokens: bool) -> Result<Copied, BackupError> {
    let _hold = from.hold(false).map_err(failed("lock", &from.root().join(HOLD)))?;
    let unnamed = to.root().join("surveil.db.copied");
    sqlite::back_up(&from.store(), &unnamed)?;
    let mut copied = copy_files(from, to, with_tokens)?;
    sync(to.root())?;
    look(&unnamed, to, &mut copied)?;
    fs::rename(&unnamed, to.store()).map_err(failed("put in place", &to.store()))?;
    sync(to.root())?;
    Ok(copied)
}

/// Brings the backup at `backup` to the empty data directory `data`.
pub fn restore(backup: &Path, data: &Path) -> Result<Restored, BackupError> {
    let from = existing(backup)?;
    prepare(data, "stop its dispatcher and move it away first")?;
    let to = DataDir::at(data);
    let restoring = sqlite::restore(&from.store(), &to.store(), clock::wall())?;
    let mut copied = copy_files(&from, &to, true)?;
    let last_build = restoring.last_build;
    sync(data)?;
    restoring.put_in_place()?;
    look(&from.store(), &to, &mut copied)?;
    Ok(Restored { copied, last_build })
}

/// Checks a data directory or a backup: every page and row of the store, and every log that it names.
pub fn check(directory: &Path) -> Result<Copied, BackupError> {
    let data = existing(directory)?;
    let mut found = Copied { tokens: data.tokens().exists(), ..Copied::default() };
    look(&data.store(), &data, &mut found)?;
    (found.logs, found.log_bytes) = measure(&data.logs()).map_err(failed("read", &data.logs()))?;
    (found.blobs, found.blob_bytes) = measure(&data.blobs()).map_err(failed("read", &data.blobs()))?;
    let mirrors = data.root().join("mirrors");
    found.mirrors = fs::read_dir(&mirrors).map_or(0, |entries| entries.count() as u64);
    (_, found.mirror_bytes) = measure(&mirrors).map_err(failed("read", &mirrors))?;
    Ok(found)
}

fn existing(path: &Path) -> Result<DataDir, BackupError> {
    let data = DataDir::at(path);
    if data.store().is_file() { Ok(data) } else { Err(BackupError::NoStore { path: path.to_owned() }) }
}

/// Creates a directory for its owner alone, or takes an empty one.
fn prepare(path: &Path, advice: &'static str) -> Result<(), BackupError> {
    make(path)?;
    let mut entries = fs::read_dir(path).map_err(failed("read", path))?;
    if entries.next().is_some() {
        return Err(BackupError::NotEmpty { path: path.to_owned(), advice });
    }
    Ok(())
}

/// Copies everything but the store.
fn copy_files(from: &DataDir, to: &DataDir, with_tokens: bool) -> Result<Copied, BackupError> {
    let mut copied = Copied::default();
    (copied.logs, copied.log_bytes) = copy_tree(&from.logs(), &to.logs())?;
    make(&to.blobs())?;
    for entry in entries(&from.blobs()).map_err(failed("read", &from.blobs()))? {
        // Files that are still arriving are no blobs yet.
        if entry.file_name() != ARRIVING {
            let (blobs, bytes) = copy_tree(&entry.path(), &to.blobs().join(entry.file_name()))?;
            (copied.blobs, copied.blob_bytes) = (copied.blobs + blobs, copied.blob_bytes + bytes);
        }
    }
    let mirrors = from.root().join("mirrors");
    make(&to.root().join("mirrors"))?;
    for entry in entries(&mirrors).map_err(failed("read", &mirrors))? {
        let (mirror, name) = (entry.path(), entry.file_name());
        if mirror.extension().is_none_or(|extension| extension != "git") {
            continue;
        }
        // Packs are merged, and removed afterwards, only under this lock.
        let lock = File::options().create(true).append(true).open(mirror.join("tidy.lock"));
        let lock = lock.and_then(|lock| lock.lock().map(|()| Locked::new(lock))).map_err(failed("lock", &mirror))?;
        let (_, bytes) = copy_tree(&mirror, &to.root().join("mirrors").join(name))?;
        drop(lock);
        copied.mirrors += 1;
        copied.mirror_bytes += bytes;
    }
    if with_tokens && from.tokens().is_dir() {
        copied.tokens = copy_tree(&from.tokens(), &to.tokens())?.0 > 0;
    }
    // The authority is a secret like the tokens. Peers know a dispatcher that was restored with it.
    if with_tokens && from.tls().is_dir() {
        copy_tree(&from.tls(), &to.tls())?;
    }
    match fs::copy(from.settings(), to.settings()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("copy", &from.settings())(error)),
        Ok(_) | Err(_) => Ok(copied),
    }
}

/// Copies the contents of a directory, and returns the numbers of files and bytes. Files that vanish meanwhile were
/// about to be deleted.
fn copy_tree(from: &Path, to: &Path) -> Result<(u64, u64), BackupError> {
    make(to)?;
    let (mut files, mut bytes) = (0, 0);
    for entry in entries(from).map_err(failed("read", from))? {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let name = entry.file_name().to_string_lossy().into_owned();
        // Skips packs that are arriving, and locks.
        if name.starts_with("incoming-") || name.ends_with(".lock") {
            continue;
        }
        if source.is_dir() {
            let (more, size) = copy_tree(&source, &target)?;
            (files, bytes) = (files + more, bytes + size);
            continue;
        }
        match fs::copy(&source, &target) {
            Ok(_) if is_times(&source) => {}
            Ok(size) => (files, bytes) = (files + 1, bytes + size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("copy", &source)(error)),
        }
    }
    Ok((files, bytes))
}

/// Whether this is the file with the times of a log. It goes wherever its log goes, and does not count.
fn is_times(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == TIMES_EXTENSION)
}

/// Returns the entries of a directory: none if it is not there.
fn entries(directory: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other?.collect(),
    }
}

/// Returns the numbers of files and bytes below a directory, without the times of logs.
pub(super) fn measure(directory: &Path) -> io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in entries(directory)? {
        // Files that vanish after they were listed do not count.
        let Ok(meta) = entry.metadata() else { continue };
        if is_times(&entry.path()) {
            continue;
        }
        let (more, size) = if meta.is_dir() { measure(&entry.path())? } else { (1, meta.len()) };
        (files, bytes) = (files + more, bytes + size);
    }
    Ok((files, bytes))
}

/// Reads all of a store, and checks the logs and the artifacts that it names.
fn look(store: &Path, data: &DataDir, found: &mut Copied) -> Result<(), BackupError> {
    let reader = sqlite::readers(store).open()?;
    let blobs = BlobStore::at(&data.blobs());
    let mut unread = Ok(());
    reader.check(&mut |WholeBuild { build, jobs, attempts }| {
        found.builds += 1;
        match incomplete(&*reader, &blobs, &build, &jobs, &attempts) {
            Ok(more) => found.incomplete.extend(more),
            Err(error) => unread = Err(error),
        }
        for attempt in attempts.iter().filter(|attempt| attempt.log.bytes > 0) {
            let Some(job) = jobs.iter().find(|job| job.id == attempt.job) else { continue };
            let log = data.log(&LogPlace::of(&build, job, attempt.number));
            if fs::metadata(&log).map_or(0, |meta| meta.len()) < attempt.log.bytes {
                found.missing.push(log);
            }
        }
    })?;
    unread?;
    found.store_bytes = fs::metadata(store).map_err(failed("read", store))?.len();
    Ok(())
}

/// Returns the artifacts of a build of which a file is missing. Those that retention has removed are none of them.
fn incomplete(
    reader: &dyn Reader,
    blobs: &BlobStore,
    build: &Build,
    jobs: &[Job],
    attempts: &[Attempt],
) -> Result<Vec<(BuildId, TaskName, String)>, StoreError> {
    let mut found = Vec::new();
    for (attempt, artifacts) in reader.artifacts(build.id)? {
        let job = attempts.iter().find(|it| it.id == attempt).and_then(|it| jobs.iter().find(|job| job.id == it.job));
        let Some(job) = job else { continue };
        for artifact in artifacts.into_iter().filter(|artifact| artifact.removed.is_none()) {
            if !blobs.has_all_of(artifact.manifest).unwrap_or(false) {
                found.push((build.id, job.task.name.clone(), artifact.name));
            }
        }
    }
    Ok(found)
}

fn make(directory: &Path) -> Result<(), BackupError> {
    create_private(directory).map_err(failed("make directory", directory))
}

/// Waits until everything written to the directory's file system is on disk.
fn sync(directory: &Path) -> Result<(), BackupError> {
    let synced = File::open(directory).and_then(|opened| Ok(rustix::fs::syncfs(opened)?));
    synced.map_err(failed("sync", directory))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { doing, path, source }
}
