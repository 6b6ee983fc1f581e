//! The promises about plans: which tasks run in a build, when they start, and what ends the build early. The task files
//! count, and not what the dispatcher made of them. Each promise is a [`Judge`], which follows the events of a story
//! with the records that they caused.

mod cancels;
mod conditions;
mod retries;
mod schedules;

use std::collections::BTreeMap;

use surveil::model::{
    AttemptId, Build, BuildId, BuildSettings, BuildSource, Condition, EndingKind, JobId, JobState, Outcome, Plan,
    PlannedTask, Record, RefName, RepoName, TaskName,
};
use surveil::scheduler::{Effect, Event};

use super::history::{Entry, Fact};
use super::schedules::is_of_move;
use super::terms::Terms;

pub(super) use self::cancels::cancels;
pub(super) use self::conditions::{held, s36};
pub(super) use self::retries::retries;
pub(super) use self::schedules::s34;

/// The plan that an event brings for a build.
pub(super) fn planned(event: &Event) -> Option<(&BuildSource, &Plan)> {
    match event {
        Event::CommitObserved { source, plan: Ok(plan), .. }
        | Event::BuildAsked { source, plan: Ok(plan), .. }
        | Event::ScheduleDue { source, plan: Ok(plan) } => Some((source, plan)),
        _ => None,
    }
}

/// An event with all effects that it had.
struct Step<'a> {
    at: u64,
    event: &'a Event,
    effects: Vec<&'a Effect>,
}

impl<'a> Step<'a> {
    fn records(&self) -> impl Iterator<Item = &'a Record> {
        self.effects.iter().filter_map(|effect| if let Effect::Persist(record) = effect { Some(record) } else { None })
    }
}

enum Part<'a> {
    Started(u64),
    Step(Step<'a>),
}

/// Cuts a story into steps. Those whose records a crash has undone are left out.
fn parts(story: &[Entry]) -> Vec<Part<'_>> {
    let (mut parts, mut open): (Vec<Part<'_>>, Vec<Part<'_>>) = (Vec::new(), Vec::new());
    for Entry { at, fact } in story {
        match fact {
            Fact::Started => {
                open.clear();
                parts.push(Part::Started(*at));
            }
            Fact::Arrived(event) => open.push(Part::Step(Step { at: *at, event, effects: Vec::new() })),
            Fact::Decided(effect) => {
                if let Some(Part::Step(step)) = open.last_mut() {
                    step.effects.push(effect);
                }
            }
            Fact::Committed(_) => parts.append(&mut open),
            _ => {}
        }
    }
    parts
}

