//! The pool of handles on mirrors, and operations on a mirror as a whole.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use super::missing_sources::MissingSources;
use crate::dispatcher::backup::measure;
use crate::dispatcher::data_dir::DataDir;
use crate::dispatcher::limits::{MIRROR_SLACK_BYTES, OPEN_MIRRORS};
use crate::git::{GitError, PackStore};
use crate::model::{CommitId, Moment, RepoName};
use crate::store::{Reader, StoreError};
use crate::{clock, threads};

/// Time after which a mirror that was begun anew may be condemned again, in milliseconds. If it is damaged sooner, the
/// mirror is not the cause.
const CONDEMN_AGAIN_MS: u64 = 60_000;

/// All mirrors of a dispatcher. Each use has a handle of its own; only tidying takes turns.
#[derive(Clone)]
pub(crate) struct Mirrors {
    data: DataDir,
    /// The most bytes of a file in a commit that is built.
    pub(super) max_file: Option<u64>,
    /// Idle handles, the one used last at the end. Opening a handle takes longer than most uses of it.
    idle: Arc<Mutex<Vec<(RepoName, u64, PackStore)>>>,
    states: Arc<Mutex<HashMap<RepoName, Arc<MirrorState>>>>,
    pub(crate) missing: MissingSources,
}

/// The state that all users of one mirror share.
#[derive(Default)]
struct MirrorState {
    /// Held while the mirror is tidied, so that two observers do not tidy it at once.
    tidying: Mutex<()>,
    /// Locked for reading from the arrival of a commit until its build is recorded; locked for writing while objects
    /// that no build needs are removed.
    arrivals: RwLock<()>,
    generation: Mutex<Generation>,
}

/// The generation of a mirror: which of the mirrors that the repository has had it is.
#[derive(Default)]
struct Generation {
    /// Number of times that the mirror was begun anew.
    number: u64,
    begun_at: Option<Moment>,
}

/// A mirror, opened for one use.
pub(crate) struct Mirror {
    store: PackStore,
    repo: RepoName,
    generation: u64,
    mirrors: Mirrors,
}

/// The reason why old sources were not removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PruneError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the mirror's size cannot be read")]
    Size(#[from] io::Error),
}

impl Mirrors {
    pub(crate) fn new(data: DataDir, max_file: Option<u64>) -> Self {
        Self { data, max_file, idle: Arc::default(), states: Arc::default(), missing: MissingSources::default() }
    }

    /// Returns a handle on the mirror, which is created if it does not exist.
    pub(crate) fn open(&self, repo: &RepoName, like: CommitId) -> Result<Mirror, GitError> {
        let path = self.data.mirror(repo);
        let generation = self.generation(repo);
        let idle = {
            let mut idle = self.idle();
            let at = idle.iter().rposition(|(of, ..)| of == repo);
            at.map(|at| idle.remove(at)).filter(|(_, of, _)| *of == generation)
        };
        let store = match idle.filter(|(.., store)| path.join("objects/pack").is_dir() && store.takes(like)) {
            Some((.., store)) => store,
            None => PackStore::open(&path, like)?,
        };
        Ok(Mirror { store, repo: repo.clone(), generation, mirrors: self.clone() })
    }

    /// Returns those of the commits whose source is in the mirror. Makes no mirror if there is none.
    pub(crate) fn held(&self, repo: &RepoName, commits: &[CommitId]) -> Vec<CommitId> {
        let Some(like) = commits.first().filter(|_| self.data.mirror(repo).is_dir()) else { return Vec::new() };
        // A mirror that cannot be opened holds nothing: the whole source is sent, and its arrival meets the error.
        let Ok(mirror) = self.open(repo, *like) else { return Vec::new() };
        let held = commits.iter().copied().filter(|commit| mirror.has(*commit)).collect();
        mirror.return_to_pool();
        held
    }

    /// The most bytes of a file in a commit that is built; `None` for no limit.
    pub(crate) fn max_file(&self) -> Option<u64> {
        self.max_file
    }

    /// Returns the generation of the present mirror, for [`Mirrors::condemn`].
    pub(crate) fn generation(&self, repo: &RepoName) -> u64 {
        threads::lock(&self.state(repo).generation).number
    }

    /// Runs `body` while nothing is removed from the mirror of that repository.
    pub(crate) fn arriving<T>(&self, repo: &RepoName, body: impl FnOnce() -> T) -> T {
        let state = self.state(repo);
        let _arriving: RwLockReadGuard<'_, ()> = state.arrivals.read().unwrap_or_else(PoisonError::into_inner);
        body()
    }

