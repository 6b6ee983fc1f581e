//! The dispatcher's requests to send commits again whose source it has lost. The thread that reads the session notes
//! them. The repository's thread is woken and takes them. Does no I/O.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crossbeam_channel::Sender;

use crate::model::CommitId;
use crate::threads;

/// Requests per repository that may wait. Further ones are dropped, and the dispatcher asks for them again.
const WAITING_MAX: usize = 256;

/// Requested commits by repository, and the channel that wakes each repository's thread. The lock is held only for a
/// lookup.
#[derive(Debug, Default)]
pub(crate) struct ResendRequests(Mutex<HashMap<String, RepoRequests>>);

/// The requests that concern one repository.
#[derive(Debug, Default)]
struct RepoRequests {
    commits: Vec<CommitId>,
    wake: Option<Sender<()>>,
}

impl ResendRequests {
    /// Registers a repository, and the channel that wakes its thread.
    pub(crate) fn register(&self, repo: &str, wake: Sender<()>) {
        self.lock().entry(repo.to_owned()).or_default().wake = Some(wake);
    }

    /// Takes all requested commits of a repository.
    pub(crate) fn take(&self, repo: &str) -> Vec<CommitId> {
        self.lock().get_mut(repo).map(|requests| std::mem::take(&mut requests.commits)).unwrap_or_default()
    }

    /// Notes a request. Ignores a repository that nobody has registered, and requests beyond the limit: both are
    /// mistakes of the dispatcher.
    pub(super) fn note(&self, repo: &str, commit: CommitId) {
        if let Some(RepoRequests { commits, wake }) = self.lock().get_mut(repo)
            && commits.len() < WAITING_MAX
            && !commits.contains(&commit)
        {
            commits.push(commit);
            // If a wake-up is waiting already, a second one would add nothing.
            wake.as_ref().map(|wake| wake.try_send(())).transpose().ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, RepoRequests>> {
        threads::lock(&self.0)
    }
}
