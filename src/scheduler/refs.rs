//! Refs that appear without being built, and refs that end: the first look at a repository's tags and pull requests,
//! and the deletion of a ref.

use std::sync::Arc;

use super::event::RequestId;
use super::turn::Turn;
use super::{Reply, Scheduler};
use crate::model::reason::{CancelReason, DecisionKind, Notice};
use crate::model::{AcceptedHead, BuildId, CommitId, Ending, JobState, Record, RefName, RepoName, TriggerKind};

impl Scheduler {
    /// Notes the refs that were there at the first look at some patterns: they are accepted without a build. Nothing is
    /// noted if another observer has looked at one of the patterns before: what it has not noted is to be built.
    pub(super) fn note_refs(
        &mut self,
        turn: &mut Turn,
        request: RequestId,
        repo: RepoName,
        (mut refs, patterns): (Vec<(RefName, CommitId)>, Vec<Arc<str>>),
    ) {
        let is_first = |pattern: &Arc<str>| !self.patterns.contains(&(repo.clone(), pattern.clone()));
        if !patterns.is_empty() && patterns.iter().all(is_first) {
            refs.retain(|(reference, _)| !self.heads.contains_key(&(repo.clone(), reference.clone())));
            let number = self.moves(&repo);
            for (reference, commit) in &refs {
                let head = AcceptedHead { commit: *commit, number, build: None, is_noted: true };
                self.heads.insert((repo.clone(), reference.clone()), head);
            }
            self.patterns.extend(patterns.iter().map(|pattern| (repo.clone(), pattern.clone())));
            turn.note(Notice::RefsNoted { repo: repo.clone(), refs: refs.len(), patterns: patterns.clone() });
            turn.persist(Record::RefsNoted { repo, refs, patterns, number });
        }
        turn.reply(request, Reply::Noted);
    }

    /// Forgets a ref's head, so that the ref can come back as a new one, and cancels the jobs that no runner has yet.
    pub(super) fn drop_ref(
        &mut self,
        turn: &mut Turn,
        request: RequestId,
        (repo, reference): (RepoName, RefName),
        before: CommitId,
        seen: Option<u64>,
    ) {
        let key = (repo.clone(), reference.clone());
        match self.heads.get(&key).copied() {
            // The ref has no head: most likely this announcement was accepted before and is repeated.
            None => turn.reply(request, Reply::Accepted { build: None, moves: self.moves(&repo) }),
            Some(head) if head.commit == before && !self.is_outdated(&repo, Some(head), seen) => {
                self.heads.remove(&key);
                let number = self.next_move(&repo);
                self.moves.entry(repo.clone()).or_default().end = number;
                turn.note(Notice::RefGone { repo: repo.clone(), reference: reference.clone() });
                self.accept_schedules(turn, (&repo, &reference), &[]);
                turn.persist(Record::HeadMoved {
                    repo: repo.clone(),
                    reference: reference.clone(),
                    head: None,
                    number,
                });
                self.cancel_queued(turn, &repo, &reference);
                turn.reply(request, Reply::Accepted { build: None, moves: number });
            }
            head => turn.reply(request, self.stale(repo, reference, head)),
        }
    }

    /// Cancels the jobs of a deleted ref that no runner has. Jobs that execute go on, and so does what a person asked
    /// for.
    fn cancel_queued(&mut self, turn: &mut Turn, repo: &RepoName, reference: &RefName) {
        let is_move = |kind: &TriggerKind| {
            matches!(kind, TriggerKind::Push { .. } | TriggerKind::Tag { .. } | TriggerKind::Ref { .. })
        };
        let of_ref = self.builds.iter().filter(|(_, build)| {
            let trigger = &build.source.trigger;
            build.source.repo == *repo && trigger.reference == *reference && is_move(&trigger.kind)
        });
        let builds: Vec<BuildId> = of_ref.map(|(id, _)| *id).collect();
        for build in builds {
            let jobs = self.builds.get(&build).map(|live| live.jobs.clone()).unwrap_or_default();
            for id in jobs {
                let Some(live) = self.jobs.get(&id) else { continue };
                if matches!(live.state, JobState::Waiting | JobState::Held | JobState::Queued) {
                    let reason = CancelReason::RefDeleted { what: reference.described() };
                    turn.decide(build, id, None, DecisionKind::Cancelled { reason: reason.clone() });
                    self.finish_job(turn, id, Ending::Cancelled(Some(Box::new(reason))));
                }
            }
        }
    }
}
