//! Commits whose source is missing from a mirror, until an observer has sent it again. Sessions that need a commit wait
//! here, and sessions of observers read here what to ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::model::{CommitId, RepoName};
use crate::threads;

/// Most missing commits of one repository. A commit beyond that is asked for when it is needed again.
const MAX_MISSING: usize = 256;

/// The missing commits, by repository. The lock is held for a look-up only.
#[derive(Debug, Clone, Default)]
pub(crate) struct MissingSources(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    commits: Mutex<Commits>,
    /// Notified when a source has been received again.
    found: Condvar,
}

type Commits = BTreeMap<RepoName, BTreeSet<CommitId>>;

impl MissingSources {
    /// Notes that a commit's source is missing. Returns false if that was known.
    pub(crate) fn note(&self, repo: &RepoName, commit: CommitId) -> bool {
        let mut all = threads::lock(&self.0.commits);
        let commits = all.entry(repo.clone()).or_default();
        commits.len() < MAX_MISSING && commits.insert(commit)
    }

    /// Notes that the source of a commit was received again, and wakes the sessions that wait for it.
    pub(crate) fn found(&self, repo: &RepoName, commit: CommitId) {
        let mut all = threads::lock(&self.0.commits);
        if let Some(commits) = all.get_mut(repo)
            && commits.remove(&commit)
        {
            all.retain(|_, commits| !commits.is_empty());
            drop(all);
            self.0.found.notify_all();
        }
    }

    /// Waits until the commit is no longer missing, at most for `patience`. Returns false if it still is.
    pub(crate) fn wait(&self, repo: &RepoName, commit: CommitId, patience: Duration) -> bool {
        let is_missing = |all: &mut Commits| all.get(repo).is_some_and(|commits| commits.contains(&commit));
        let waited = self.0.found.wait_timeout_while(threads::lock(&self.0.commits), patience, is_missing);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Returns the missing commits of a repository.
    pub(crate) fn of(&self, repo: &RepoName) -> Vec<CommitId> {
        threads::lock(&self.0.commits).get(repo).map(|commits| commits.iter().copied().collect()).unwrap_or_default()
    }

    /// Returns the number of missing commits, by repository.
    pub(crate) fn counts(&self) -> Vec<(RepoName, usize)> {
        threads::lock(&self.0.commits).iter().map(|(repo, commits)| (repo.clone(), commits.len())).collect()
    }
}
