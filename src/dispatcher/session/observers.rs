//! The registry of observed repositories. Retention and runners' sessions reach an observer through it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::dispatcher::mirrors::MissingSources;
use crate::model::{CommitId, RepoName, SessionId};
use crate::protocol::observer::ToObserver;
use crate::threads;
use crate::transport::{Frame, Outbox, WeakOutbox};

/// The observed repositories, and the commits that are asked of their observers.
#[derive(Clone)]
pub(crate) struct Observers {
    missing: MissingSources,
    observed: Arc<Mutex<HashMap<RepoName, Observed>>>,
}

/// A repository that a session observes.
struct Observed {
    session: SessionId,
    /// The repository's path or URL.
    source: String,
    outbox: WeakOutbox,
}

impl Observers {
    pub(super) fn new(missing: MissingSources) -> Self {
        Self { missing, observed: Arc::default() }
    }

    /// Notes that a session observes a repository. Fails while another session observes one of the same name from
    /// another place: the two would take turns in moving its heads.
    pub(super) fn add(&self, session: SessionId, repo: &RepoName, source: &str, outbox: &Outbox) -> Result<(), String> {
        let mut observed = threads::lock(&self.observed);
        if let Some(Observed { session: other, source: known, .. }) = observed.get(repo)
            && *other != session
            && known != source
        {
            return Err(format!(
                "the repository name {repo} is used for {known} already: start this observer with another --name"
            ));
        }
        let (source, outbox) = (source.to_owned(), outbox.downgrade());
        observed.insert(repo.clone(), Observed { session, source, outbox });
        Ok(())
    }

    /// Removes the repositories of a session that has ended.
    pub(super) fn remove(&self, session: SessionId) {
        threads::lock(&self.observed).retain(|_, observed| observed.session != session);
    }

    /// Asks the observer of the repository for the whole source of a commit that is missing from its mirror.
    pub(crate) fn ask_for_source(&self, repo: &RepoName, commit: CommitId) {
        self.missing.note(repo, commit);
        let outbox = threads::lock(&self.observed).get(repo).and_then(|observed| observed.outbox.upgrade());
        // If there is no observer now, the next one is asked as soon as it connects.
        if let Some(outbox) = outbox {
            let (repo, commit) = (repo.to_string(), commit.to_string());
            outbox.send(&Frame::new(&ToObserver::LostSource { repo, commit }));
        }
    }
}
