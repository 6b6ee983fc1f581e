//! The runners as the core knows them: the way to each, its grants, and the commits that it has.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::dispatcher::grants::{Grant, Grants, StoredBytes};
use crate::dispatcher::limits;
use crate::dispatcher::session::RunnerOutbox;
use crate::model::{AttemptId, BuildSource, CommitId, Outcome, RepoName, SessionId};
use crate::scheduler::{Lease, RunnerCommand};

/// A runner's session, as the core reaches it.
pub(crate) struct Peer {
    pub(crate) outbox: RunnerOutbox,
    pub(crate) grants: Arc<Grants>,
    /// The streams of the attempts that the runner held when it registered, with the bytes that were stored by then.
    pub(crate) stored: StoredBytes,
    /// The commit that the runner had last of each repository; `None` for a runner that takes no source ahead.
    pub(crate) has: Option<FxHashMap<RepoName, CommitId>>,
}

/// The source of a commit that has just arrived, small enough to be sent ahead of a lease. It is durable in the mirror
/// already.
pub(super) struct Arrival {
    repo: RepoName,
    /// A runner that has this commit needs only the pack, as a rule. The pack may leave out objects that other heads
    /// have; a runner that lacks those asks for the source.
    before: CommitId,
    commit: CommitId,
    pack: Vec<u8>,
}

impl Arrival {
    pub(super) fn of(source: &BuildSource, pack: Option<Vec<u8>>) -> Option<Self> {
        Some(Self { repo: source.repo.clone(), before: source.trigger.before()?, commit: source.commit, pack: pack? })
    }
}

/// The connected runners, and the session to which each lease was granted.
#[derive(Default)]
pub(super) struct Peers {
    pub(super) by_session: FxHashMap<SessionId, Peer>,
    granted: FxHashMap<AttemptId, SessionId>,
}

impl Peers {
    /// Sends the source that has just arrived to the runner of a new lease, if the runner lacks just that. The runner
    /// takes it in while the lease is being recorded.
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

    /// Updates the grants of a session according to a command for its runner.
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
        if let Some(peer) = self.by_session.get(&session) {
            ended.iter().for_each(|attempt| peer.grants.remove(*attempt));
        }
    }

    /// Grants a lease to this session, and revokes it from the session that had it before: messages of that one are
    /// outdated, and may be read only now.
    fn grant(&mut self, session: SessionId, lease: &Lease) {
        let attempt = lease.attempt;
        let Some(peer) = self.by_session.get_mut(&session) else { return };
        if let Some(has) = &mut peer.has {
            match has.get_mut(&lease.source.repo) {
                Some(at) => *at = lease.source.commit,
                None => drop(has.insert(lease.source.repo.clone(), lease.source.commit)),
            }
        }
        peer.grants.insert(attempt, Grant::of(lease));
        if let Some(before) = self.granted.insert(attempt, session).filter(|before| *before != session)
            && let Some(peer) = self.by_session.get(&before)
        {
            peer.grants.remove(attempt);
        }
    }

    /// Notes that an attempt has its outcome. If it was lost, its session has no grant for it any more: output that
    /// comes late, on a connection that was silent, is answered with `stale` and not added to the final log. Output of
    /// a cancelled attempt is still wanted, and a report of it is answered.
    pub(super) fn settle(&mut self, attempt: AttemptId, outcome: &Outcome) {
        let session = self.granted.remove(&attempt);
        if let (Some(session), Outcome::Lost(_)) = (session, outcome)
            && let Some(peer) = self.by_session.get(&session)
        {
            peer.grants.remove(attempt);
        }
    }
}
