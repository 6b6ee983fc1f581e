//! Invariants of the whole state, which hold after every event. The stories and the simulation check them.

use std::collections::BTreeMap;

use super::Scheduler;
use super::tables::{LiveLease, Timer};
use crate::model::{AttemptId, JobId, JobState, RepoName, RunnerId};

impl Scheduler {
    /// Returns the first invariant that is broken, in a sentence.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_jobs()?;
        self.check_slots()?;
        self.check_tables()?;
        self.check_builds()
    }

    /// A job is queued if and only if it is in the queue, and leased if and only if it has exactly one live lease. A
    /// held job is manual, or needs a held one.
    fn check_jobs(&self) -> Result<(), String> {
        let mut leased: BTreeMap<JobId, u32> = BTreeMap::new();
        for lease in self.tables.leases().live() {
            *leased.entry(lease.job).or_default() += 1;
        }
        for (id, job) in &self.jobs {
            let leases = leased.remove(id).unwrap_or(0);
            let queued = self.tables.queue().contains(*id, job.lane());
            let fine = match &job.state {
                JobState::Leased(attempt) => {
                    leases == 1 && !queued && self.tables.leases().get(*attempt).is_some_and(|lease| lease.job == *id)
                }
                JobState::Queued => leases == 0 && queued,
                JobState::Waiting | JobState::Held | JobState::Finished(_) => leases == 0 && !queued,
            };
            if !fine {
                return Err(format!("job {id} is {:?}, has {leases} leases, in the queue: {queued}", job.state));
            }
        }
        let is_forgotten = |id: &&JobId| self.jobs[id].state == JobState::Held && !self.stays_held(**id);
        if let Some(job) = self.jobs.keys().find(is_forgotten) {
            return Err(format!("job {job} is held, and nobody can start it or what it needs"));
        }
        match leased.into_iter().next() {
            Some((job, _)) => Err(format!("job {job} has a lease and is not live")),
            None => Ok(()),
        }
    }

    /// Runners hold exactly the leased attempts. No connected runner holds more than it has slots. No job waits beside
    /// a free slot that fits it.
    fn check_slots(&self) -> Result<(), String> {
        let mut held = 0;
        for member in self.tables.roster().members() {
            held += member.holds().len();
            for attempt in member.holds() {
                if self.tables.leases().of_runner(*attempt, member.id).is_none() {
                    return Err(format!("runner {} holds {attempt}, which is not leased to it", member.id));
                }
            }
            let of = |attempt: &AttemptId| self.tables.leases().get(*attempt).map_or(0, LiveLease::slots);
            let used: u32 = member.holds().iter().map(of).sum();
            if used != member.used() || member.session().is_some() && used > member.slots {
                let (counted, slots) = (member.used(), member.slots);
                return Err(format!("runner {} uses {used} of {slots} slots and counts {counted}", member.id));
            }
        }
        if held != self.tables.leases().len() {
            return Err(format!("{held} attempts are held, {} leased", self.tables.leases().len()));
        }
        if let Some(line) = self.tables.lines().crowded() {
            return Err(format!("more attempts of {line:?} run than one of them allows"));
        }
        for (job, demand) in self.tables.queue().candidates() {
            if let Some(obstacle) = self.tables.lines().obstacle(self.jobs[&job].in_line(job)) {
                return Err(format!("job {job} is a candidate beside {obstacle:?}"));
            }
            if !self.tables.kept().contains_key(&job) && self.tables.roster().keepable(demand).is_some() {
                return Err(format!("job {job} waits for {} slots, and no runner is kept for it", demand.slots));
            }
            let live = &self.jobs[&job];
            if let Some((runner, _)) = self.tables.roster().best_for(demand, &live.source.repo, live.source.commit, &[])
            {
                return Err(format!("job {job} waits beside a free slot of {runner}"));
            }
        }
        Ok(())
    }

    /// Derived data is in step with its source: free runners, shares of repositories, deadlines.
    fn check_tables(&self) -> Result<(), String> {
        let (deadlines, roster) = (self.tables.deadlines(), self.tables.roster());
        let is_set = |timer: Timer| deadlines.is_set(&timer);
        if !roster.is_in_step(|id| is_set(Timer::Rest(id))) {
            return Err("the set of free runners is not in step".into());
        }
        let queued = self.jobs.values().filter(|job| job.state == JobState::Queued).count();
        if self.tables.queue().len() != queued {
            return Err(format!("{queued} jobs are queued, and the queue counts {}", self.tables.queue().len()));
        }
        let is_kept = |job: &JobId, runner: &RunnerId, slots: u32| {
            let member = roster.member(*runner).filter(|it| it.kept_for() == Some(*job) && it.takes_jobs());
            let is_needed = member.is_some_and(|it| it.free_slots() < slots && it.slots >= slots);
            is_needed && self.jobs.get(job).is_some_and(|job| job.state == JobState::Queued)
        };
        let kept = self.tables.kept();
        if kept.len() != roster.members().filter(|it| it.kept_for().is_some()).count()
            || !kept.iter().all(|(job, (runner, slots))| is_kept(job, runner, *slots))
        {
            return Err(format!("runners are kept that need not be: {kept:?}"));
        }
        let mut leased: BTreeMap<&RepoName, usize> = BTreeMap::new();
        for lease in self.tables.leases().live() {
            *leased.entry(&lease.repo).or_default() += 1;
        }
        if self.tables.queue().leased() != leased {
            return Err(format!("the queue does not count what is leased: {leased:?}"));
        }
        if let Some((attempt, _)) = self.tables.leases().iter().find(|(attempt, _)| !is_set(Timer::Lease(*attempt))) {
            return Err(format!("{attempt} has no deadline"));
        }
        if let Some(it) = roster.members().find(|it| it.drained != self.drain_of(&it.name).is_some()) {
            return Err(format!("runner {} is drained: {}, which is not what is recorded", it.id, it.drained));
        }
        if let Some(it) = roster.members().find(|it| is_set(Timer::Silence(it.id)) != it.session().is_some()) {
            return Err(format!("runner {} has session {:?} and the wrong deadlines", it.id, it.session()));
        }
        match self.jobs.iter().find(|(id, job)| is_set(Timer::Fit(**id)) != (job.state == JobState::Queued)) {
            Some((id, job)) => Err(format!("job {id} is {:?} and has the wrong deadlines", job.state)),
            None => Ok(()),
        }
    }

    /// A live build has a job that its verdict waits for, and its count of them is right.
    fn check_builds(&self) -> Result<(), String> {
        let mut jobs = 0;
        for (id, build) in &self.builds {
            let open = build.jobs.iter().filter(|job| self.jobs[job].state.is_awaited()).count();
            if open == 0 || open != build.unfinished {
                return Err(format!("build {id} has {open} unfinished jobs and counts {}", build.unfinished));
            }
            if build.settings.timeout_ms.is_some() != self.tables.deadlines().is_set(&Timer::Build(*id)) {
                return Err(format!("build {id} has {:?} and the wrong deadline", build.settings));
            }
            jobs += build.jobs.len();
        }
        if jobs != self.jobs.len() {
            return Err(format!("{} jobs live, {jobs} of live builds", self.jobs.len()));
        }
        Ok(())
    }
}
