//! Explanations for people: why a job is where it is, and what an operator should know. They read the state and change
//! nothing.

use std::collections::BTreeSet;

use super::state::LiveJob;
use super::tables::{Demand, First, Member, Obstacle, Started, Timer};
use super::{Scheduler, policy};
use crate::model::reason::{AttemptStatus, Concern, FirstInLine, JobStatus, MissingFit};
use crate::model::{Ability, AttemptId, BuildId, JobId, JobState, Label, Line, Moment, RunnerName, TaskName, Tier};

impl Scheduler {
    /// Returns for each unfinished job of a build, in the order of the task file, the reason why it waits, or the place
    /// where it runs. A finished build has none.
    #[must_use]
    pub fn explain(&self, now: Moment, build: BuildId) -> Vec<(TaskName, JobStatus)> {
        let jobs = self.builds.get(&build).map(|build| build.jobs.as_slice()).unwrap_or_default();
        jobs.iter()
            .filter_map(|id| {
                let job = &self.jobs[id];
                let status = match &job.state {
                    JobState::Waiting => self.explain_waiting(job),
                    JobState::Held => self.explain_held(job),
                    JobState::Queued => self.explain_queued(now, *id, job),
                    JobState::Leased(attempt) => self.explain_leased(now, *attempt),
                    JobState::Finished(_) => return None,
                };
                Some((job.task.name.clone(), status))
            })
            .collect()
    }

    fn explain_waiting(&self, job: &LiveJob) -> JobStatus {
        let needed = job.needs.iter().map(|need| &self.jobs[&need.job]);
        let open = needed.filter(|need| !matches!(need.state, JobState::Finished(_)));
        JobStatus::WaitsForNeeds { open: open.map(|need| (need.task.name.clone(), need.state.kind())).collect() }
    }

    fn explain_held(&self, job: &LiveJob) -> JobStatus {
        let needed = job.needs.iter().map(|need| &self.jobs[&need.job]);
        let held = needed.filter(|need| need.state == JobState::Held);
        JobStatus::Held { needs: held.map(|need| need.task.name.clone()).collect() }
    }

    fn explain_queued(&self, now: Moment, id: JobId, job: &LiveJob) -> JobStatus {
        let (waited_ms, roster) = (self.queued_ms(now, id), self.tables.roster());
        if let Some(obstacle) = self.tables.lines().obstacle(job.in_line(id)) {
            return self.explain_line(now, waited_ms, job, &obstacle);
        }
        let demand = job.demand();
        if !roster.any_fits(demand) {
            return JobStatus::NoRunnerFits { waited_ms, fit: self.missing_fit(id) };
        }
        if let Some(until) = self.tables.deadlines().at(&Timer::Retry(id)) {
            if job.is_retry {
                return JobStatus::RetryDelayed { again_ms: until.since(now) };
            }
            return JobStatus::Paused { waited_ms, again_ms: until.since(now) };
        }
        if !roster.has_free() {
            let resting = roster.members().filter(|it| it.health.rests_until() > now && it.fits(demand));
            let runners: Vec<_> = resting.map(|it| (it.name.clone(), it.health.quarantine(now))).collect();
            if !runners.is_empty() {
                return JobStatus::RunnersRest { waited_ms, runners };
            }
        }
        if let Some((runner, slots)) = self.tables.kept().get(&id) {
            let (slots, free) = (*slots, roster.member(*runner).map_or(0, Member::free_slots));
            return JobStatus::WaitsForSlots { waited_ms, slots, runner: self.known_name(*runner), free };
        }
        let has_kept = |it: &&Member| it.takes_jobs() && it.fits(demand) && it.free_slots() > 0;
        let for_whom = roster.members().filter(has_kept).find_map(|it| Some((it.name.clone(), it.kept_for()?)));
        if let Some((runner, job)) = for_whom {
            let live = &self.jobs[&job];
            let (build, task, slots) = (live.build, live.task.name.clone(), live.demand().slots);
            return JobStatus::SlotsKept { waited_ms, runner, build, task, slots };
        }
        JobStatus::InQueue { waited_ms, before: self.position(id, job), only: self.choosy(demand) }
    }

    fn explain_line(&self, now: Moment, waited_ms: u64, job: &LiveJob, obstacle: &Obstacle) -> JobStatus {
        let (first, task) = match obstacle.first {
            First::Attempt(attempt) => {
                let lease = self.tables.leases().get(attempt).expect("an attempt in a line has a lease");
                let runner = self.known_name(lease.runner);
                let (build, number, is_cancelled) = (lease.build, lease.number, lease.cancelled);
                (FirstInLine::Attempt { build, number, runner, is_cancelled }, Some(lease.task.name.clone()))
            }
            First::Job(job) => {
                let job = &self.jobs[&job];
                (FirstInLine::Job { build: job.build }, Some(job.task.name.clone()))
            }
            First::Doubt => {
                let until = self.tables.deadlines().at(&Timer::OldExclusives).unwrap_or(now);
                (FirstInLine::Doubt { left_ms: until.since(now) }, None)
            }
        };
        match &*obstacle.line {
            Line::Task(..) => JobStatus::WaitsForTurn { waited_ms, first },
            Line::Group(_, group) => {
                let limit = job.task.placement.group.as_ref().map_or(1, |group| group.limit);
                let (group, before) = (group.clone(), obstacle.before);
                JobStatus::WaitsForGroup { waited_ms, group, limit, task, first, before }
            }
        }
    }

