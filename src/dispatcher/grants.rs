//! The grants of a session: which sources its runner may ask for, and which streams it may write.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;

use super::data_dir::LogPlace;
use crate::model::{AttemptId, BranchName, BuildSource, CommitId, StreamId, StreamKind};
use crate::scheduler::Lease;
use crate::threads;

/// The grant that comes with a lease: the source of a commit, and a place for the log, which names the repository.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) commit: CommitId,
    pub(crate) log: LogPlace,
    /// The build of a task that may write further tasks.
    pub(crate) expands: Option<Arc<BuildSource>>,
}

/// The facts of a repository that tasks are told: the place from which it is observed, and its default branch, if they
/// are known.
#[derive(Debug, Clone)]
pub(crate) struct RepoPlace {
    pub(crate) url: Option<String>,
    pub(crate) default_branch: Option<BranchName>,
}

/// The numbers of bytes that are stored of streams.
pub(crate) type StoredBytes = HashMap<StreamId, u64>;

impl Grant {
    pub(crate) fn of(lease: &Lease) -> Self {
        let Lease { source, build, task, number, .. } = lease;
        let log = LogPlace { repo: source.repo.clone(), build: *build, task: task.name.clone(), number: *number };
        let expands = task.recipe.expand.then(|| Arc::clone(source));
        Self { commit: source.commit, log, expands }
    }

    /// Returns the place where a stream of this kind is stored; `None` if this dispatcher takes no such stream.
    pub(crate) fn place(&self, kind: &StreamKind) -> Option<LogPlace> {
        (*kind == StreamKind::Log).then(|| self.log.clone())
    }
}

/// The grants of one session. The core writes them before the lease leaves, and the session's thread reads them. The
/// lock is held for a look-up only.
#[derive(Debug, Default)]
pub(crate) struct Grants(Mutex<FxHashMap<AttemptId, Grant>>);

impl Grants {
    pub(crate) fn insert(&self, attempt: AttemptId, grant: Grant) {
        threads::lock(&self.0).insert(attempt, grant);
    }

    pub(crate) fn remove(&self, attempt: AttemptId) {
        threads::lock(&self.0).remove(&attempt);
    }

    pub(crate) fn of(&self, attempt: AttemptId) -> Option<Grant> {
        threads::lock(&self.0).get(&attempt).cloned()
    }
}
