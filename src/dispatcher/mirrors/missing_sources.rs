//! Commits whose source is gone from a mirror, until an observer has sent them again. Who needs one waits here; who
//! asks observers is told what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::{CommitId, RepoName};
use crate::threads;

/// Commits of one repository that are waited for at most; what is beyond is asked for when it is needed again.
const MAX_MISSING: usize = 256;

/// What is missing, by repository. The lock is held for a look-up only.
#[derive(Debug, Clone, Default)]
pub(crate) struct MissingSources(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    commits: Mutex<Commits>,
    /// Told when a commit is there again.
    found: Condvar,
}

type Commits = BTreeMap<RepoName, BTreeSet<CommitId>>;

impl MissingSources {
    /// Notes that a commit's source is gone; false if that was known.
    pub(crate) fn note(&self, repo: &RepoName, commit: CommitId) -> bool {
        let mut all = self.lock();
        let commits = all.entry(repo.clone()).or_default();
        commits.len() < MAX_MISSING && commits.insert(commit)
    }

    /// A commit's source is there again, as far as anyone can tell.
    pub(crate) fn found(&self, repo: &RepoName, commit: CommitId) {
        let mut all = self.lock();
        if let Some(commits) = all.get_mut(repo)
            && commits.remove(&commit)
        {
            if commits.is_empty() {
                all.remove(repo);
            }
            drop(all);
            self.0.found.notify_all();
        }
    }

    /// Waits until the commit is no longer missing, for a while at most; false if it still is.
    pub(super) fn wait(&self, repo: &RepoName, commit: CommitId, patience: Duration) -> bool {
        let is_missing = |all: &mut Commits| all.get(repo).is_some_and(|commits| commits.contains(&commit));
        let waited = self.0.found.wait_timeout_while(self.lock(), patience, is_missing);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// The commits of a repository that are missing.
    pub(crate) fn of(&self, repo: &RepoName) -> Vec<CommitId> {
        self.lock().get(repo).map(|commits| commits.iter().copied().collect()).unwrap_or_default()
    }

    /// How many are missing, by repository.
    pub(crate) fn counts(&self) -> Vec<(RepoName, usize)> {
        self.lock().iter().map(|(repo, commits)| (repo.clone(), commits.len())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Commits> {
        threads::lock(&self.0.commits)
    }
}
