//! The runners as the core knows them: how each is reached, what it may ask for, and what it has of each repository.

use std::collections::HashMap;
use std::sync::Arc;

use crate::dispatcher::grants::{Grant, Grants, StoredStream};
use crate::dispatcher::limits;
use crate::dispatcher::session::RunnerOutbox;
use crate::model::{AttemptId, BuildSource, CommitId, Outcome, RepoName, SessionId};
use crate::scheduler::{Lease, RunnerCommand};

/// A runner's session, as the core reaches it.
pub(crate) struct Peer {
    pub(crate) outbox: RunnerOutbox,
    pub(crate) grants: Arc<Grants>,
    /// The streams of attempts that the runner held when it registered, as they were stored then.
    pub(crate) stored: Vec<StoredStream>,
    /// Of each repository the commit that it had last; `None` for a runner that takes no source ahead.
    pub(crate) has: Option<HashMap<RepoName, CommitId>>,
}

/// The source of a commit that has just arrived, small enough to be sent ahead of a lease. It is in the mirror already,
/// durably.
pub(super) struct Arrival {
    repo: RepoName,
    /// Whoever has this commit needs only the pack, as a rule: it may leave out what other heads have. A runner that
    /// cannot do with it asks.
    before: CommitId,
    commit: CommitId,
    pack: Vec<u8>,
}

impl Arrival {
    pub(super) fn of(source: &BuildSource, pack: Option<Vec<u8>>) -> Option<Self> {
        Some(Self { repo: source.repo.clone(), before: source.trigger.before()?, commit: source.commit, pack: pack? })
    }
}

/// The runners that are connected, and which session each lease was granted to.
#[derive(Default)]
pub(super) struct Peers {
    by_session: HashMap<SessionId, Peer>,
    granted: HashMap<AttemptId, SessionId>,
}

impl Peers {
    pub(super) fn insert(&mut self, session: SessionId, peer: Peer) {
        self.by_session.insert(session, peer);
    }

    pub(super) fn remove(&mut self, session: SessionId) {
        self.by_session.remove(&session);
    }

    pub(super) fn get(&self, session: SessionId) -> Option<&Peer> {
        self.by_session.get(&session)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Peer> {
        self.by_session.values()
    }

    /// While a lease is being recorded its runner may take in what has just arrived, if that is what it lacks.
    pub(super) fn send_ahead(&mut self, session: SessionId, lease: &Lease, arrival: &Arrival) {
        let Arrival { repo, before, commit, pack } = arrival;
        if (repo, commit) != (&lease.source.repo, &lease.source.commit) {
            return;
        }
        let Some(Peer { outbox, has: Some(has), .. }) = self.by_session.get_mut(&session) else { return };
        if has.get(repo) == Some(before) && outbox.waiting() + pack.len() <= limits::AHEAD_WAITING_BYTES {
            outbox.send_ahead(repo, *commit, pack);
            has.insert(repo.clone(), *commit);
        }
    }

    /// What a runner may ask for changes with what it is told.
    pub(super) fn entitle(&mut self, session: SessionId, message: &RunnerCommand) {
        let (told, ended): (&[Lease], &[AttemptId]) = match message {
            RunnerCommand::Lease(lease) => (std::slice::from_ref(lease), &[]),
            RunnerCommand::Registered { held, .. } => (held, &[]),
            RunnerCommand::Recorded { attempt } | RunnerCommand::Stale { attempt } => {
                (&[], std::slice::from_ref(attempt))
            }
            RunnerCommand::Ack { gone } => (&[], gone),
            RunnerCommand::Cancel { .. } | RunnerCommand::NameTaken { .. } | RunnerCommand::Drain => return,
        };
        told.iter().for_each(|lease| self.grant(session, lease));
        if let Some(peer) = self.get(session) {
            ended.iter().for_each(|attempt| peer.grants.remove(*attempt));
        }
    }

    /// A lease counts for this session, and for no other any more: what its runner said before is outdated, and is
    /// perhaps read only now.
    fn grant(&mut self, session: SessionId, lease: &Lease) {
        let attempt = lease.attempt;
        let Some(peer) = self.by_session.get_mut(&session) else { return };
        if let Some(has) = &mut peer.has {
            has.insert(lease.source.repo.clone(), lease.source.commit);
        }
        peer.grants.insert(attempt, Grant::of(lease));
        if let Some(before) = self.granted.insert(attempt, session).filter(|before| *before != session)
            && let Some(peer) = self.get(before)
        {
            peer.grants.remove(attempt);
        }
    }

    /// An attempt has its outcome. If it was given up, its session is entitled to nothing any more: output that comes
    /// late, on a connection that was silent, is answered as such and is not added to what is final. The output of one
    /// that was cancelled is still wanted, and whoever reports one is answered.
    pub(super) fn settle(&mut self, attempt: AttemptId, outcome: &Outcome) {
        let session = self.granted.remove(&attempt);
        if let (Some(session), Outcome::Lost(_)) = (session, outcome)
            && let Some(peer) = self.get(session)
        {
            peer.grants.remove(attempt);
        }
    }
}
