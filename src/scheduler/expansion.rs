//! Tasks that a task of a build wrote: they join the build in the same batch of records in which that task passes.

use std::collections::HashSet;
use std::sync::Arc;

use super::Scheduler;
use super::intake::first_state;
use super::jobs::hold_dependents;
use super::turn::Turn;
use crate::model::reason::{DecisionKind, ErrorReason};
use crate::model::{AttemptId, BuildId, Ending, Job, JobId, Plan, PlannedTask, Record, SessionId};

/// The most jobs of a build, those that joined included. Each is told in every report of the build.
const MAX_JOBS: usize = 5_000;

impl Scheduler {
    /// Keeps the tasks that an attempt wrote until its result counts.
    pub(super) fn note_written(&mut self, session: SessionId, attempt: AttemptId, plan: Result<Plan, String>) {
        let runner = self.tables.roster().by_session(session);
        let lease = runner.and_then(|runner| self.tables.leases().of_runner(attempt, runner));
        let Some(lease) = lease.filter(|lease| !lease.cancelled) else { return };
        let job = self.jobs.get_mut(&lease.job).expect("a lease that is not cancelled has a live job");
        if job.task.recipe.expand {
            job.written = Some((attempt, Box::new(plan)));
        }
    }

    /// Adds the tasks that a passed attempt wrote to the build. Returns the ending of its job. Tasks join once: a rerun
    /// runs those that there are, and takes no second file.
    pub(super) fn expand(&mut self, turn: &mut Turn, id: JobId, attempt: AttemptId) -> Ending {
        let job = self.jobs.get_mut(&id).expect("a lease that is not cancelled has a live job");
        let Some((_, plan)) = job.written.take().filter(|(of, _)| *of == attempt) else { return Ending::Passed };
        let (build, parent) = (job.build, Arc::clone(&job.task));
        let mut tasks = match *plan {
            Ok(plan) => plan.tasks,
            Err(text) => return give_up(turn, (build, id), ErrorReason::BrokenTasks { text }),
        };
        let live = &self.builds[&build];
        let known: HashSet<_> = live.jobs.iter().map(|job| &self.jobs[job].task.name).collect();
        if tasks.is_empty() || tasks.iter().any(|task| known.contains(&task.spec.name)) || self.has_expanded(id) {
            return Ending::Passed;
        }
        let all = live.jobs.len() + tasks.len();
        if all > MAX_JOBS {
            return give_up(turn, (build, id), ErrorReason::TooManyTasks { tasks: all, limit: MAX_JOBS });
        }
        // Values of the build, and those with which the task itself was started.
        let of_build = live.settings.for_written.as_ref().map(|facts| facts.inputs.clone());
        let mut values = of_build.unwrap_or_default();
        values.extend(parent.given_inputs().map(|(name, value)| (name.to_owned(), value.to_owned())));
        for task in &mut tasks {
            // As in the build of a push, a task runs without an input that has no value: nobody can be asked for it.
            drop(task.spec.set_inputs(&values));
        }
        let first = self.last_job + 1;
        self.last_job += tasks.len() as u64;
        let reasons: Vec<_> = (first..)
            .map(JobId)
            .zip(&tasks)
            .filter_map(|(job, task): (JobId, &PlannedTask)| Some((job, task.because.clone()?)))
            .collect();
        let fresh = |(job, task): (JobId, PlannedTask)| {
            let state = first_state(&task);
            Job { id: job, build, task: self.tasks.share(task.spec), state, attempts: 0, failures: 0, losses: 0 }
        };
        let mut jobs: Vec<Job> = (first..).map(JobId).zip(tasks).map(fresh).collect();
        hold_dependents(&mut jobs);
        turn.persist(Record::JobsJoined { build, jobs: jobs.clone() });
        turn.decide(build, id, None, DecisionKind::Expanded { tasks: jobs.len() as u64 });
        for (job, reason) in reasons {
            turn.decide(build, job, None, DecisionKind::Chosen { reason });
        }
        self.join(turn.now, build, jobs);
        Ending::Passed
    }

    /// Whether tasks that this job wrote are in the build already.
    fn has_expanded(&self, id: JobId) -> bool {
        let job = &self.jobs[&id];
        let is_own = |other: &JobId| {
            let name = &self.jobs[other].task.name;
            name.strip_prefix(&*job.task.name).is_some_and(|rest| rest.starts_with('/'))
        };
        job.needed_by.iter().any(is_own)
    }
}

/// Decides that a job is errored although its attempt passed. Returns its ending.
fn give_up(turn: &mut Turn, (build, job): (BuildId, JobId), reason: ErrorReason) -> Ending {
    turn.decide(build, job, None, DecisionKind::GaveUp { reason: reason.clone() });
    Ending::Errored(Box::new(reason))
}
