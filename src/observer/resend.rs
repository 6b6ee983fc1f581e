//! What the dispatcher asks for unasked: commits whose source it has lost. Noted by the thread that reads a session,
//! taken by the thread of the repository, which is woken for it. Does no I/O.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crossbeam_channel::Sender;

use crate::model::CommitId;
use crate::threads;

/// Lost commits of one repository that wait to be sent again; a dispatcher asks again for those beyond.
const WAITING_MAX: usize = 256;

/// Commits whose source the dispatcher has lost, by repository, and whom to wake for each. The lock is held for a
/// look-up only.
#[derive(Debug, Default)]
pub(crate) struct ResendRequests(Mutex<HashMap<String, RepoRequests>>);

/// The requests that concern one repository.
#[derive(Debug, Default)]
struct RepoRequests {
    commits: Vec<CommitId>,
    wake: Option<Sender<()>>,
}

impl ResendRequests {
    /// Whoever attends to the repository wants to be woken.
    pub(crate) fn register(&self, repo: &str, wake: Sender<()>) {
        self.lock().entry(repo.to_owned()).or_default().wake = Some(wake);
    }

    /// What is to be sent again; asked for once.
    pub(crate) fn take(&self, repo: &str) -> Vec<CommitId> {
        self.lock().get_mut(repo).map(|requests| std::mem::take(&mut requests.commits)).unwrap_or_default()
    }

    /// A name that nobody attends to, or more than can be, is the dispatcher's mistake.
    pub(super) fn note(&self, repo: &str, commit: CommitId) {
        if let Some(RepoRequests { commits, wake }) = self.lock().get_mut(repo)
            && commits.len() < WAITING_MAX
            && !commits.contains(&commit)
        {
            commits.push(commit);
            // Where one is waiting already, another would tell nothing.
            wake.as_ref().map(|wake| wake.try_send(())).transpose().ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, RepoRequests>> {
        threads::lock(&self.0)
    }
}
