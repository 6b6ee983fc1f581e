//! Explanations for people: why a job is where it is, and what an operator should know. They read the state and change
//! nothing.

use std::collections::BTreeSet;

use super::state::LiveJob;
use super::tables::{Member, Presence, Started, Timer};
use super::{Scheduler, policy};
use crate::model::{AttemptId, BuildId, JobId, JobState, Moment, TaskName};

impl Scheduler {
    /// Returns a sentence for each unfinished job of a build, in the order of the task file: the reason why it waits,
    /// or the place where it runs. A finished build has none.
    #[must_use]
    pub fn explain(&self, now: Moment, build: BuildId) -> Vec<(TaskName, String)> {
        let jobs = self.builds.get(&build).map(|build| build.jobs.as_slice()).unwrap_or_default();
        jobs.iter()
            .filter_map(|id| {
                let job = &self.jobs[id];
                let text = match &job.state {
                    JobState::Waiting => self.explain_waiting(job),
                    JobState::Queued => self.explain_queued(now, *id, job),
                    JobState::Leased(attempt) => self.explain_leased(now, *attempt),
                    JobState::Finished(_) => return None,
                };
                Some((job.task.name.clone(), text))
            })
            .collect()
    }

    fn explain_waiting(&self, job: &LiveJob) -> String {
        let open = job
            .needs
            .iter()
            .map(|need| &self.jobs[&need.job])
            .filter(|need| !matches!(need.state, JobState::Finished(_)));
        let names: Vec<String> = open.map(|need| format!("{} ({})", need.task.name, need.state.word())).collect();
        format!("waits for what it needs: {}", names.join(", "))
    }

    fn explain_queued(&self, now: Moment, id: JobId, job: &LiveJob) -> String {
        let waited = self.queued_ms(now, id) / 1000;
        if !self.tables.roster().any_fits(&job.task.placement.labels) {
            return format!("queued for {waited} s: {}", self.missing_fit(id));
        }
        if let Some(until) = self.tables.deadlines().at(&Timer::Retry(id)) {
            let pause = until.since(now).div_ceil(1000);
            return format!("queued for {waited} s: it came to nothing repeatedly and is tried again in {pause} s");
        }
        if !self.tables.roster().has_free() {
            let resting = self
                .tables
                .roster()
                .members()
                .filter(|it| it.health.rests_until() > now && it.fits(&job.task.placement.labels));
            let why = resting.map(|it| match it.health.quarantine(now) {
                Some(why) => format!("{} is {why}", it.name),
                None => format!("{} rests for a moment after a failure of infrastructure", it.name),
            });
            let why: Vec<String> = why.collect();
            if !why.is_empty() {
                return format!("queued for {waited} s: {}", why.join("; "));
            }
        }
        match self.tables.queue().position(id) {
            0 => format!("queued for {waited} s: next in the queue, no fitting runner has a free slot"),
            n => format!("queued for {waited} s: {n} jobs before it, no fitting runner has a free slot"),
        }
    }

    /// The time that a queued job has waited, without its pause.
    fn queued_ms(&self, now: Moment, id: JobId) -> u64 {
        self.tables.deadlines().since(&Timer::Fit(id)).map_or(0, |since| now.since(since))
    }

    fn explain_leased(&self, now: Moment, attempt: AttemptId) -> String {
        let lease = self.tables.leases().get(attempt).expect("a leased job has a live lease");
        let name = self.known_name(lease.runner);
        let member = self.tables.roster().member(lease.runner);
        let state = match member.map(Member::presence) {
            Some(Presence::Away) => {
                let until = self.tables.deadlines().at(&Timer::Return(lease.runner)).unwrap_or(now);
                format!(", which is away; if it is not back within {} s, another gets the job", until.since(now) / 1000)
            }
            _ => match lease.started {
                Started::No => ", which fetches the source".to_owned(),
                Started::Unknown | Started::Yes => String::new(),
            },
        };
        format!("attempt {} runs on {name}{state}", lease.number)
    }

    /// Returns warnings for an operator: jobs that no runner fits, and runners that get no jobs.
    #[must_use]
    pub fn concerns(&self, now: Moment) -> Vec<String> {
        let mut unfit = BTreeSet::new();
        for (job, labels) in self.tables.queue().candidates() {
            // A runner may be starting for a job that was queued just now, so that one is no reason to warn yet.
            let waits = self.queued_ms(now, job) >= policy::SPAWN_PATIENCE_MS;
            if waits && !self.tables.roster().any_fits(labels) {
                unfit.insert(self.missing_fit(job));
            }
        }
        let mut concerns: Vec<String> = unfit.into_iter().map(|why| format!("jobs are queued and {why}")).collect();
        let mut resting: Vec<_> = self.tables.roster().members().filter(|it| it.health.rests_until() > now).collect();
        resting.sort_by(|a, b| a.name.cmp(&b.name));
        concerns.extend(resting.into_iter().map(|member| {
            let seconds = member.health.rests_until().since(now).div_ceil(1000);
            let why = member.health.quarantine(now).unwrap_or_else(|| "infrastructure failed there".into());
            format!("runner {} gets no jobs for {seconds} s: {why}", member.name)
        }));
        concerns
    }

    /// Returns the reason why no connected runner fits a job.
    pub(super) fn missing_fit(&self, id: JobId) -> String {
        let labels = &self.jobs[&id].task.placement.labels;
        let connected: Vec<_> =
            self.tables.roster().members().filter(|member| member.session().is_some() && !member.draining).collect();
        if connected.is_empty() {
            return "no runner is connected".into();
        }
        let missing: Vec<&str> = labels
            .iter()
            .filter(|label| !connected.iter().any(|member| member.fits(std::slice::from_ref(label))))
            .map(|label| &**label)
            .collect();
        match missing.as_slice() {
            [] => format!("no single connected runner offers all of its labels ({})", labels.join(", ")),
            [one] => format!("no connected runner offers the label {one}"),
            many => format!("no connected runner offers the labels {}", many.join(", ")),
        }
    }
}
