//! The roster: the runners that are there, what they offer, what they hold, and when they were last heard.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::demands::Demand;
use crate::model::reason::PlacementReason;
use crate::model::{
    Ability, AttemptId, CommitId, Incarnation, Isolation, JobId, Label, Moment, PoolId, RepoName, RunnerId, RunnerName,
    SessionId, Tier, TierOffer,
};
use crate::scheduler::health::Health;

/// A runner that is connected, or is away and still holds leases.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: RunnerId,
    pub(crate) name: RunnerName,
    pub(crate) incarnation: Option<Incarnation>,
    /// Its connection. `None` if it is away: its connection closed, or the dispatcher restarted. It may come back until
    /// `Timer::Return` is over.
    pub(super) session: Option<SessionId>,
    /// The newest of its sessions. They are numbered in the order in which it dialled.
    pub(crate) newest_session: SessionId,
    pub(crate) slots: u32,
    pub(crate) labels: Vec<Label>,
    pub(crate) isolation: Isolation,
    pub(crate) tiers: Option<Arc<TierOffer>>,
    /// When anything last arrived from it, for people; its deadline is `Timer::Silence`.
    pub(super) last_heard: Moment,
    /// The attempts that occupy its slots, including cancelled ones that it has not ended yet.
    pub(super) holds: BTreeSet<AttemptId>,
    /// The number of slots that these occupy.
    pub(super) used: u32,
    /// The job for which its free slots are kept, until they are as many as the job needs.
    pub(super) kept_for: Option<JobId>,
    /// Its process finishes its attempts and then ends, by order or of its own accord.
    pub(crate) draining: bool,
    /// An operator drained it, as `Runner::drain` says.
    pub(crate) drained: bool,
    /// The commit of each repository's work tree there.
    pub(crate) warm: FxHashMap<RepoName, CommitId>,
    /// The pool in which the dispatcher started it, if it did.
    pub(crate) pool: Option<PoolId>,
    /// Its failures, and until when it gets no job because of them.
    pub(crate) health: Health,
    /// Whether it gets no job for a while, as of the last change.
    pub(super) rests: bool,
}

impl Member {
    /// Makes a member that holds and offers nothing yet.
    pub(crate) fn new(id: RunnerId, name: RunnerName, session: Option<SessionId>, now: Moment) -> Self {
        Self {
            id,
            name,
            incarnation: None,
            session,
            newest_session: session.unwrap_or(SessionId(0)),
            slots: 0,
            labels: Vec::new(),
            isolation: Isolation::Subreaper,
            tiers: None,
            last_heard: now,
            holds: BTreeSet::new(),
            used: 0,
            kept_for: None,
            draining: false,
            drained: false,
            warm: FxHashMap::default(),
            pool: None,
            health: Health::default(),
            rests: false,
        }
    }

    pub(crate) fn holds(&self) -> &BTreeSet<AttemptId> {
        &self.holds
    }

    pub(crate) fn last_heard(&self) -> Moment {
        self.last_heard
    }

    pub(crate) fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// Whether it could take a job with this demand if all of its slots were free.
    pub(crate) fn fits(&self, demand: Demand<'_>) -> bool {
        demand.slots <= self.slots && self.offers(demand.labels)
    }

    /// The highest tier that tasks can ask for.
    pub(crate) fn highest_tier(&self) -> Tier {
        let offered = self.labels.iter().filter_map(|label| Ability::of_label(label.as_str())?.tier());
        offered.max().unwrap_or(Tier::Shared)
    }

    /// Whether it offers all of these labels.
    pub(crate) fn offers(&self, labels: &[Label]) -> bool {
        labels.iter().all(|label| self.labels.binary_search(label).is_ok())
    }

    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    pub(crate) fn kept_for(&self) -> Option<JobId> {
        self.kept_for
    }

    pub(crate) fn free_slots(&self) -> u32 {
        self.slots.saturating_sub(self.used)
    }

    /// Whether it is connected and gets jobs, busy or not.
    pub(crate) fn takes_jobs(&self) -> bool {
        self.session().is_some() && !self.draining && !self.drained
    }

    /// Whether it gets jobs and has a free slot that is not kept.
    pub(super) fn could_take(&self) -> bool {
        self.takes_jobs() && self.free_slots() > 0 && self.kept_for.is_none()
    }

    /// Returns what it has of a job's source, and how good that is.
    fn warmth(&self, repo: &RepoName, commit: CommitId) -> (u8, PlacementReason) {
        match self.warm.get(repo) {
            Some(at) if *at == commit => (2, PlacementReason::CommitWarm),
            Some(_) => (1, PlacementReason::RepoWarm),
            None => (0, PlacementReason::FreeSlot),
        }
    }
}

