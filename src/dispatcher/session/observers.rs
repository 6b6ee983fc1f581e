//! The registry of observed repositories. Retention and runners' sessions reach an observer through it.

use std::collections::{HashMap, HashSet};
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
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    observed: HashMap<RepoName, Observed>,
    /// The commits that each session was asked for. It may send no others outside an announcement.
    asked: HashMap<SessionId, HashSet<(RepoName, CommitId)>>,
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
        Self { missing, state: Arc::default() }
    }

    /// Notes that a session observes a repository. Fails while one of the same name from another place is observed: the
    /// two would take turns in moving its heads.
    pub(super) fn add(&self, session: SessionId, repo: &RepoName, source: &str, outbox: &Outbox) -> Result<(), String> {
        let mut state = threads::lock(&self.state);
        if let Some(Observed { source: known, .. }) = state.observed.get(repo)
            && known != source
        {
            return Err(format!(
                "the repository name {repo} is used for {known} already: start this observer with another --name"
            ));
        }
        let (source, outbox) = (source.to_owned(), outbox.downgrade());
        state.observed.insert(repo.clone(), Observed { session, source, outbox });
        Ok(())
    }

    /// Removes the repositories of a session that has ended.
    pub(super) fn remove(&self, session: SessionId) {
        let mut state = threads::lock(&self.state);
        state.observed.retain(|_, observed| observed.session != session);
        state.asked.remove(&session);
    }

    /// Returns whether a session was asked for the source of a commit.
    pub(super) fn was_asked(&self, session: SessionId, repo: &RepoName, commit: CommitId) -> bool {
        let state = threads::lock(&self.state);
        state.asked.get(&session).is_some_and(|asked| asked.contains(&(repo.clone(), commit)))
    }

    /// Asks the observer of the repository for the whole source of a commit that is missing from its mirror.
    pub(crate) fn ask_for_source(&self, repo: &RepoName, commit: CommitId) {
        self.missing.note(repo, commit);
        let outbox = {
            let mut state = threads::lock(&self.state);
            let observed = state.observed.get(repo).map(|observed| (observed.session, observed.outbox.upgrade()));
            observed.and_then(|(session, outbox)| {
                state.asked.entry(session).or_default().insert((repo.clone(), commit));
                outbox
            })
        };
        // If there is no observer now, the next one is asked as soon as it connects.
        if let Some(outbox) = outbox {
            let (repo, commit) = (repo.to_string(), commit.to_string());
            outbox.send(&Frame::new(&ToObserver::LostSource { repo, commit }));
        }
    }
}
