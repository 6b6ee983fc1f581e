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
    /// The observers of each repository, in the order in which they came. None is empty.
    observed: HashMap<RepoName, Vec<Observed>>,
    /// The commits that each session was asked for. It may send no others outside an announcement.
    asked: HashMap<SessionId, HashSet<(RepoName, CommitId)>>,
}

/// A repository that a session observes.
struct Observed {
    session: SessionId,
    /// The repository's path or URL, the same for all its observers.
    source: String,
    /// Whether the observer understands `wake`.
    takes_wakes: bool,
    outbox: WeakOutbox,
}

/// The observers of one repository that were asked to look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Woken {
    /// The repository's path or URL.
    pub(crate) source: String,
    /// The number of observers that were told.
    pub(crate) told: usize,
    /// The number of observers of versions that cannot be told.
    pub(crate) old: usize,
}

impl Observers {
    pub(super) fn new(missing: MissingSources) -> Self {
        Self { missing, state: Arc::default() }
    }

    /// Returns a registry that nobody enters.
    pub(super) fn none() -> Self {
        Self::new(MissingSources::default())
    }

    /// Notes that a session observes a repository. Fails while one of the same name from another place is observed: the
    /// two would take turns in moving its heads.
    pub(super) fn add(
        &self,
        (session, outbox): (SessionId, &Outbox),
        repo: &RepoName,
        source: &str,
        takes_wakes: bool,
    ) -> Result<(), String> {
        let mut state = threads::lock(&self.state);
        let observers = state.observed.entry(repo.clone()).or_default();
        if let Some(Observed { source: known, .. }) = observers.first()
            && known != source
        {
            return Err(format!(
                "the repository name {repo} is used for {known} already: start this observer with another --name"
            ));
        }
        observers.retain(|observed| observed.session != session);
        let (source, outbox) = (source.to_owned(), outbox.downgrade());
        observers.push(Observed { session, source, takes_wakes, outbox });
        Ok(())
    }

    /// Removes the repositories of a session that has ended.
    pub(super) fn remove(&self, session: SessionId) {
        let mut state = threads::lock(&self.state);
        state.observed.retain(|_, observers| {
            observers.retain(|observed| observed.session != session);
            !observers.is_empty()
        });
        state.asked.remove(&session);
    }

    /// Returns whether a session was asked for the source of a commit.
    pub(super) fn was_asked(&self, session: SessionId, repo: &RepoName, commit: CommitId) -> bool {
        let state = threads::lock(&self.state);
        state.asked.get(&session).is_some_and(|asked| asked.contains(&(repo.clone(), commit)))
    }

    /// Asks the newest observer of the repository for the whole source of a commit that is missing from its mirror.
    pub(crate) fn ask_for_source(&self, repo: &RepoName, commit: CommitId) {
        self.missing.note(repo, commit);
        let outbox = {
            let mut state = threads::lock(&self.state);
            let observers = state.observed.get(repo).map(Vec::as_slice).unwrap_or_default();
            let asked = observers.iter().rev().find_map(|it| Some((it.session, it.outbox.upgrade()?)));
            asked.map(|(session, outbox)| {
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

    /// Asks all observers of a repository to look at it now. Returns `None` if there are none.
    pub(crate) fn wake(&self, repo: &RepoName) -> Option<Woken> {
        let (source, old, outboxes) = {
            let state = threads::lock(&self.state);
            let observers = state.observed.get(repo)?;
            let (able, old): (Vec<_>, Vec<_>) = observers.iter().partition(|observed| observed.takes_wakes);
            let outboxes: Vec<Outbox> = able.iter().filter_map(|observed| observed.outbox.upgrade()).collect();
            (observers.first()?.source.clone(), old.len(), outboxes)
        };
        // An observer whose session ends meanwhile looks when it has the next one.
        let frame = Frame::new(&ToObserver::Wake { repo: repo.to_string() });
        outboxes.iter().for_each(|outbox| outbox.send(&frame));
        (outboxes.len() + old > 0).then_some(Woken { source, told: outboxes.len(), old })
    }

    /// Returns the repositories that are observed now, in the order of their names.
    pub(crate) fn watched(&self) -> Vec<RepoName> {
        let mut watched: Vec<RepoName> = threads::lock(&self.state).observed.keys().cloned().collect();
        watched.sort();
        watched
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::limits::MAX_LINE_BYTES;
    use crate::transport::{FrameReader, Stream};

    #[test]
    fn all_observers_of_a_repository_are_woken_and_one_that_is_left_is_asked_for_what_is_lost() {
        let (observers, repo) = (Observers::none(), RepoName::new("app").unwrap());
        let peer = |id| {
            let (ours, theirs) = Stream::pair();
            let (outbox, last_word) = Outbox::new(SessionId(id), ours);
            (outbox, last_word, FrameReader::new(theirs))
        };
        let mut peers = [1, 2, 3].map(peer);
        for (at, takes_wakes) in [true, true, false].into_iter().enumerate() {
            observers.add((SessionId(at as u64), &peers[at].0), &repo, "/srv/app", takes_wakes).unwrap();
        }
        // Asking for the heads again enters nobody twice.
        observers.add((SessionId(0), &peers[0].0), &repo, "/srv/app", true).unwrap();
        assert!(observers.add((SessionId(0), &peers[0].0), &repo, "/elsewhere", true).is_err());
        assert_eq!(observers.wake(&repo), Some(Woken { source: "/srv/app".into(), told: 2, old: 1 }));
        let mut hears = |at: usize| peers[at].2.read::<ToObserver>(MAX_LINE_BYTES).unwrap().unwrap();
        for at in [0, 1] {
            assert_eq!(hears(at), ToObserver::Wake { repo: "app".into() });
        }
        observers.remove(SessionId(0));
        observers.remove(SessionId(2));
        let commit = CommitId::from_bytes(&[0xab; 20]).unwrap();
        observers.ask_for_source(&repo, commit);
        assert_eq!(hears(1), ToObserver::LostSource { repo: "app".into(), commit: commit.to_string() });
        assert!(observers.was_asked(SessionId(1), &repo, commit));
        observers.remove(SessionId(1));
        assert_eq!((observers.wake(&repo), observers.watched()), (None, vec![]));
    }
}