/// Judges a story by one promise. The book does not yet have the record, or the records of the step, that are passed.
trait Judge: Default {
    /// The dispatcher has started.
    fn restart(&mut self, _at: u64) {}
    fn begin(&mut self, _book: &Book, _step: &Step<'_>) {}
    fn record(&mut self, book: &Book, step: &Step<'_>, record: &Record) -> Result<(), String>;
    /// All records of the step are in the book.
    fn end(&mut self, book: &Book, step: &Step<'_>) -> Result<(), String>;
}

fn follow<J: Judge>(story: &[Entry], _: &Terms) -> Result<(), String> {
    let (mut book, mut judge) = (Book::default(), J::default());
    for part in parts(story) {
        match part {
            Part::Started(at) => judge.restart(at),
            Part::Step(step) => {
                judge.begin(&book, &step);
                for record in step.records() {
                    judge.record(&book, &step, record)?;
                    book.take(&step, record);
                }
                judge.end(&book, &step)?;
            }
        }
    }
    Ok(())
}

/// A job, as the task file and the records so far have it.
struct Planned {
    build: BuildId,
    task: PlannedTask,
    state: JobState,
    /// Failed attempts since it began, or began anew.
    failures: u32,
    attempts: u32,
}

impl Planned {
    fn ending(&self) -> Option<EndingKind> {
        if let JobState::Finished(ending) = &self.state { Some(ending.kind()) } else { None }
    }

    fn may_fail(&self) -> bool {
        self.task.spec.placement.allow_failure
    }

    /// Whether it runs after the end of others, however they ended.
    fn comes_after(&self) -> bool {
        self.task.spec.placement.needs.iter().any(|need| need.condition != Condition::Passed)
    }

    /// Whether it passed, as far as tasks that need it are concerned; `None` before it has ended.
    fn is_good(&self) -> Option<bool> {
        Some(match self.ending()? {
            EndingKind::Passed | EndingKind::LeftOut => true,
            EndingKind::Failed | EndingKind::Errored => self.may_fail(),
            EndingKind::Cancelled | EndingKind::Skipped => false,
        })
    }
}

struct PlannedBuild {
    source: BuildSource,
    settings: BuildSettings,
    is_move: bool,
    jobs: BTreeMap<TaskName, JobId>,
    is_open: bool,
    /// When it was created or opened again.
    began: u64,
}

/// Whether a job may start, as far as the jobs that it needs are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chance {
    Now,
    Later,
    Never,
}

#[derive(Default)]
struct Book {
    builds: BTreeMap<BuildId, PlannedBuild>,
    jobs: BTreeMap<JobId, Planned>,
    attempts: BTreeMap<AttemptId, JobId>,
    /// The build of the last move of each ref that is there.
    newest: BTreeMap<(RepoName, RefName), BuildId>,
}

impl Book {
    fn take(&mut self, step: &Step<'_>, record: &Record) {
        match record {
            Record::BuildAdded { build, jobs } => {
                if is_of_move(build) {
                    self.newest.insert(of_ref(&build.source), build.id);
                }
                let Some((_, plan)) = planned(step.event) else { return };
                for (job, task) in jobs.iter().zip(&plan.tasks) {
                    let (state, task) = (job.state.clone(), task.clone());
                    self.jobs.insert(job.id, Planned { build: build.id, task, state, failures: 0, attempts: 0 });
                }
                self.builds.insert(build.id, PlannedBuild::of(build, plan, jobs.iter().map(|job| job.id), step.at));
            }
            Record::HeadMoved { repo, reference, head: None, .. } => {
                self.newest.remove(&(repo.clone(), reference.clone()));
            }
            Record::AttemptLeased(attempt) => {
                self.attempts.insert(attempt.id, attempt.job);
                if let Some(job) = self.jobs.get_mut(&attempt.job) {
                    (job.state, job.attempts) = (JobState::Leased(attempt.id), job.attempts + 1);
                }
            }
            Record::AttemptFinished { attempt, outcome, .. } if is_failure(outcome) => {
                if let Some(job) = self.attempts.get(attempt).and_then(|job| self.jobs.get_mut(job)) {
                    job.failures += 1;
                }
            }
            Record::JobQueued { job, .. } => self.set(*job, JobState::Queued),
            Record::JobWaiting { job } => self.set(*job, JobState::Waiting),
            Record::JobHeld { job } => self.set(*job, JobState::Held),
            Record::JobFinished { job, ending } => self.set(*job, JobState::Finished(ending.clone())),
            Record::BuildFinished { build, .. } => {
                if let Some(build) = self.builds.get_mut(build) {
                    build.is_open = false;
                }
            }
            Record::BuildReopened { build } => {
                if let Some(build) = self.builds.get_mut(build) {
                    (build.is_open, build.began) = (true, step.at);
                }
            }
            _ => {}
        }
    }

    fn set(&mut self, job: JobId, state: JobState) {
        if let Some(job) = self.jobs.get_mut(&job) {
            if job.ending().is_some() {
                job.failures = 0;
            }
            job.state = state;
        }
    }

    fn jobs_of<'a>(&'a self, build: &'a PlannedBuild) -> impl Iterator<Item = (JobId, &'a Planned)> {
        build.jobs.values().filter_map(|id| Some((*id, self.jobs.get(id)?)))
    }

    fn open(&self) -> impl Iterator<Item = (BuildId, &PlannedBuild)> {
        self.builds.iter().filter(|(_, build)| build.is_open).map(|(id, build)| (*id, build))
    }

    /// The jobs that a job needs, each with the condition.
    fn needs<'a>(&'a self, job: &'a Planned) -> impl Iterator<Item = (Condition, JobId, &'a Planned)> {
        let build = &self.builds[&job.build];
        job.task.spec.placement.needs.iter().filter_map(|need| {
            let id = build.jobs.get(&need.task)?;
            Some((need.condition, *id, self.jobs.get(id)?))
        })
    }

    fn chance(&self, job: &Planned) -> Chance {
        let (mut is_open, mut wants_failure, mut has_failure) = (false, false, false);
        for (condition, _, needed) in self.needs(job) {
            let good = needed.is_good();
            if condition == Condition::Passed && good == Some(false) {
                return Chance::Never;
            }
            is_open |= good.is_none();
            wants_failure |= condition == Condition::Failed;
            has_failure |= good == Some(false);
        }
        match (is_open, wants_failure && !has_failure) {
            (true, _) => Chance::Later,
            (false, true) => Chance::Never,
            (false, false) => Chance::Now,
        }
    }
}

impl PlannedBuild {
    fn of(build: &Build, plan: &Plan, ids: impl Iterator<Item = JobId>, at: u64) -> Self {
        Self {
            source: build.source.clone(),
            settings: plan.settings.clone(),
            is_move: is_of_move(build),
            jobs: plan.tasks.iter().map(|task| task.spec.name.clone()).zip(ids).collect(),
            is_open: true,
            began: at,
        }
    }
}

fn of_ref(source: &BuildSource) -> (RepoName, RefName) {
    (source.repo.clone(), source.trigger.reference.clone())
}

fn is_failure(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(_) | Outcome::Killed(_) | Outcome::TimedOut(_))
}
