//! Questions about the state: heads, runners, counts, and the holder of an attempt. They change nothing.

use std::sync::Arc;

use super::Scheduler;
use super::effect::Lease;
use crate::model::reason::Quarantine;
use crate::model::{
    AcceptedHead, AttemptId, BuildId, Isolation, JobId, Label, Moment, Ordered, RefName, RepoName, Runner, RunnerId,
    RunnerName, RunnerState, TaskName, TierOffer,
};

/// A runner as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerView {
    pub name: RunnerName,
    pub state: RunnerState,
    pub quarantine: Option<Quarantine>,
    /// An operator drained it.
    pub drained: bool,
    /// The last order to drain or resume it, if one is recorded.
    pub ordered: Option<Ordered>,
    /// Of a runner that is not connected, and not away with leases, only the name is known.
    pub connected: bool,
    pub slots: u32,
    /// The number of slots that are occupied.
    pub busy: u32,
    pub labels: Vec<Label>,
    pub isolation: Isolation,
    pub tiers: Option<Arc<TierOffer>>,
    pub silent_ms: u64,
    /// The attempts that occupy its slots, each with its build and task.
    pub running: Vec<(AttemptId, BuildId, TaskName)>,
}

/// Numbers of jobs that are not finished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// They wait for a runner.
    pub queued: usize,
    /// A runner has them.
    pub leased: usize,
}

impl Scheduler {
    /// Returns the accepted heads of a repository, by ref.
    #[must_use]
    pub fn heads(&self, repo: &RepoName) -> Vec<(RefName, AcceptedHead)> {
        let of_repo = self.heads.iter().filter(|((name, _), _)| name == repo);
        let mut heads: Vec<_> = of_repo.map(|((_, reference), head)| (reference.clone(), *head)).collect();
        heads.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        heads
    }

    /// Returns those of these patterns at whose refs no observer has looked yet.
    #[must_use]
    pub fn unseen(&self, repo: &RepoName, mut patterns: Vec<Arc<str>>) -> Vec<Arc<str>> {
        patterns.retain(|pattern| !self.patterns.contains(&(repo.clone(), pattern.clone())));
        patterns
    }

    /// Returns the number of the last accepted move of a repository; 0 if there was none.
    #[must_use]
    pub fn moves(&self, repo: &RepoName) -> u64 {
        self.moves.get(repo).map_or(0, |moves| moves.last)
    }

    /// Returns the lease of an attempt, if a runner has it now and it is not cancelled.
    #[must_use]
    pub fn lease_of(&self, attempt: AttemptId) -> Option<Lease> {
        // A cancelled attempt only occupies a slot. Its job may have left the state already.
        let counts = self.tables.leases().get(attempt).is_some_and(|lease| !lease.cancelled);
        counts.then(|| self.lease_message(attempt))
    }

    /// Returns how many jobs wait for a runner, and how many are leased.
    #[must_use]
    pub fn counts(&self) -> JobCounts {
        let leased = self.tables.leases().live().count();
        JobCounts { queued: self.tables.queue().len(), leased }
    }

    /// Returns the runners that are connected, away with leases, or drained, by name.
    #[must_use]
    pub fn runners(&self, now: Moment) -> Vec<RunnerView> {
        let running = |attempt: &AttemptId| {
            let lease = self.tables.leases().get(*attempt)?;
            Some((*attempt, lease.build, self.jobs.get(&lease.job)?.task.name.clone()))
        };
        let mut views: Vec<RunnerView> = self
            .tables
            .roster()
            .members()
            .map(|member| RunnerView {
                name: member.name.clone(),
                state: match member.session() {
                    None => RunnerState::Away,
                    Some(_) if member.draining => RunnerState::Draining,
                    Some(_) if member.drained => RunnerState::Drained,
                    Some(_) if member.health.quarantine(now).is_some() => RunnerState::Quarantined,
                    Some(_) if member.health.rests_until() > now => RunnerState::Resting,
                    Some(_) => RunnerState::Connected,
                },
                quarantine: member.health.quarantine(now),
                drained: member.drained,
                ordered: self.known_runners.get(&member.name).and_then(|runner| runner.ordered.clone()),
                connected: member.session().is_some(),
                slots: member.slots,
                busy: member.used(),
                labels: member.labels.clone(),
                isolation: member.isolation,
                tiers: member.tiers.clone(),
                silent_ms: now.since(member.last_heard()),
                running: member.holds().iter().filter_map(running).collect(),
            })
            .collect();
        let absent = |it: &&Runner| it.drain.is_some() && self.tables.roster().member(it.id).is_none();
        views.extend(self.known_runners.values().filter(absent).map(|runner| RunnerView {
            name: runner.name.clone(),
            state: RunnerState::Drained,
            quarantine: None,
            drained: true,
            ordered: runner.ordered.clone(),
            connected: false,
            slots: 0,
            busy: 0,
            labels: Vec::new(),
            isolation: Isolation::Subreaper,
            tiers: None,
            silent_ms: 0,
            running: Vec::new(),
        }));
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// Returns the build of a job, if the build is not finished.
    #[must_use]
    pub fn build_of(&self, job: JobId) -> Option<BuildId> {
        self.jobs.get(&job).map(|job| job.build)
    }

    /// Returns the runner of that name, connected or not.
    #[must_use]
    pub fn runner_named(&self, name: &str) -> Option<RunnerId> {
        self.known_runners.get(name).map(|runner| runner.id)
    }

    /// Returns the names of all runners that were ever seen, in no order.
    pub fn runner_names(&self) -> impl Iterator<Item = &str> {
        self.known_runners.keys().map(RunnerName::as_str)
    }
}
