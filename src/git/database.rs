//! The handles to one object database, for several threads at a time. Opens a handle for each concurrent use, keeps
//! idle ones for the next, and closes those that later changes of the packs have made wrong. Reads no object itself.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant, SystemTime};

use git2::{ObjectFormat, Oid};

use super::error::GitError;
use super::lengths::Lengths;
use super::objects::{Objects, id_bytes};
use crate::{clock, threads};

/// An object database. It holds one libgit2 handle for each concurrent use, and keeps idle handles for the next use.
///
/// Handles are reopened if packs were removed: libgit2 finds new packs by itself, but it holds on to removed ones and
/// their disk space, and fails on one that it had listed and not opened yet. They are also reopened if a pack's length
/// has changed.
pub(super) struct Database {
    directory: PathBuf,
    format: ObjectFormat,
    /// A marker file that is replaced whenever packs are removed.
    marker: PathBuf,
    spare: Arc<Mutex<Spare>>,
}

/// The idle handles to one directory. Locked only while a handle is taken or returned.
#[derive(Default)]
struct Spare {
    loaded: Vec<Loaded>,
    lengths: Lengths,
    /// When the packs' lengths were last checked.
    checked: Option<Instant>,
    /// Number of times that all handles were closed because a pack had been cut.
    round: u64,
}

/// Shortest interval between checks of the packs' lengths: about one check per request, which uses a database many
/// times in a row. Checking a hundred packs at each use took a tenth of the time from a push to its process.
const CHECK_INTERVAL: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_millis(5) };

/// Idle handles of the whole process, by directory. libgit2 opens each pack once per process, so closing a pack that
/// was cut requires that every handle is closed.
static SPARES: Mutex<BTreeMap<PathBuf, Weak<Mutex<Spare>>>> = Mutex::new(BTreeMap::new());

struct Loaded {
    objects: Objects,
    /// The marker's state when the handle was opened.
    seen: OdbIdentity,
    round: u64,
}

/// Identity of the marker file and of the objects directory.
#[derive(Clone, Copy, PartialEq, Eq)]
struct OdbIdentity {
    /// Inode and modification time of the marker file, if it exists.
    marker: Option<(u64, i64, i64)>,
    /// Birth time of the objects directory, so that a directory made anew in the same place is recognised.
    born: Option<SystemTime>,
}

impl Database {
    pub(super) fn open(directory: &Path, format: ObjectFormat, marker: PathBuf) -> Result<Self, GitError> {
        let spare = {
            // Held only while the entry is found or made.
            let mut spares = threads::lock(&SPARES);
            // Directories that no database uses any more are forgotten.
            spares.retain(|_, spare| spare.strong_count() > 0);
            let known = spares.get(directory).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let fresh = Arc::default();
                spares.insert(directory.to_owned(), Arc::downgrade(&fresh));
                fresh
            })
        };
        let database = Self { directory: directory.to_owned(), format, marker, spare };
        let first = database.load(database.identity())?;
        database.put_back(first);
        Ok(database)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn format(&self) -> ObjectFormat {
        self.format
    }

    /// Runs `ask` with a handle. If that reports a missing or unreadable object, runs it again with a fresh handle, so
    /// `ask` may run twice.
    pub(super) fn with<T>(&self, mut ask: impl FnMut(&Objects) -> Result<T, GitError>) -> Result<T, GitError> {
        let seen = self.identity();
        let mut loaded = match self.take(seen) {
            Some(loaded) => loaded,
            None => self.load(seen)?,
        };
        let mut answer = ask(&loaded.objects);
        // The handle may have listed the packs before others were added or removed.
        if let Err(GitError::Object { .. } | GitError::Incomplete { .. }) = answer {
            loaded = self.load(self.identity())?;
            answer = ask(&loaded.objects);
        }
        self.put_back(loaded);
        answer
    }

    /// Closes handles to removed packs and opens the present ones. Called after packs were removed, so that the next
    /// user does not pay for it.
    pub(super) fn renew(&self) -> Result<(), GitError> {
        // libgit2 lists the packs again before it reports that an object is missing, so asking for an impossible id
        // makes it do so.
        let nothing = Oid::from_bytes(&[0xff; 32][..id_bytes(self.format)]).expect("it has the length of an id");
        self.with(|objects| {
            let _ = objects.odb()?.exists(nothing);
            Ok(())
        })
    }

    /// Opens a handle. `seen` was read before, so that a removal in between is noticed the next time.
    fn load(&self, seen: OdbIdentity) -> Result<Loaded, GitError> {
        let round = self.learn();
        Ok(Loaded { objects: Objects::open(&self.directory, self.format)?, seen, round })
    }

    fn take(&self, seen: OdbIdentity) -> Option<Loaded> {
        self.check_lengths();
        let mut spare = self.spare();
        spare.loaded.retain(|loaded| loaded.seen == seen);
        spare.loaded.pop()
    }

    fn put_back(&self, loaded: Loaded) {
        // A handle may have found packs that arrived while it was in use, so their lengths are recorded now.
        if self.learn() == loaded.round {
            let mut spare = self.spare();
            // A handle of an earlier round may have mapped a pack that was cut, so it is closed instead.
            if loaded.round == spare.round {
                spare.loaded.push(loaded);
            }
        }
    }

    /// Records the lengths of new packs. Returns the round for which they hold.
    fn learn(&self) -> u64 {
        let (lengths, round) = {
            let spare = self.spare();
            (spare.lengths.clone(), spare.round)
        };
        if let Some(lengths) = lengths.learn(&self.packs()) {
            let mut spare = self.spare();
            if spare.round == round {
                spare.lengths = lengths;
            }
        }
        round
    }

    /// Closes all handles if a pack has been cut. Checks at most every [`CHECK_INTERVAL`].
    fn check_lengths(&self) {
        let (lengths, round) = {
            let mut spare = self.spare();
            let now = clock::instant();
            if spare.checked.is_some_and(|checked| now.saturating_duration_since(checked) < CHECK_INTERVAL) {
                return;
            }
            spare.checked = Some(now);
            (spare.lengths.clone(), spare.round)
        };
        if !lengths.hold(&self.packs()) {
            let mut spare = self.spare();
            if spare.round == round {
                *spare = Spare { round: round + 1, ..Spare::default() };
            }
        }
    }

    fn spare(&self) -> MutexGuard<'_, Spare> {
        threads::lock(&self.spare)
    }

    fn packs(&self) -> PathBuf {
        self.directory.join("pack")
    }

    fn identity(&self) -> OdbIdentity {
        let marker = std::fs::metadata(&self.marker).ok();
        OdbIdentity {
            marker: marker.map(|meta| (meta.ino(), meta.mtime(), meta.mtime_nsec())),
            born: std::fs::metadata(&self.directory).ok().and_then(|meta| meta.created().ok()),
        }
    }
}
