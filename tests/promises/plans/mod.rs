//! The promises about plans: which tasks run in a build, when they start, and what ends the build early. The task files
//! count, and not what the dispatcher made of them. Each promise is a [`Judge`], which follows the events of a story
//! with the records that they caused.

mod cancels;
mod conditions;
mod inputs;
mod leavings;
mod retries;
mod schedules;
mod written;

use std::collections::{BTreeMap, BTreeSet};

use surveil::model::{
    AttemptId, Build, BuildId, BuildSettings, BuildSource, Condition, EndingKind, Job, JobId, JobState, Outcome, Plan,
    PlannedTask, Record, RefName, RepoName, SessionId, TaskName,
};
use surveil::scheduler::{Effect, Event};

use super::history::{Entry, Fact};
use super::schedules::is_of_move;
use super::terms::Terms;

pub(super) use self::cancels::cancels;
pub(super) use self::conditions::{held, s36};
pub(super) use self::inputs::{inputs, recorded_inputs};
pub(super) use self::leavings::{leavings, secrets};
pub(super) use self::retries::retries;
pub(super) use self::schedules::s34;
pub(super) use self::written::s53;

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
            Part::Started(at) => {
                book.files.clear();
                judge.restart(at);
            }
            Part::Step(step) => {
                book.hear(step.event);
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
    /// The values that were given to its inputs last.
    given: BTreeMap<String, String>,
}

impl Planned {
    fn new(job: &Job, task: &PlannedTask) -> Self {
        let given = task.spec.given_inputs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { build: job.build, task: task.clone(), state: job.state.clone(), failures: 0, attempts: 0, given }
    }

    /// The value of an input: the one that was given last, else the default.
    fn value(&self, name: &str) -> Option<&String> {
        let default = || self.task.spec.placement.inputs.iter().find(|input| input.name == name)?.default.as_ref();
        self.given.get(name).or_else(default)
    }

    fn has_input(&self, name: &str) -> bool {
        self.task.spec.placement.inputs.iter().any(|input| input.name == name)
    }

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
    /// The last file of further tasks that each session brought for an attempt. A restart forgets them.
    files: BTreeMap<(SessionId, AttemptId), Result<Plan, String>>,
    /// The jobs that start in this step, if a person starts one.
    starting: BTreeSet<JobId>,
}

impl Book {
    fn hear(&mut self, event: &Event) {
        if let Event::TasksWritten { session, attempt, plan } = event {
            self.files.insert((*session, *attempt), (**plan).clone());
        }
        self.starting = if let Event::StartAsked { job, .. } = event { self.starting(*job) } else { BTreeSet::new() };
    }

    /// The file that came with a result. Its tasks have the values of the build, and those of the task that wrote it.
    fn file_with(&self, event: &Event) -> Option<Result<Plan, String>> {
        let Event::AttemptFinished { session, attempt, .. } = event else { return None };
        let mut file = self.files.get(&(*session, *attempt))?.clone();
        let writer = self.jobs.get(self.attempts.get(attempt)?)?;
        let of_build = self.builds.get(&writer.build)?.settings.for_written.as_ref();
        let mut values = of_build.map(|facts| facts.inputs.clone()).unwrap_or_default();
        values.extend(writer.given.clone());
        file.iter_mut().flat_map(|plan| &mut plan.tasks).for_each(|task| drop(task.spec.set_inputs(&values)));
        Some(file)
    }

    /// The jobs that a record adds to a build, and the tasks that the file has for them.
    fn added<'a>(&self, step: &Step<'_>, record: &'a Record) -> Option<(&'a [Job], Vec<PlannedTask>)> {
        match record {
            Record::BuildAdded { jobs, .. } => Some((jobs, planned(step.event)?.1.tasks.clone())),
            Record::JobsJoined { jobs, .. } => Some((jobs, self.file_with(step.event)?.ok()?.tasks)),
            _ => None,
        }
    }

    fn take(&mut self, step: &Step<'_>, record: &Record) {
        match record {
            Record::BuildAdded { build, jobs } => {
                if is_of_move(build) {
                    self.newest.insert(of_ref(&build.source), build.id);
                }
                let Some((_, plan)) = planned(step.event) else { return };
                self.jobs.extend(jobs.iter().zip(&plan.tasks).map(|(job, task)| (job.id, Planned::new(job, task))));
                self.builds.insert(build.id, PlannedBuild::of(build, plan, jobs.iter().map(|job| job.id), step.at));
            }
            Record::JobsJoined { build, .. } => {
                let Some((jobs, tasks)) = self.added(step, record) else { return };
                let fresh: Vec<_> = jobs.iter().zip(&tasks).map(|(job, it)| (job.id, Planned::new(job, it))).collect();
                if let Some(build) = self.builds.get_mut(build) {
                    build.jobs.extend(fresh.iter().map(|(id, job)| (job.task.spec.name.clone(), *id)));
                }
                self.jobs.extend(fresh);
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
            Record::JobQueued { job, .. } => self.set(step, *job, JobState::Queued),
            Record::JobWaiting { job } => self.set(step, *job, JobState::Waiting),
            Record::JobHeld { job } => self.set(step, *job, JobState::Held),
            Record::JobFinished { job, ending } => self.set(step, *job, JobState::Finished(ending.clone())),
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

    fn set(&mut self, step: &Step<'_>, id: JobId, state: JobState) {
        if let Some(job) = self.jobs.get_mut(&id) {
            if let (JobState::Held, Event::StartAsked { inputs, .. }) = (&job.state, step.event)
                && self.starting.contains(&id)
            {
                let given: Vec<_> = inputs.iter().filter(|(name, _)| job.has_input(name)).collect();
                job.given.extend(given.into_iter().map(|(name, value)| (name.clone(), value.clone())));
            }
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

    /// A held job, and those that are held because of it alone, directly or not.
    fn starting(&self, first: JobId) -> BTreeSet<JobId> {
        let mut starting = BTreeSet::from([first]);
        let Some(build) = self.jobs.get(&first).and_then(|job| self.builds.get(&job.build)) else { return starting };
        loop {
            let follows = |(id, job): &(JobId, &Planned)| {
                let needs = self.needs(job).filter(|(_, _, needed)| needed.state == JobState::Held);
                let held: Vec<JobId> = needs.map(|(_, needed, _)| needed).collect();
                let waits = job.state == JobState::Held && !job.task.spec.placement.manual && !held.is_empty();
                waits && !starting.contains(id) && held.iter().all(|needed| starting.contains(needed))
            };
            let more: Vec<JobId> = self.jobs_of(build).filter(follows).map(|(id, _)| id).collect();
            if more.is_empty() {
                return starting;
            }
            starting.extend(more);
        }
    }

    /// Whether these values are for the jobs that start with this one, and leave none of their inputs without a value.
    fn takes(&self, first: JobId, values: &BTreeMap<String, String>) -> bool {
        let starting: Vec<&Planned> = self.starting(first).iter().filter_map(|id| self.jobs.get(id)).collect();
        let has_value = |job: &Planned, name: &String| job.value(name).is_some() || values.contains_key(name);
        let is_whole = |job: &&Planned| job.task.spec.placement.inputs.iter().all(|it| has_value(job, &it.name));
        let is_known = |name: &String| starting.iter().any(|job| job.has_input(name));
        values.keys().all(is_known) && starting.iter().all(is_whole)
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
