//! Things that attempts leave beside their outcome, and tasks that ask for secrets.

use std::collections::{BTreeMap, BTreeSet};

use surveil::model::reason::ErrorReason;
use surveil::model::{
    Ability, ArtifactRecord, AttemptId, BuildId, Ending, EndingKind, JobId, Label, Outcome, Outputs, Record, RunnerId,
    RunnerName, SessionId,
};
use surveil::scheduler::Event;

use super::{Book, Judge, Step, follow};
use crate::promises::checkers::demand;
use crate::promises::history::Entry;
use crate::promises::terms::Terms;

/// The artifacts and the outputs that came with the result of an attempt are recorded with the outcome if it counts,
/// and no others are. So an attempt that passed has the artifacts of its task, and a task starts after the outputs of
/// those that it needs are recorded.
pub(in crate::promises) fn leavings(story: &[Entry], terms: &Terms) -> Result<(), String> {
    follow::<Leavings>(story, terms)
}

/// A task with secrets or artifacts goes to a runner that knows them. An attempt that may not have its secrets ends its
/// job with the rule, and nothing else does.
pub(in crate::promises) fn secrets(story: &[Entry], terms: &Terms) -> Result<(), String> {
    follow::<Secrets>(story, terms)
}

#[derive(Default)]
struct Leavings {
    /// The reports of each session about an attempt. A restart forgets them.
    told: BTreeMap<(SessionId, AttemptId), Told>,
    /// Attempts whose artifacts, or outputs, are recorded.
    artifacts: BTreeSet<AttemptId>,
    outputs: BTreeSet<AttemptId>,
    /// The attempt with which each job passed last, if outputs came with it.
    wrote: BTreeMap<JobId, AttemptId>,
}

#[derive(Default)]
struct Told {
    artifacts: Option<Vec<ArtifactRecord>>,
    outputs: Option<Outputs>,
}

impl Judge for Leavings {
    fn restart(&mut self, _: u64) {
        self.told.clear();
    }

    fn begin(&mut self, _: &Book, step: &Step<'_>) {
        match step.event {
            Event::ArtifactsLeft { session, attempt, artifacts } => {
                self.told.entry((*session, *attempt)).or_default().artifacts = Some(artifacts.clone());
            }
            Event::OutputsWritten { session, attempt, outputs } => {
                self.told.entry((*session, *attempt)).or_default().outputs = Some(outputs.clone());
            }
            _ => {}
        }
    }