/// All members, and those of them that can take work.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    pub(super) members: BTreeMap<RunnerId, Member>,
    by_session: FxHashMap<SessionId, RunnerId>,
    /// Members that could take a job now, as of the last change.
    pub(super) free: BTreeSet<RunnerId>,
    /// Members that are not connected.
    away: BTreeSet<RunnerId>,
}

impl Roster {
    pub(super) fn insert(&mut self, member: Member) {
        if let Some(session) = member.session() {
            self.by_session.insert(session, member.id);
        } else {
            self.away.insert(member.id);
        }
        self.members.insert(member.id, member);
    }

    pub(super) fn remove(&mut self, id: RunnerId) -> Option<Member> {
        let member = self.members.remove(&id)?;
        if let Some(session) = member.session() {
            self.by_session.remove(&session);
        }
        self.free.remove(&id);
        self.away.remove(&id);
        Some(member)
    }

    pub(super) fn set_away(&mut self, id: RunnerId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if let Some(session) = member.session.take() {
            self.by_session.remove(&session);
        }
        self.away.insert(id);
    }

    pub(crate) fn by_session(&self, session: SessionId) -> Option<RunnerId> {
        self.by_session.get(&session).copied()
    }

    pub(crate) fn member(&self, id: RunnerId) -> Option<&Member> {
        self.members.get(&id)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Returns the members that are away and hold nothing.
    pub(crate) fn empty_away(&self) -> Vec<RunnerId> {
        let away = self.away.iter().filter(|id| self.members[id].holds.is_empty());
        away.copied().collect()
    }

    pub(crate) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether the free ones are exactly the members that could take work and do not rest.
    pub(crate) fn is_in_step(&self, rests: impl Fn(RunnerId) -> bool) -> bool {
        let free = self.members.values().filter(|member| member.could_take() && !rests(member.id));
        free.map(|member| member.id).eq(self.free.iter().copied())
    }

    /// Returns the best free runner for a job, and what it has of the job's source. A runner on which the job was not
    /// lost comes first, then one whose work tree is at the commit, then one that has the repository, then the one with
    /// the most free slots.
    pub(crate) fn best_for(
        &self,
        demand: Demand<'_>,
        repo: &RepoName,
        commit: CommitId,
        lost_on: &[RunnerId],
    ) -> Option<(RunnerId, PlacementReason)> {
        self.free_for(demand)
            .map(|member| {
                let (warmth, reason) = member.warmth(repo, commit);
                ((!lost_on.contains(&member.id), warmth, member.free_slots(), Reverse(member.id)), reason)
            })
            .max_by_key(|(rank, _)| *rank)
            .map(|((.., Reverse(id)), reason)| (id, reason))
    }

    /// Returns what a runner has of a job's source.
    pub(crate) fn placement(&self, id: RunnerId, repo: &RepoName, commit: CommitId) -> PlacementReason {
        self.members.get(&id).map_or(PlacementReason::FreeSlot, |member| member.warmth(repo, commit).1)
    }

    /// Returns the runners that have the free slots and the labels for a job with this demand.
    fn free_for(&self, demand: Demand<'_>) -> impl Iterator<Item = &Member> {
        let free = self.free.iter().filter_map(|id| self.members.get(id));
        free.filter(move |member| member.free_slots() >= demand.slots && member.offers(demand.labels))
    }

    /// Returns the runner whose free slots are to be kept for a job with this demand: one that fits and has some, but
    /// too few; of several, the one that has the most.
    pub(crate) fn keepable(&self, demand: Demand<'_>) -> Option<RunnerId> {
        if demand.slots <= 1 {
            return None;
        }
        let fitting = self.free.iter().filter_map(|id| self.members.get(id)).filter(|member| member.fits(demand));
        fitting.map(|member| (member.free_slots(), Reverse(member.id))).max().map(|(_, Reverse(id))| id)
    }

    /// Whether a free runner fits a job with this demand.
    pub(crate) fn any_free_for(&self, demand: Demand<'_>) -> bool {
        self.free_for(demand).next().is_some()
    }

    /// Whether a connected runner that gets jobs, busy or not, fits a job with this demand.
    pub(crate) fn any_fits(&self, demand: Demand<'_>) -> bool {
        self.members.values().any(|member| member.takes_jobs() && member.fits(demand))
    }
}
