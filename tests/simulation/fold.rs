//! The simplest possible store: records fold into the state that they describe. The folded state is durable; a
//! dispatcher that crashes finds this and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use surveil::model::reason::DecisionKind;
use surveil::model::{
    AcceptedHead, Attempt, AttemptId, Build, BuildId, BuildSource, Ending, Job, JobId, JobState, Outcome, Record,
    RefName, RepoName, Runner, RunnerId, RunnerName, Schedule, Snapshot, TriggerKind, WholeBuild,
};

#[derive(Debug, Default, Clone)]
pub(crate) struct Fold {
    pub(crate) builds: BTreeMap<BuildId, Build>,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) attempts: BTreeMap<AttemptId, Attempt>,
    pub(crate) heads: BTreeMap<(RepoName, RefName), AcceptedHead>,
    /// The patterns for refs whose first look is over.
    patterns: BTreeSet<(RepoName, Arc<str>)>,
    ends: BTreeMap<RepoName, u64>,
    runners: BTreeMap<RunnerId, Runner>,
    schedules: BTreeMap<(RepoName, RefName, String), Schedule>,
    /// The build of each move, by the number of the move.
    moved: BTreeMap<(RepoName, u64), BuildId>,
}

impl Fold {
    /// Applies a record, or says which earlier record it contradicts.
    pub(crate) fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::BuildAdded { build, jobs } => return self.add_build(build, jobs),
            Record::HeadMoved { repo, reference, head, number } => {
                let key = (repo.clone(), reference.clone());
                match *head {
                    // Its build is recorded next.
                    Some(commit) => drop(
                        self.heads.insert(key, AcceptedHead { commit, number: *number, build: None, is_noted: false }),
                    ),
                    None => {
                        self.heads.remove(&key);
                        self.ends.insert(repo.clone(), *number);
                    }
                }
            }
            Record::RefsNoted { repo, refs, patterns, number } => {
                for (reference, commit) in refs {
                    let head = AcceptedHead { commit: *commit, number: *number, build: None, is_noted: true };
                    self.heads.insert((repo.clone(), reference.clone()), head);
                }
                self.patterns.extend(patterns.iter().map(|pattern| (repo.clone(), pattern.clone())));
            }
            Record::ScheduleSaved(schedule) => {
                let key = (schedule.repo.clone(), schedule.reference.clone(), schedule.name.to_string());
                self.schedules.insert(key, schedule.clone());
            }
            Record::RunnerSaved(runner) => drop(self.runners.insert(runner.id, runner.clone())),
            Record::AttemptLeased(attempt) => return self.lease(attempt),
            Record::AttemptFinished { attempt, outcome, log, duration_ms, at } => {
                let attempt = self.attempts.get_mut(attempt).ok_or("an attempt ends that was never leased")?;
                if attempt.outcome.is_some() {
                    return Err(format!("{} has an outcome already", attempt.id));
                }
                attempt.outcome = Some(outcome.clone());
                (attempt.log, attempt.duration_ms, attempt.finished_at) = (log.clone(), *duration_ms, Some(*at));
            }
            Record::JobQueued { job, failures, losses } => {
                let job = self.jobs.get_mut(job).ok_or("an unknown job is queued")?;
                (job.state, job.failures, job.losses) = (JobState::Queued, *failures, *losses);
            }
            Record::JobWaiting { job } => {
                let job = self.jobs.get_mut(job).ok_or("an unknown job waits")?;
                (job.state, job.failures, job.losses) = (JobState::Waiting, 0, 0);
            }
            Record::JobHeld { job } => {
                let job = self.jobs.get_mut(job).ok_or("an unknown job is held")?;
                (job.state, job.failures, job.losses) = (JobState::Held, 0, 0);
            }
            Record::JobsJoined { jobs, .. } => {
                for job in jobs {
                    if self.jobs.insert(job.id, job.clone()).is_some() {
                        return Err(format!("{} joins twice", job.id));
                    }
                }
            }
            Record::TaskGiven { job, task } => {
                self.jobs.get_mut(job).ok_or("an unknown job gets values")?.task = task.clone();
            }
            Record::JobFinished { job, ending } => return self.finish_job(*job, ending),
            Record::BuildFinished { build, verdict, at } => {
                let build = self.builds.get_mut(build).ok_or("an unknown build is finished")?;
                if build.verdict.is_some() {
                    return Err(format!("{} has a verdict already", build.id));
                }
                (build.verdict, build.finished_at) = (Some(*verdict), Some(*at));
            }
            Record::BuildReopened { build } => {
                let build = self.builds.get_mut(build).ok_or("an unknown build is reopened")?;
                if build.verdict.is_none() {
                    return Err(format!("{} is not finished", build.id));
                }
                (build.verdict, build.finished_at) = (None, None);
            }
            Record::Decided(decision) if reopens(&decision.kind) => {
                let build = self.builds.get_mut(&decision.build).ok_or("an unknown build runs again")?;
                build.rerun_at = build.rerun_at.max(Some(decision.at));
            }
            // Evidence and reasons: no restart depends on them.
            Record::LateResult { .. }
            | Record::OutputsSet { .. }
            | Record::ArtifactsLeft { .. }
            | Record::AttemptExecuted { .. }
            | Record::StepsEnded { .. }
            | Record::Decided(_) => {}
        }
        Ok(())
    }

    fn add_build(&mut self, build: &Build, jobs: &[Job]) -> Result<(), String> {
        let BuildSource { repo, trigger, .. } = &build.source;
        if self.builds.contains_key(&build.id) || jobs.iter().any(|job| self.jobs.contains_key(&job.id)) {
            return Err(format!("{} or one of its jobs has a number that was used before", build.id));
        }
        if matches!(trigger.kind, TriggerKind::Schedule { .. } | TriggerKind::Manual { .. } | TriggerKind::Try { .. }) {
            if let Some(other) = self.build_of(&build.source) {
                return Err(format!("{} and {other} are of one trigger", build.id));
            }
        } else if let Some(other) = self.moved.insert((repo.clone(), trigger.number()), build.id) {
            return Err(format!("{} and {other} are of one move", build.id));
        }
        let reference = trigger.reference.clone();
        if trigger.number() > 0
            && let Some(head) = self.heads.get_mut(&(repo.clone(), reference))
        {
            head.build = Some(build.id);
        }
        self.builds.insert(build.id, build.clone());
        self.jobs.extend(jobs.iter().map(|job| (job.id, job.clone())));
        Ok(())
    }

    fn lease(&mut self, attempt: &Attempt) -> Result<(), String> {
        let job = self.jobs.get_mut(&attempt.job).ok_or("an unknown job is leased")?;
        if attempt.number != job.attempts + 1 || matches!(job.state, JobState::Finished(_)) {
            return Err(format!("{} is {:?} and cannot be leased as number {}", job.id, job.state, attempt.number));
        }
        let open = |other: &Attempt| other.job == attempt.job && other.outcome.is_none();
        if self.attempts.values().any(open) || self.attempts.contains_key(&attempt.id) {
            return Err(format!("{} is leased while another attempt is not finished", job.id));
        }
        (job.state, job.attempts) = (JobState::Leased(attempt.id), attempt.number);
        self.attempts.insert(attempt.id, attempt.clone());
        Ok(())
    }

    fn finish_job(&mut self, job: JobId, ending: &Ending) -> Result<(), String> {
        let job = self.jobs.get_mut(&job).ok_or("an unknown job is finished")?;
        if matches!(job.state, JobState::Finished(_)) {
            return Err(format!("{} is finished already", job.id));
        }
        job.state = JobState::Finished(ending.clone());
        Ok(())
    }

    /// The build of a trigger that moves no ref.
    pub(crate) fn build_of(&self, source: &BuildSource) -> Option<BuildId> {
        let of = |source: &BuildSource| {
            let trigger = &source.trigger;
            (source.repo.clone(), trigger.reference.clone(), trigger.kind.word(), trigger.key())
        };
        let wanted = of(source);
        self.builds.values().find(|build| of(&build.source) == wanted).map(|build| build.id)
    }

    pub(crate) fn runner_name(&self, id: RunnerId) -> Option<RunnerName> {
        self.runners.get(&id).map(|runner| runner.name.clone())
    }

    /// A build with its jobs, for a rerun.
    pub(crate) fn build(&self, id: BuildId) -> Option<WholeBuild> {
        let build = self.builds.get(&id)?.clone();
        let jobs: Vec<Job> = self.jobs.values().filter(|job| job.build == id).cloned().collect();
        Some(WholeBuild { build, jobs, attempts: Vec::new() })
    }

    /// The state that a dispatcher starts from; the real store must give the same.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let of = |build: &Build| {
            let jobs: Vec<Job> = self.jobs.values().filter(|job| job.build == build.id).cloned().collect();
            let open = |attempt: &&Attempt| attempt.build == build.id && attempt.outcome.is_none();
            let attempts = self.attempts.values().filter(open).cloned().collect();
            WholeBuild { build: build.clone(), jobs, attempts }
        };
        let told = |attempt: &&Attempt| attempt.outcome.as_ref().is_some_and(|o| !matches!(o, Outcome::Lost(_)));
        let is_cancelled = |attempt: &&Attempt| attempt.outcome == Some(Outcome::Cancelled);
        let lines = |attempt: &Attempt| self.jobs[&attempt.job].task.lines(&self.builds[&attempt.build].source.repo);
        Snapshot {
            builds: self.builds.values().filter(|build| build.verdict.is_none()).map(of).collect(),
            heads: self
                .heads
                .iter()
                .map(|((repo, reference), head)| (repo.clone(), reference.clone(), *head))
                .collect(),
            patterns: self.patterns.iter().cloned().collect(),
            ends: self.ends.clone().into_iter().collect(),
            schedules: self.schedules.values().cloned().collect(),
            runners: self.runners.values().cloned().collect(),
            cancelled: self.attempts.values().filter(is_cancelled).flat_map(lines).collect(),
            last_build: self.builds.keys().last().map_or(0, |id| id.0),
            last_job: self.jobs.keys().last().map_or(0, |id| id.0),
            last_attempt: self.attempts.keys().last().map_or(0, |id| id.0),
            last_runner: self.runners.keys().last().map_or(0, |id| id.0),
            recorded: self.attempts.values().filter(told).map(|attempt| (attempt.id, attempt.runner)).collect(),
        }
    }
}

/// Whether a build runs again from this decision on.
fn reopens(kind: &DecisionKind) -> bool {
    matches!(kind, DecisionKind::RerunAsked { .. } | DecisionKind::Started { reopened: true, .. })
}
