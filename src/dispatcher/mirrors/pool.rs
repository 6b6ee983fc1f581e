//! Handles on mirrors: opened, lent, returned; and what is done to a mirror as a whole.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use super::missing_sources::MissingSources;
use crate::dispatcher::backup::measure;
use crate::dispatcher::data_dir::DataDir;
use crate::dispatcher::limits::{MIRROR_SLACK_BYTES, OPEN_MIRRORS};
use crate::git::{GitError, PackStore};
use crate::model::{CommitId, Moment, RepoName};
use crate::store::StoreError;
use crate::{clock, threads};

/// A mirror that was just begun anew is not set aside again so soon: it is not what is wrong then.
const CONDEMN_AGAIN_MS: u64 = 60_000;

/// All mirrors of a dispatcher. Each use has a handle of its own; only tidying takes turns.
#[derive(Clone)]
pub(crate) struct Mirrors {
    data: DataDir,
    /// Handles that are not in use, the one used last at the end. To open one takes longer than most of what it is
    /// opened for.
    idle: Arc<Mutex<Vec<(RepoName, u64, PackStore)>>>,
    states: Arc<Mutex<HashMap<RepoName, Arc<MirrorState>>>>,
    pub(crate) missing: MissingSources,
}

/// What is shared by all who use one mirror.
#[derive(Default)]
struct MirrorState {
    /// Two observers do not tidy one mirror at once.
    tidying: Mutex<()>,
    /// Read by those who bring a commit in, until its build is recorded; written while what no build needs is removed.
    arrivals: RwLock<()>,
    generation: Mutex<Generation>,
}

/// Which of the mirrors that a repository has had is the present one.
#[derive(Default)]
struct Generation {
    /// How often the mirror was begun anew.
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

/// Why old sources were not removed.
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
    pub(crate) fn new(data: DataDir) -> Self {
        Self { data, idle: Arc::default(), states: Arc::default(), missing: MissingSources::default() }
    }

    /// A handle on the mirror, which is made if it is not there.
    pub(crate) fn open(&self, repo: &RepoName, like: CommitId) -> Result<Mirror, GitError> {
        let path = self.data.mirror(repo);
        let generation = self.state(repo).generation().number;
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

    /// Which of the mirrors that a repository had is the present one, for [`Mirrors::condemn`].
    pub(crate) fn generation(&self, repo: &RepoName) -> u64 {
        self.state(repo).generation().number
    }

    /// While this is held nothing is removed from the mirror of that repository.
    pub(crate) fn arriving<T>(&self, repo: &RepoName, body: impl FnOnce() -> T) -> T {
        let state = self.state(repo);
        let _arriving: RwLockReadGuard<'_, ()> = state.arrivals.read().unwrap_or_else(PoisonError::into_inner);
        body()
    }

    /// Removes what none of these commits has, if the mirror has grown to more than twice of what it was after the last
    /// time. How many bytes that freed; `None` if there was nothing to do.
    pub(crate) fn prune(
        &self,
        repo: &RepoName,
        needed: impl FnOnce() -> Result<Vec<CommitId>, StoreError>,
    ) -> Result<Option<u64>, PruneError> {
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
        // Asked only now: what has arrived until here is recorded.
        let needed = needed()?;
        let Some(like) = needed.first() else { return Ok(None) };
        let mirror = self.open(repo, *like)?;
        mirror.store.prune(&needed)?;
        mirror.return_to_pool();
        let (_, after) = measure(&packs)?;
        // Without the note the next round only comes sooner.
        drop(fs::write(&noted, format!("{after}\n")));
        Ok(Some(before.saturating_sub(after)))
    }

    /// Sets a mirror aside that is not what it should be, and begins it anew. False if that was done just now.
    pub(crate) fn condemn(&self, repo: &RepoName, generation: u64, why: &GitError) -> bool {
        let state = self.state(repo);
        let mut present = state.generation();
        if present.number != generation {
            // Another one who met the same damage has done it meanwhile.
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

    /// Deletes what was set aside and is not needed as evidence any longer.
    pub(crate) fn delete_aside(&self, repo: &RepoName) {
        drop(fs::remove_dir_all(self.aside(repo)));
    }

    /// Waits until a commit that is lost was sent again, for a while at most.
    pub(crate) fn wait_for(&self, repo: &RepoName, commit: CommitId, patience: Duration) -> bool {
        self.missing.wait(repo, commit, patience)
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

    /// Keeps mirrors quick to look things up in. Takes a while, and nobody waits for it.
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

    /// Syncs what arrived and is durable only by the notes that were made of it. Takes a while, and nobody waits for
    /// it.
    pub(crate) fn sync(&self) {
        for (repo, store) in self.unused() {
            if let Err(error) = store.settle() {
                log::warn!("could not sync what arrived of {repo}: {error}; trying again with its next commit");
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

impl MirrorState {
    fn generation(&self) -> MutexGuard<'_, Generation> {
        threads::lock(&self.generation)
    }
}

impl Mirror {
    /// Keeps the handle for the next use. One that failed is dropped instead: it may be what is wrong.
    pub(crate) fn return_to_pool(self) {
        let Self { store, repo, generation, mirrors } = self;
        let surplus = {
            let mut idle = mirrors.idle();
            idle.push((repo, generation, store));
            (idle.len() > OPEN_MIRRORS).then(|| idle.remove(0))
        };
        // Closed here, where nobody waits for the list.
        drop(surplus);
    }
}

impl Deref for Mirror {
    type Target = PackStore;

    fn deref(&self) -> &PackStore {
        &self.store
    }
}