    /// Removes the objects that no commit in the store has, if the mirror has grown to more than twice its size after
    /// the last time. Returns the number of bytes that this freed, or `None` if there was nothing to do.
    pub(crate) fn prune(&self, repo: &RepoName, reader: &dyn Reader) -> Result<Option<u64>, PruneError> {
        let path = self.data.mirror(repo);
        let packs = path.join("objects").join("pack");
        let noted = path.join("pruned");
        let (_, before) = measure(&packs)?;
        let last: u64 = fs::read_to_string(&noted).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        if before < last.saturating_mul(2).saturating_add(MIRROR_SLACK_BYTES) {
            return Ok(None);
        }
        let state = self.state(repo);
        let _nobody_arrives = state.arrivals.write().unwrap_or_else(PoisonError::into_inner);
        let _turn = threads::lock(&state.tidying);
        // The needed commits are asked for under the lock: every commit that has arrived until here is recorded.
        let needed = reader.commits(repo)?;
        let Some(like) = needed.first() else { return Ok(None) };
        let mirror = self.open(repo, *like)?;
        mirror.store.prune(&needed)?;
        mirror.return_to_pool();
        let (_, after) = measure(&packs)?;
        // If the note cannot be written, the next round only comes sooner.
        drop(fs::write(&noted, format!("{after}\n")));
        Ok(Some(before.saturating_sub(after)))
    }

    /// Sets a damaged mirror aside and begins it anew. Returns false if that was done just now, or cannot be done.
    pub(crate) fn condemn(&self, repo: &RepoName, generation: u64, why: &GitError) -> bool {
        let state = self.state(repo);
        let mut present = threads::lock(&state.generation);
        if present.number != generation {
            // Another thread that met the same damage has done it meanwhile.
            return true;
        }
        let now = clock::now();
        if present.begun_at.is_some_and(|last| now.since(last) < CONDEMN_AGAIN_MS) {
            return false;
        }
        *present = Generation { number: present.number + 1, begun_at: Some(now) };
        self.idle().retain(|(of, ..)| of != repo);
        let (path, aside) = (self.data.mirror(repo), self.aside(repo));
        drop(fs::remove_dir_all(&aside));
        let cause = std::error::Error::source(why).map(|cause| format!(": {cause}")).unwrap_or_default();
        match fs::rename(&path, &aside) {
            Ok(()) => log::error!(
                "the mirror of {repo} is damaged ({why}{cause}): it is set aside as {} and begun anew from the observer",
                aside.display()
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                log::error!("the mirror of {repo} is gone: it is begun anew from the observer");
            }
            Err(error) => {
                log::error!("the mirror of {repo} is damaged ({why}{cause}) and cannot be set aside: {error}");
                return false;
            }
        }
        true
    }

    /// Deletes the mirror that was set aside; it is no longer needed as evidence.
    pub(crate) fn delete_aside(&self, repo: &RepoName) {
        drop(fs::remove_dir_all(self.aside(repo)));
    }

    fn aside(&self, repo: &RepoName) -> PathBuf {
        let mut path = self.data.mirror(repo).into_os_string();
        path.push(".broken");
        path.into()
    }

    fn state(&self, repo: &RepoName) -> Arc<MirrorState> {
        let mut states = threads::lock(&self.states);
        states.entry(repo.clone()).or_default().clone()
    }

    /// Merges packs, so that lookups in mirrors stay fast. Takes a while, and nobody waits for it.
    pub(crate) fn tidy(&self) {
        for (repo, store) in self.unused() {
            let state = self.state(&repo);
            if let Ok(_turn) = state.tidying.try_lock()
                && let Err(error) = store.tidy()
            {
                log::warn!("could not tidy the mirror of {repo}: {error}");
            };
        }
    }

    /// Syncs received packs whose durability rests on notes so far. Takes a while, and nobody waits for it.
    pub(crate) fn sync(&self) {
        for (repo, store) in self.unused() {
            if let Err(error) = store.sync_noted() {
                log::warn!("could not sync the received packs of {repo}: {error}: the next commit tries again");
            }
        }
    }

    fn unused(&self) -> Vec<(RepoName, PackStore)> {
        self.idle().iter().map(|(repo, _, store)| (repo.clone(), store.clone())).collect()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(RepoName, u64, PackStore)>> {
        threads::lock(&self.idle)
    }
}

impl Mirror {
    /// Returns the handle to the pool for the next use. A handle that failed is dropped instead, because it may be the
    /// cause.
    pub(crate) fn return_to_pool(self) {
        let Self { store, repo, generation, mirrors } = self;
        let surplus = {
            let mut idle = mirrors.idle();
            idle.push((repo, generation, store));
            (idle.len() > OPEN_MIRRORS).then(|| idle.remove(0))
        };
        // The surplus handle is closed after the lock was released, so that nobody waits for it.
        drop(surplus);
    }
}

impl Deref for Mirror {
    type Target = PackStore;

    fn deref(&self) -> &PackStore {
        &self.store
    }
}
