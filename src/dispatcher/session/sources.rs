//! Sends the source of a lease to its runner.

use std::time::Duration;

use super::shared::Shared;
use crate::clock;
use crate::dispatcher::data_dir::LogPlace;
use crate::dispatcher::grants::Grant;
use crate::dispatcher::limits;
use crate::dispatcher::mirrors::Mirror;
use crate::git::{GitError, PackStore};
use crate::model::{AttemptId, CommitId, FactsId, RepoName};
use crate::protocol::runner::ToRunner;
use crate::transport::{Frame, Outbox, WeakOutbox};

/// The source that a runner has asked for, and the commits that it has.
pub(super) struct AskedSource {
    pub(super) grant: Grant,
    pub(super) attempt: AttemptId,
    pub(super) haves: Vec<CommitId>,
    /// The facts that it has of some of them.
    pub(super) held: Vec<(CommitId, FactsId)>,
}

/// Sends a commit's source. If the mirror has lost it, the observer is asked for it and waited for, up to a limit.
pub(super) fn serve_source(shared: &Shared, asked: &AskedSource, weak: &WeakOutbox) -> Result<(), GitError> {
    let Grant { commit, log: LogPlace { repo, .. }, .. } = &asked.grant;
    let mirrors = &shared.mirrors;
    let mut has_waited = false;
    loop {
        let Some(outbox) = weak.upgrade() else { return Ok(()) };
        let generation = mirrors.generation(repo);
        let mut has_begun = false;
        let sent = mirrors.open(repo, *commit).and_then(|mirror| {
            let facts = asked.facts_in(&mirror)?;
            let is_there = mirror.has(*commit);
            send_pack(&mirror, (asked, facts), &outbox, &mut has_begun).inspect_err(|error| {
                // A commit that is not there is no evidence against the rest of the mirror.
                if is_there && error.is_damage() {
                    mirrors.condemn(repo, generation, error);
                }
            })?;
            mirror.return_to_pool();
            Ok(())
        });
        match sent {
            Err(error) if error.is_damage() => {
                shared.observers.ask_for_source(repo, *commit);
                drop(outbox);
                // The pieces that the runner has received cannot be taken back: it asks again with another attempt.
                if has_begun || has_waited || !wait_for_source(shared, repo, *commit, weak) {
                    return Err(error);
                }
                has_waited = true;
            }
            other => return other,
        }
    }
}

impl AskedSource {
    /// Returns the facts to send; `None` for the commit alone. Those that the job was planned with may be gone: others
    /// that are known since are as good. It is an error if the mirror has none.
    fn facts_in(&self, mirror: &Mirror) -> Result<Option<FactsId>, GitError> {
        let Grant { commit, facts: Some(planned), .. } = self.grant else { return Ok(None) };
        if mirror.has_facts(commit, planned) {
            return Ok(Some(planned));
        }
        let known = mirror.newest_facts(commit);
        known.map(|known| Some(known.id)).ok_or_else(|| mirror.incomplete(commit, "its history".to_owned()))
    }
}

/// Waits until an observer has sent the commit again. Returns false if none does in time, or if the session has ended.
fn wait_for_source(shared: &Shared, repo: &RepoName, commit: CommitId, outbox: &WeakOutbox) -> bool {
    let until = clock::now().after(limits::SOURCE_PATIENCE_MS);
    while clock::now() < until && outbox.upgrade().is_some() {
        if shared.mirrors.missing.wait(repo, commit, Duration::from_secs(1)) {
            return true;
        }
    }
    false
}

/// Sends the pack in pieces as it is built; the last piece says that it is the last.
fn send_pack(
    store: &PackStore,
    (asked, facts): (&AskedSource, Option<FactsId>),
    outbox: &Outbox,
    has_begun: &mut bool,
) -> Result<(), GitError> {
    let mut piece: Vec<u8> = Vec::new();
    let mut send = |piece: Vec<u8>, last: bool| {
        *has_begun = true;
        let facts = facts.filter(|_| last).map(|facts| facts.to_string());
        let message = ToRunner::Pack { attempt: asked.attempt.0, last, bytes: piece.len() as u64, facts };
        outbox.send_bulk(&Frame::with_payload(&message, piece))
    };
    let mut sink = |bytes: &[u8]| {
        for part in bytes.chunks(limits::PACK_PIECE_BYTES) {
            // One piece is always held back, because only the end of the pack tells which piece is the last.
            if !piece.is_empty()
                && piece.len() + part.len() > limits::PACK_PIECE_BYTES
                && !send(std::mem::take(&mut piece), false)
            {
                return false;
            }
            piece.extend_from_slice(part);
        }
        true
    };
    let (commit, haves) = (asked.grant.commit, &asked.haves);
    match facts {
        Some(facts) => store.pack_with_facts((commit, facts), haves, &asked.held, &mut sink)?,
        None => store.pack(commit, haves, &mut sink)?,
    }
    send(piece, true);
    Ok(())
}