    fn record(&mut self, book: &Book, step: &Step<'_>, record: &Record) -> Result<(), String> {
        match record {
            Record::ArtifactsLeft { build, job, attempt, artifacts, .. } => {
                let told = self.told_with(step, *attempt).and_then(|told| told.artifacts.as_ref());
                is_its(book, *attempt, *job, *build)?;
                demand(told == Some(artifacts), || {
                    format!("{attempt} left {artifacts:?}, and its runner told {told:?}")
                })?;
                demand(self.artifacts.insert(*attempt), || format!("the artifacts of {attempt} are recorded twice"))
            }
            Record::OutputsSet { build, job, attempt, outputs, .. } => {
                let told = self.told_with(step, *attempt).and_then(|told| told.outputs.as_ref());
                demand(told == Some(outputs), || format!("{attempt} has {outputs:?}, and its runner told {told:?}"))?;
                is_its(book, *attempt, *job, *build)?;
                demand(self.outputs.insert(*attempt), || format!("the outputs of {attempt} are recorded twice"))
            }
            Record::AttemptFinished { attempt, outcome, .. } => self.finish(book, step, *attempt, outcome),
            Record::AttemptLeased(attempt) => {
                let needs = book.jobs.get(&attempt.job).into_iter().flat_map(|job| book.needs(job));
                let mut passed = needs.filter(|(_, _, needed)| needed.ending() == Some(EndingKind::Passed));
                let missing =
                    passed.find_map(|(_, id, _)| self.wrote.get(&id).filter(|pass| !self.outputs.contains(*pass)));
                demand(missing.is_none(), || format!("{} is leased before the outputs of {missing:?}", attempt.job))
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, _: &Book, _: &Step<'_>) -> Result<(), String> {
        Ok(())
    }
}

impl Leavings {
    /// The things that came with the result of an attempt, if that is this step's event.
    fn told_with(&self, step: &Step<'_>, attempt: AttemptId) -> Option<&Told> {
        let Event::AttemptFinished { session, attempt: of, .. } = step.event else { return None };
        self.told.get(&(*session, attempt)).filter(|_| *of == attempt)
    }

    fn finish(&mut self, book: &Book, step: &Step<'_>, attempt: AttemptId, outcome: &Outcome) -> Result<(), String> {
        let told = self.told_with(step, attempt).filter(|_| !matches!(outcome, Outcome::Lost(_) | Outcome::Cancelled));
        let (due_artifacts, due_outputs) =
            told.map_or((false, false), |told| (told.artifacts.is_some(), told.outputs.is_some()));
        for (due, recorded, what) in
            [(due_artifacts, &self.artifacts, "artifacts"), (due_outputs, &self.outputs, "outputs")]
        {
            let is_recorded = recorded.contains(&attempt);
            demand(due == is_recorded, || {
                format!("{attempt} is {outcome:?}, its {what} are due: {due}, and recorded: {is_recorded}")
            })?;
        }
        let Some(job) = book.attempts.get(&attempt).filter(|_| *outcome == Outcome::Passed) else { return Ok(()) };
        let leaves = book.jobs.get(job).is_some_and(|job| !job.task.spec.recipe.artifacts.is_empty());
        demand(!leaves || due_artifacts, || format!("{attempt} passes without the artifacts of its task"))?;
        if due_outputs {
            self.wrote.insert(*job, attempt)
        } else {
            self.wrote.remove(job)
        };
        Ok(())
    }
}

/// Things that an attempt left are recorded for its own job and build.
fn is_its(book: &Book, attempt: AttemptId, job: JobId, build: BuildId) -> Result<(), String> {
    let is_its = book.attempts.get(&attempt) == Some(&job) && book.jobs.get(&job).is_none_or(|it| it.build == build);
    demand(is_its, || format!("what {attempt} left is recorded for {job} of {build}"))
}

#[derive(Default)]
struct Secrets {
    names: BTreeMap<RunnerId, RunnerName>,
    labels: BTreeMap<RunnerName, Vec<Label>>,
    /// Why an attempt may not have its secrets, as a session told it. A restart forgets it.
    denied: BTreeMap<(SessionId, AttemptId), ErrorReason>,
    /// The ending of a job that must follow in this step.
    due: Option<(JobId, ErrorReason)>,
}

impl Judge for Secrets {
    fn restart(&mut self, _: u64) {
        self.denied.clear();
    }

    fn begin(&mut self, _: &Book, step: &Step<'_>) {
        self.due = None;
        match step.event {
            Event::RunnerJoined(joined) => drop(self.labels.insert(joined.name.clone(), joined.labels.clone())),
            Event::SecretsDenied { session, attempt, reason } => {
                self.denied.insert((*session, *attempt), (**reason).clone());
            }
            _ => {}
        }
    }

    fn record(&mut self, book: &Book, step: &Step<'_>, record: &Record) -> Result<(), String> {
        match record {
            Record::RunnerSaved(runner) => {
                self.names.insert(runner.id, runner.name.clone());
                Ok(())
            }
            Record::AttemptLeased(attempt) => {
                let Some(job) = book.jobs.get(&attempt.job) else { return Ok(()) };
                let labels = self.names.get(&attempt.runner).and_then(|name| self.labels.get(name));
                let has = |ability: &Ability| labels.is_some_and(|labels| labels.contains(&ability.label()));
                let mut needed = Ability::needed_for(&job.task.spec.recipe)
                    .filter(|ability| matches!(ability, Ability::Artifacts | Ability::Secrets));
                let missing = needed.find(|ability| !has(ability));
                demand(missing.is_none(), || format!("{} goes to a runner without {missing:?}", attempt.id))
            }
            Record::AttemptFinished { attempt, outcome: Outcome::CouldNotStart(_), .. } => {
                if let Event::AttemptFinished { session, attempt: of, .. } = step.event
                    && of == attempt
                    && let (Some(reason), Some(job)) =
                        (self.denied.get(&(*session, *attempt)), book.attempts.get(attempt))
                {
                    self.due = Some((*job, reason.clone()));
                }
                Ok(())
            }
            Record::JobFinished { job, ending } => {
                let denial = match ending {
                    Ending::Errored(reason) if matches!(**reason, ErrorReason::SecretDenied { .. }) => Some(&**reason),
                    _ => None,
                };
                let due = self.due.take_if(|(of, _)| *of == *job).map(|(_, reason)| reason);
                demand(denial == due.as_ref(), || format!("{job} is {ending:?}, and its denial is {due:?}"))
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, _: &Book, _: &Step<'_>) -> Result<(), String> {
        demand(self.due.is_none(), || format!("no job ends with {:?}", self.due))
    }
}
