//! The mirrors: what of the watched repositories has been received. Packs come in here, task files are read from here,
//! and runners get their packs from here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::data::DataDir;
use super::limits::TASK_FILE_BYTES;
use crate::config::{self, TASK_DIRECTORY, TASK_FILE};
use crate::git::{GitError, Store};
use crate::model::{CommitId, RepoName, TaskSpec};

/// What a commit's task file says, or what is wrong with it.
pub(crate) type Plan = Result<Vec<TaskSpec>, String>;

/// All mirrors of a dispatcher. Each use opens its own handle; only tidying takes turns.
#[derive(Debug, Clone)]
pub(crate) struct Mirrors {
    data: DataDir,
    /// One lock a repository, so that two observers do not tidy one mirror at once.
    tidying: Arc<Mutex<HashMap<RepoName, Arc<Mutex<()>>>>>,
}

impl Mirrors {
    pub(crate) fn new(data: DataDir) -> Self {
        Self { data, tidying: Arc::default() }
    }

    pub(crate) fn open(&self, repo: &RepoName, like: CommitId) -> Result<Store, GitError> {
        Store::open(&self.data.mirror(repo), like)
    }

    /// What the commit says is to be done, or what is wrong with what it says.
    pub(crate) fn plan(store: &Store, commit: CommitId) -> Result<Plan, GitError> {
        let plan = match store.read_file(commit, TASK_FILE, TASK_FILE_BYTES)? {
            Some(text) => config::parse_tasks(TASK_FILE, &text),
            None => match store.executables(commit, TASK_DIRECTORY)? {
                names if names.is_empty() => return Ok(Err(config::no_tasks_text())),
                names => config::fallback_plan(&names),
            },
        };
        Ok(plan.map_err(|error| error.text))
    }

    /// Keeps a mirror quick to look things up in.
    pub(crate) fn tidy(&self, repo: &RepoName, store: &Store) {
        let lock = {
            let mut locks = self.tidying.lock().unwrap_or_else(PoisonError::into_inner);
            locks.entry(repo.clone()).or_default().clone()
        };
        if let Ok(_turn) = lock.try_lock()
            && let Err(error) = store.tidy()
        {
            log::warn!("could not tidy the mirror of {repo}: {error}");
        };
    }
}
