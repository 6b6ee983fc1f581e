//! Tasks that a task of a build wrote: which of them join, and when.

use std::collections::{BTreeMap, BTreeSet};

use surveil::model::reason::ErrorReason;
use surveil::model::{AttemptId, BuildId, Ending, Job, JobId, Outcome, PlannedTask, Record};
use surveil::scheduler::Event;

use super::{Book, Judge, Step, follow};
use crate::promises::checkers::demand;
use crate::promises::history::Entry;
use crate::promises::terms::Terms;

/// The tasks that a task wrote join its build with the outcome of the attempt that passed, and once. The file of no
/// other attempt counts. A file with a mistake makes the task errored. A build ends after its joined jobs (S53).
pub(in crate::promises) fn s53(story: &[Entry], terms: &Terms) -> Result<(), String> {
    follow::<Written>(story, terms)
}

#[derive(Default)]
struct Written {
    due: Option<Due>,
    /// Jobs whose tasks have joined.
    expanded: BTreeSet<JobId>,
    joined: BTreeMap<BuildId, Vec<JobId>>,
}

/// The consequences of a file, which follow in the same step as the outcome of its attempt.
struct Due {
    job: JobId,
    tasks: Vec<PlannedTask>,
    mistake: Option<String>,
}

impl Judge for Written {
    fn begin(&mut self, _: &Book, _: &Step<'_>) {
        self.due = None;
    }

    fn record(&mut self, book: &Book, step: &Step<'_>, record: &Record) -> Result<(), String> {
        match record {
            Record::AttemptFinished { attempt, outcome: Outcome::Passed, .. } => {
                self.due = self.due_of(book, step, *attempt);
                Ok(())
            }
            Record::JobsJoined { build, jobs } => self.join(book, *build, jobs),
            Record::JobFinished { job, ending } => {
                let due = self.due.as_mut().filter(|due| due.job == *job);
                let mistake = match ending {
                    Ending::Errored(reason) => match &**reason {
                        ErrorReason::BrokenTasks { text } => Some(text.clone()),
                        _ => None,
                    },
                    _ => None,
                };
                let expected = due.and_then(|due| due.mistake.take());
                demand(mistake == expected, || format!("{job} is {ending:?}, and its file has {expected:?}"))
            }
            Record::BuildFinished { build, .. } => {
                let joined = self.joined.get(build).into_iter().flatten();
                let mut open = joined.filter(|id| book.jobs.get(id).is_some_and(|job| job.state.is_awaited()));
                let open = open.next();
                demand(open.is_none(), || format!("{build} ends before {open:?}, which has joined it"))
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, _: &Book, _: &Step<'_>) -> Result<(), String> {
        let Some(Due { job, tasks, mistake }) = self.due.take() else { return Ok(()) };
        demand(tasks.is_empty(), || format!("{} tasks of {job} do not join with its outcome", tasks.len()))?;
        demand(mistake.is_none(), || format!("{job} passes, and its file has {mistake:?}"))
    }
}

impl Written {
    /// Returns the consequences of the file that came with the outcome of an attempt.
    fn due_of(&self, book: &Book, step: &Step<'_>, attempt: AttemptId) -> Option<Due> {
        let Event::AttemptFinished { attempt: of, .. } = step.event else { return None };
        let id = *book.attempts.get(&attempt).filter(|_| *of == attempt)?;
        let job = book.jobs.get(&id).filter(|job| job.task.spec.recipe.expand)?;
        let (tasks, mistake) = match book.file_with(step.event)? {
            Err(text) => (Vec::new(), Some(text)),
            Ok(plan) => (plan.tasks, None),
        };
        let known = &book.builds.get(&job.build)?.jobs;
        let is_repeated = self.expanded.contains(&id) || tasks.iter().any(|task| known.contains_key(&task.spec.name));
        Some(Due { job: id, tasks: if is_repeated { Vec::new() } else { tasks }, mistake })
    }

    fn join(&mut self, book: &Book, build: BuildId, jobs: &[Job]) -> Result<(), String> {
        let Some(due) = &mut self.due else {
            return Err(format!("jobs join {build}, and nothing that expands passes"));
        };
        let tasks = std::mem::take(&mut due.tasks);
        let is_its = book.jobs.get(&due.job).is_some_and(|job| job.build == build);
        let are_same = jobs.iter().map(|job| &*job.task).eq(tasks.iter().map(|task| &task.spec));
        demand(is_its && are_same && !tasks.is_empty(), || {
            format!("{} jobs join {build}, and {} wrote {} tasks that may", jobs.len(), due.job, tasks.len())
        })?;
        self.expanded.insert(due.job);
        self.joined.entry(build).or_default().extend(jobs.iter().map(|job| job.id));
        Ok(())
    }
}