    /// Returns the connected runners that fit, if the demand asks for something that some do not offer.
    fn choosy(&self, demand: Demand<'_>) -> Vec<RunnerName> {
        let members = || self.tables.roster().members().filter(|it| it.takes_jobs());
        if members().all(|it| it.fits(demand)) {
            return Vec::new();
        }
        let mut fitting: Vec<RunnerName> = members().filter(|it| it.fits(demand)).map(|it| it.name.clone()).collect();
        fitting.sort_unstable();
        fitting.truncate(policy::NAMED_RUNNERS);
        fitting
    }

    /// Returns how many jobs get a runner before this one.
    fn position(&self, id: JobId, job: &LiveJob) -> usize {
        let roster = self.tables.roster();
        let demand = job.demand();
        let fitting: Vec<_> = roster.members().filter(|it| it.session().is_some() && it.fits(demand)).collect();
        let running = self.tables.leases().live();
        let running = running.filter(|lease| fitting.iter().any(|it| it.id == lease.runner)).map(|lease| &lease.repo);
        let competes = |demand: Demand<'_>| fitting.iter().any(|it| it.fits(demand));
        self.tables.queue().position(id, (&job.source.repo, job.standing), running, competes)
    }

    /// The time that a queued job has waited, without its pause.
    fn queued_ms(&self, now: Moment, id: JobId) -> u64 {
        self.tables.deadlines().since(&Timer::Fit(id)).map_or(0, |since| now.since(since))
    }

    fn explain_leased(&self, now: Moment, attempt: AttemptId) -> JobStatus {
        let lease = self.tables.leases().get(attempt).expect("a leased job has a live lease");
        let member = self.tables.roster().member(lease.runner);
        let status = if member.is_some_and(|member| member.session().is_none()) {
            let until = self.tables.deadlines().at(&Timer::Return(lease.runner)).unwrap_or(now);
            AttemptStatus::RunnerAway { left_ms: until.since(now) }
        } else if lease.started == Started::No {
            AttemptStatus::FetchingSource
        } else {
            AttemptStatus::Executing
        };
        JobStatus::Running { number: lease.number, runner: self.known_name(lease.runner), status }
    }

    /// Returns warnings for an operator: jobs that no runner fits, and runners that get no jobs.
    #[must_use]
    pub fn concerns(&self, now: Moment) -> Vec<Concern> {
        let mut unfit = BTreeSet::new();
        for (job, demand) in self.tables.queue().candidates() {
            // A runner may be starting for a job that was queued just now, so that one is no reason to warn yet.
            let waits = self.queued_ms(now, job) >= policy::SPAWN_PATIENCE_MS;
            if waits && !self.tables.roster().any_fits(demand) {
                unfit.insert(self.missing_fit(job));
            }
        }
        let mut concerns: Vec<Concern> = unfit.into_iter().map(Concern::NoRunnerFits).collect();
        let mut resting: Vec<_> = self.tables.roster().members().filter(|it| it.health.rests_until() > now).collect();
        resting.sort_by(|a, b| a.name.cmp(&b.name));
        concerns.extend(resting.into_iter().map(|member| Concern::RunnerRests {
            runner: member.name.clone(),
            rest_ms: member.health.rests_until().since(now),
            quarantine: member.health.quarantine(now),
        }));
        concerns
    }

    /// Returns the reason why no connected runner fits a job.
    pub(super) fn missing_fit(&self, id: JobId) -> MissingFit {
        let demand = self.jobs[&id].demand();
        let members = || self.tables.roster().members();
        let mut drained: Vec<_> =
            members().filter(|it| it.drained && it.session().is_some() && it.fits(demand)).map(|it| &it.name).collect();
        if !drained.is_empty() {
            drained.sort_unstable();
            let runners = drained.iter().take(policy::NAMED_RUNNERS).map(|name| (*name).clone()).collect();
            return MissingFit::Drained { runners, more: drained.len().saturating_sub(policy::NAMED_RUNNERS) };
        }
        let connected: Vec<_> = members().filter(|member| member.takes_jobs()).collect();
        if connected.is_empty() {
            return MissingFit::NoRunner;
        }
        let large = connected.iter().filter(|it| it.offers(demand.labels)).map(|it| it.slots).max();
        if let Some(largest) = large.filter(|largest| *largest < demand.slots) {
            return MissingFit::Slots { slots: demand.slots, largest };
        }
        let offers = |label: &Label| connected.iter().any(|it| it.labels.binary_search(label).is_ok());
        let missing: Vec<Label> = demand.labels.iter().filter(|label| !offers(label)).cloned().collect();
        if let [one] = missing.as_slice()
            && let Some(asked) = Ability::of_label(one.as_str()).and_then(Ability::tier)
        {
            return missing_tier(asked, one, demand, &connected);
        }
        if missing.is_empty() {
            MissingFit::Combination { labels: demand.labels.to_vec() }
        } else {
            MissingFit::Labels { labels: missing }
        }
    }
}

/// Returns the highest tier that the runners offer which lack only this label of the demand, or else all of them.
fn missing_tier(asked: Tier, label: &Label, demand: Demand<'_>, connected: &[&Member]) -> MissingFit {
    let others: Vec<Label> = demand.labels.iter().filter(|other| *other != label).cloned().collect();
    let mut near: Vec<&Member> = connected.iter().copied().filter(|it| it.offers(&others)).collect();
    if near.is_empty() {
        near = connected.to_vec();
    }
    let most = near.iter().map(|it| it.highest_tier()).max().unwrap_or(Tier::Shared);
    let mut runners: Vec<RunnerName> =
        near.iter().filter(|it| it.highest_tier() == most).map(|it| it.name.clone()).collect();
    runners.sort_unstable();
    let more = runners.len().saturating_sub(policy::NAMED_RUNNERS);
    runners.truncate(policy::NAMED_RUNNERS);
    MissingFit::Tier { asked, most, runners, more }
}
