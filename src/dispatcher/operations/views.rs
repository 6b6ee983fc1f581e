//! Builds with their jobs and attempts, put together from the store.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::dispatcher::data_dir::{DataDir, LogPlace};
use crate::model::{
    Attempt, AttemptId, Build, BuildState, Decision, Ending, EndingKind, ExecutionRecord, Job, JobId, JobState,
    JobStateKind, Outputs, RunnerId, RunnerName, StepRecord,
};
use crate::store::{ReadTransaction, Reader, StoreError};

/// The jobs that are listed in a status before only numbers are, those of the build with the last of them included.
/// Nobody reads more, and a hundred thousand of them take half a second.
const MAX_STATUS_JOBS: usize = 2000;

/// The orders of people that are told of a build: its newest.
const MAX_ORDERS: usize = 10;

/// A build with its jobs.
pub(crate) struct BuildView {
    pub(crate) build: Build,
    /// In the order of the task file.
    pub(crate) jobs: Vec<JobView>,
    /// The number of jobs in each state, if the jobs themselves were not read.
    pub(crate) counts: Vec<(JobStateKind, u64)>,
    /// The newest orders of people about the jobs, oldest first, if they were read. An order about many jobs stands
    /// once.
    pub(crate) orders: Vec<Decision>,
}

/// A job with its attempts, oldest first.
pub(crate) struct JobView {
    pub(crate) job: Job,
    pub(crate) attempts: Vec<AttemptView>,
}

/// An attempt with what is known of its runner and its log.
pub(crate) struct AttemptView {
    pub(crate) attempt: Attempt,
    /// Those of a task with steps, once the attempt has ended.
    pub(crate) steps: Vec<StepRecord>,
    /// How it was executed, once it has ended, if its runner told it.
    pub(crate) execution: Option<ExecutionRecord>,
    /// Its outputs, once it has ended.
    pub(crate) outputs: Outputs,
    /// The runner's name, or its number if the store does not know it.
    pub(crate) runner: RunnerName,
    pub(crate) log: PathBuf,
    pub(crate) log_bytes: u64,
}

impl BuildView {
    /// Returns the build's state.
    pub(crate) fn state(&self) -> BuildState {
        let is_waiting = |view: &JobView| match view.job.state {
            JobState::Waiting | JobState::Held | JobState::Queued | JobState::Finished(Ending::LeftOut(_)) => true,
            JobState::Leased(_) | JobState::Finished(_) => false,
        };
        let waits = |(kind, _): &(JobStateKind, u64)| match kind {
            JobStateKind::Waiting | JobStateKind::Held | JobStateKind::Queued => true,
            JobStateKind::Finished(ending) => *ending == EndingKind::LeftOut,
            JobStateKind::Running => false,
        };
        match self.build.verdict {
            Some(verdict) => BuildState::Finished(verdict),
            None if self.jobs.iter().all(is_waiting) && self.counts.iter().all(waits) => BuildState::Queued,
            None => BuildState::Running,
        }
    }
}

impl JobView {
    /// Returns whether the job passed only after a failed attempt.
    pub(crate) fn is_flaky(&self) -> bool {
        self.job.state == JobState::Finished(Ending::Passed) && self.job.failures > 0
    }
}

/// Puts views together. As long as it lives, its reader answers from one moment.
pub(super) struct Views<'a> {
    pub(super) reader: &'a dyn Reader,
    data: &'a DataDir,
    names: HashMap<RunnerId, RunnerName>,
    _transaction: Box<dyn ReadTransaction + 'a>,
}

impl<'a> Views<'a> {
    pub(super) fn new(reader: &'a dyn Reader, data: &'a DataDir) -> Result<Self, StoreError> {
        let transaction = reader.read_transaction()?;
        let names = reader.runners()?.into_iter().map(|runner| (runner.id, runner.name)).collect();
        Ok(Self { reader, data, names, _transaction: transaction })
    }

    /// Like [`Views::build`], with the orders of people.
    pub(super) fn build_with_orders(&self, build: Build) -> Result<BuildView, StoreError> {
        let decisions = self.reader.decisions(build.id)?.into_iter().map(|(_, decision)| decision);
        let mut orders: Vec<Decision> = decisions.filter(|decision| decision.kind.by().is_some()).collect();
        orders.dedup_by(|next, before| (next.at, &next.kind) == (before.at, &before.kind));
        orders.drain(..orders.len().saturating_sub(MAX_ORDERS));
        Ok(BuildView { orders, ..self.build(build)? })
    }

    pub(super) fn build(&self, build: Build) -> Result<BuildView, StoreError> {
        let mut attempts: HashMap<JobId, Vec<Attempt>> = HashMap::new();
        for attempt in self.reader.attempts(build.id)? {
            attempts.entry(attempt.job).or_default().push(attempt);
        }
        let all = self.reader.jobs(build.id)?;
        let mut steps: HashMap<AttemptId, Vec<StepRecord>> = HashMap::new();
        if all.iter().any(|job| !job.task.recipe.steps.is_empty()) {
            for (attempt, step) in self.reader.steps(build.id)? {
                steps.entry(attempt).or_default().push(step);
            }
        }
        let mut executions: HashMap<AttemptId, ExecutionRecord> =
            self.reader.executions(build.id)?.into_iter().collect();
        let mut outputs: HashMap<AttemptId, Outputs> = self.reader.outputs(build.id)?.into_iter().collect();
        let jobs = all.into_iter().map(|job| {
            let attempts = attempts.remove(&job.id).unwrap_or_default().into_iter();
            let view = |attempt: Attempt| {
                let steps = steps.remove(&attempt.id).filter(|_| attempt.outcome.is_some());
                let execution = executions.remove(&attempt.id).filter(|_| attempt.outcome.is_some());
                let outputs = outputs.remove(&attempt.id).filter(|_| attempt.outcome.is_some()).unwrap_or_default();
                let view = self.attempt(&build, &job, (attempt, steps.unwrap_or_default()));
                AttemptView { execution, outputs, ..view }
            };
            let attempts = attempts.map(view).collect();
            JobView { job, attempts }
        });
        Ok(BuildView { jobs: jobs.collect(), counts: Vec::new(), orders: Vec::new(), build })
    }

    /// Returns builds with their jobs, as long as these are not too many together: then with the numbers of jobs only.
    pub(super) fn builds(&self, builds: Vec<Build>) -> Result<Vec<BuildView>, StoreError> {
        let mut left = MAX_STATUS_JOBS;
        let view = |build: Build| {
            if left > 0 {
                let view = self.build(build)?;
                left = left.saturating_sub(view.jobs.len());
                return Ok(view);
            }
            let counts = self.reader.job_counts(build.id)?;
            Ok(BuildView { jobs: Vec::new(), counts, orders: Vec::new(), build })
        };
        builds.into_iter().map(view).collect()
    }

    fn attempt(&self, build: &Build, job: &Job, (attempt, steps): (Attempt, Vec<StepRecord>)) -> AttemptView {
        let log = self.data.log(&LogPlace::of(build, job, attempt.number));
        // A task that printed nothing has no file.
        let log_bytes = std::fs::metadata(&log).map_or(0, |meta| meta.len());
        let (runner, outputs) = (self.runner(attempt.runner), Outputs::new());
        AttemptView { runner, attempt, steps, execution: None, outputs, log, log_bytes }
    }

    /// Returns the name of a runner.
    pub(super) fn runner(&self, id: RunnerId) -> RunnerName {
        self.names.get(&id).cloned().unwrap_or_else(|| RunnerName::recorded(&id.to_string()))
    }
}
