//! The mirrors: what of the watched repositories has been received. Packs come in here, task files are read from here,
//! and runners get their packs from here.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::data::DataDir;
use super::limits::{OPEN_MIRRORS, TASK_FILE_BYTES};
use crate::config::{self, TASK_DIRECTORY, TASK_FILE};
use crate::git::{GitError, Store};
use crate::model::{CommitId, RepoName, TaskSpec};

/// What a commit's task file says, or what is wrong with it.
pub(crate) type Plan = Result<Vec<TaskSpec>, String>;

/// All mirrors of a dispatcher. Each use has a handle of its own; only tidying takes turns.
#[derive(Clone)]
pub(crate) struct Mirrors {
    data: DataDir,
    /// Handles that are not in use, the one used last at the end. To open one takes longer than most of what it is
    /// opened for.
    idle: Arc<Mutex<Vec<(RepoName, Store)>>>,
    /// One lock a repository, so that two observers do not tidy one mirror at once.
    tidying: Arc<Mutex<HashMap<RepoName, Arc<Mutex<()>>>>>,
}

/// A mirror, opened for one use.
pub(crate) struct Mirror {
    store: Store,
    repo: RepoName,
    mirrors: Mirrors,
}

impl Mirrors {
    pub(crate) fn new(data: DataDir) -> Self {
        Self { data, idle: Arc::default(), tidying: Arc::default() }
    }

    /// A handle on the mirror, which is made if it is not there.
    pub(crate) fn open(&self, repo: &RepoName, like: CommitId) -> Result<Mirror, GitError> {
        let path = self.data.mirror(repo);
        let idle = {
            let mut idle = self.idle();
            let at = idle.iter().rposition(|(of, _)| of == repo);
            at.map(|at| idle.remove(at).1)
        };
        let store = match idle.filter(|store| path.join("HEAD").exists() && store.takes(like)) {
            Some(store) => store,
            None => Store::open(&path, like)?,
        };
        Ok(Mirror { store, repo: repo.clone(), mirrors: self.clone() })
    }

    /// Keeps a mirror quick to look things up in.
    pub(crate) fn tidy(&self, mirror: &Mirror) {
        let lock = {
            let mut locks = self.tidying.lock().unwrap_or_else(PoisonError::into_inner);
            locks.entry(mirror.repo.clone()).or_default().clone()
        };
        if let Ok(_turn) = lock.try_lock()
            && let Err(error) = mirror.store.tidy()
        {
            log::warn!("could not tidy the mirror of {}: {error}", mirror.repo);
        };
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(RepoName, Store)>> {
        // A list is whole whatever panicked while it was looked through.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mirror {
    /// Keeps the handle for the next use. One that failed is dropped instead: it may be what is wrong.
    pub(crate) fn keep(self) {
        let Self { store, repo, mirrors } = self;
        let surplus = {
            let mut idle = mirrors.idle();
            idle.push((repo, store));
            (idle.len() > OPEN_MIRRORS).then(|| idle.remove(0))
        };
        // Closed here, where nobody waits for the list.
        drop(surplus);
    }

    /// What the commit says is to be done, or what is wrong with what it says.
    pub(crate) fn plan(&self, commit: CommitId) -> Result<Plan, GitError> {
        let plan = match self.store.read_file(commit, TASK_FILE, TASK_FILE_BYTES)? {
            Some(text) => config::parse_tasks(TASK_FILE, &text),
            None => match self.store.executables(commit, TASK_DIRECTORY)? {
                names if names.is_empty() => return Ok(Err(config::no_tasks_text())),
                names => config::fallback_plan(&names),
            },
        };
        Ok(plan.map_err(|error| error.text))
    }
}

impl Deref for Mirror {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}
