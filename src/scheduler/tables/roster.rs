//! Who is there: the runners, what they offer, what they hold, and when they were last heard.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{
    AttemptId, CommitId, Incarnation, Isolation, Label, Moment, RepoName, RunnerId, RunnerName, SessionId,
};
use crate::scheduler::RequestId;
use crate::scheduler::health::Health;

/// A runner that is connected, or is away and still holds leases.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: RunnerId,
    pub(crate) name: RunnerName,
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) presence: Presence,
    /// The newest of its sessions. They are numbered in the order in which it dialled.
    pub(crate) newest: SessionId,
    pub(crate) slots: u32,
    pub(crate) labels: Vec<Label>,
    pub(crate) isolation: Isolation,
    pub(crate) last_heard: Moment,
    /// What occupies its slots, cancelled attempts that it has not ended yet included.
    pub(crate) holds: BTreeSet<AttemptId>,
    /// An operator asked it to drain, or it drains of its own accord: it gets nothing new.
    pub(crate) draining: bool,
    /// Operators who asked for that and are answered once the runner has said that it drains: it keeps that in mind
    /// over restarts of the dispatcher, which forgets it.
    pub(crate) drain_asked: Vec<RequestId>,
    /// The commit each repository's tree is at.
    pub(crate) warm: HashMap<RepoName, CommitId>,
    pub(crate) spawned: bool,
    /// What is held against it, and until when it gets nothing new.
    pub(crate) health: Health,
}

/// Whether a runner can be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Connected(SessionId),
    /// Its connection closed, or the dispatcher restarted; it may come back until then.
    Away {
        since: Moment,
        until: Moment,
    },
}

impl Member {
    pub(crate) fn session(&self) -> Option<SessionId> {
        match self.presence {
            Presence::Connected(session) => Some(session),
            Presence::Away { .. } => None,
        }
    }

    pub(crate) fn fits(&self, labels: &[Label]) -> bool {
        labels.iter().all(|label| self.labels.binary_search(label).is_ok())
    }

    pub(crate) fn free_slots(&self) -> usize {
        (self.slots as usize).saturating_sub(self.holds.len())
    }

    fn is_free(&self, now: Moment) -> bool {
        self.session().is_some() && !self.draining && self.free_slots() > 0 && self.health.rests_until() <= now
    }
}

/// All members, and those of them that can take work.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    members: BTreeMap<RunnerId, Member>,
    by_session: HashMap<SessionId, RunnerId>,
    /// Members with a free slot. Kept in step by [`Roster::refresh`].
    free: BTreeSet<RunnerId>,
    /// Members that rest; looked at again at each lease check.
    resting: BTreeSet<RunnerId>,
}

impl Roster {
    pub(crate) fn insert(&mut self, member: Member, now: Moment) {
        let id = member.id;
        if let Some(session) = member.session() {
            self.by_session.insert(session, id);
        }
        self.members.insert(id, member);
        self.refresh(id, now);
    }

    pub(crate) fn remove(&mut self, id: RunnerId) -> Option<Member> {
        let member = self.members.remove(&id)?;
        if let Some(session) = member.session() {
            self.by_session.remove(&session);
        }
        self.free.remove(&id);
        self.resting.remove(&id);
        Some(member)
    }

    pub(crate) fn by_session(&self, session: SessionId) -> Option<RunnerId> {
        self.by_session.get(&session).copied()
    }

    pub(crate) fn member(&self, id: RunnerId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// For a change that may concern whether it is free; [`Roster::refresh`] it afterwards.
    pub(crate) fn member_mut(&mut self, id: RunnerId) -> Option<&mut Member> {
        self.members.get_mut(&id)
    }

    pub(crate) fn set_presence(&mut self, id: RunnerId, presence: Presence, now: Moment) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if let Some(session) = member.session() {
            self.by_session.remove(&session);
        }
        member.presence = presence;
        if let Presence::Connected(session) = presence {
            self.by_session.insert(session, id);
        }
        self.refresh(id, now);
    }

    /// Puts a member in or out of the free ones, as it is now.
    pub(crate) fn refresh(&mut self, id: RunnerId, now: Moment) {
        let Some(member) = self.members.get(&id) else { return };
        if member.is_free(now) {
            self.free.insert(id);
        } else {
            self.free.remove(&id);
        }
        if member.health.rests_until() > now {
            self.resting.insert(id);
        } else {
            self.resting.remove(&id);
        }
    }

    /// Lets those take work again whose rest is over.
    pub(crate) fn wake_rested(&mut self, now: Moment) {
        for id in self.resting.clone() {
            self.refresh(id, now);
        }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(crate) fn members_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.values_mut()
    }

    pub(crate) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// The best free runner for a job: one on which it was not lost before, of those one whose tree is at the very
    /// commit, else one that has the repository, else the one with the most free slots.
    pub(crate) fn best_for(
        &self,
        labels: &[Label],
        repo: &RepoName,
        commit: CommitId,
        lost_on: &[RunnerId],
    ) -> Option<(RunnerId, Warmth)> {
        let fitting = self.free.iter().filter_map(|id| self.members.get(id)).filter(|member| member.fits(labels));
        fitting
            .map(|member| {
                let warmth = match member.warm.get(repo) {
                    Some(at) if *at == commit => Warmth::Commit,
                    Some(_) => Warmth::Repo,
                    None => Warmth::Cold,
                };
                (!lost_on.contains(&member.id), warmth, member.free_slots(), member.id)
            })
            .max_by_key(|(fresh, warmth, free, id)| (*fresh, *warmth, *free, std::cmp::Reverse(*id)))
            .map(|(_, warmth, _, id)| (id, warmth))
    }

    /// Whether any connected runner could ever take a job with these labels.
    pub(crate) fn any_fits(&self, labels: &[Label]) -> bool {
        self.members.values().any(|member| member.session().is_some() && !member.draining && member.fits(labels))
    }
}

/// How much of a job's source a runner has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Warmth {
    Cold,
    Repo,
    Commit,
}
