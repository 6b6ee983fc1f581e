//! Retries: after which failures, how many, how much later, and on which runners.

use std::collections::{BTreeMap, BTreeSet};

use surveil::model::{
    AttemptId, JobId, JobState, Label, Outcome, PlannedTask, Record, RetryCause, RunnerId, RunnerName, SessionId,
};
use surveil::scheduler::{Effect, Event, RunnerCommand, RunnerJoined};

use super::{Book, Judge, Planned, Step, follow, is_failure};
use crate::promises::checkers::demand;
use crate::promises::history::Entry;
use crate::promises::terms::Terms;

/// A task is tried again after each failure that its rule names, and after no other, as many times as it may be; not
/// before its delay is over; and elsewhere, if it wants that and another runner is free for sure.
pub(in crate::promises) fn retries(story: &[Entry], terms: &Terms) -> Result<(), String> {
    follow::<Retries>(story, terms)
}

#[derive(Default)]
struct Retries {
    /// The job that failed in this step, and whether it is to be tried again.
    failed: Option<(JobId, bool)>,
    /// The times before which jobs are not tried again. A restart forgets them.
    not_before: BTreeMap<JobId, u64>,
    /// The runners on which jobs have failed. A restart forgets them.
    failed_on: BTreeMap<JobId, BTreeSet<RunnerId>>,
    holders: BTreeMap<AttemptId, RunnerId>,
    /// The attempts of which their runners have not reported the end, with the slots that they take.
    open: BTreeMap<AttemptId, (RunnerId, u32)>,
    names: BTreeMap<RunnerId, RunnerName>,
    runners: BTreeMap<RunnerName, Seen>,
    /// Runners that have lost something, or were drained: the dispatcher may give them nothing.
    doubtful: BTreeSet<RunnerName>,
}

/// A connected runner.
struct Seen {
    session: SessionId,
    slots: u32,
    labels: Vec<Label>,
}

impl Judge for Retries {
    fn restart(&mut self, _: u64) {
        self.not_before.clear();
        self.failed_on.clear();
        self.runners.clear();
    }

    fn begin(&mut self, _: &Book, step: &Step<'_>) {
        self.failed = None;
        match step.event {
            Event::RunnerJoined(joined) => self.join(joined, step),
            Event::SessionClosed { session } => self.runners.retain(|_, seen| seen.session != *session),
            Event::RunnerDraining { session } => {
                let names = self.runners.iter().filter(|(_, seen)| seen.session == *session);
                self.doubtful.extend(names.map(|(name, _)| name.clone()));
            }
            Event::DrainAsked { runner, .. } => self.doubtful.extend(self.names.get(runner).cloned()),
            Event::AttemptFinished { session, attempt, .. } => {
                let name = self.open.get(attempt).and_then(|(runner, _)| self.names.get(runner));
                if name.and_then(|name| self.runners.get(name)).is_some_and(|seen| seen.session == *session) {
                    self.open.remove(attempt);
                }
            }
            _ => {}
        }
        for effect in &step.effects {
            if let Effect::CloseSession { session, .. } = effect {
                self.runners.retain(|_, seen| seen.session != *session);
            }
        }
    }

    fn record(&mut self, book: &Book, step: &Step<'_>, record: &Record) -> Result<(), String> {
        match record {
            Record::BuildReopened { build } => {
                for job in book.builds.get(build).into_iter().flat_map(|build| build.jobs.values()) {
                    self.not_before.remove(job);
                    self.failed_on.remove(job);
                }
            }
            Record::RunnerSaved(runner) => {
                if runner.drain.is_some() {
                    self.doubtful.insert(runner.name.clone());
                }
                self.names.insert(runner.id, runner.name.clone());
            }
            Record::AttemptFinished { attempt, outcome, .. } => {
                let holder = self.holders.get(attempt).copied();
                if let (Outcome::Lost(_), Some(name)) = (outcome, holder.and_then(|holder| self.names.get(&holder))) {
                    self.doubtful.insert(name.clone());
                }
                let id = book.attempts.get(attempt).copied();
                let job = id.and_then(|id| book.jobs.get(&id));
                if let (Some(id), Some(job), true) = (id, job, is_failure(outcome)) {
                    let placement = &job.task.spec.placement;
                    let goes_on = job.failures < placement.retries && is_named(&job.task, outcome);
                    self.failed = Some((id, goes_on));
                    self.not_before.insert(id, step.at + placement.retry.delay_ms);
                    self.failed_on.entry(id).or_default().extend(holder);
                }
            }
            Record::AttemptLeased(attempt) => {
                if book.jobs.contains_key(&attempt.job) {
                    let from = self.not_before.remove(&attempt.job).unwrap_or(0);
                    demand(from <= step.at, || format!("{} is leased before {from}", attempt.id))?;
                    self.judge_place(book, attempt.job, attempt.runner)?;
                }
                let slots = book.jobs.get(&attempt.job).map_or(1, |job| job.task.spec.placement.slots.0);
                self.holders.insert(attempt.id, attempt.runner);
                self.open.insert(attempt.id, (attempt.runner, slots));
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, book: &Book, _: &Step<'_>) -> Result<(), String> {
        let Some((id, goes_on)) = self.failed.take() else { return Ok(()) };
        let job = &book.jobs[&id];
        let is_there = matches!(job.state, JobState::Queued | JobState::Leased(_));
        let failures = job.failures;
        demand(is_there == goes_on, || {
            format!("{id} has failed {failures} times, is {:?}, and is to be tried again: {goes_on}", job.state)
        })
    }
}

impl Retries {
    fn join(&mut self, joined: &RunnerJoined, step: &Step<'_>) {
        let is_registered = |effect: &&Effect| {
            let Effect::Send { session, message: RunnerCommand::Registered { drained, .. } } = effect else {
                return false;
            };
            *session == joined.session && !drained
        };
        let is_here = step.effects.iter().any(is_registered);
        if !is_here {
            return;
        }
        if joined.draining {
            self.doubtful.insert(joined.name.clone());
        }
        let (session, slots, labels) = (joined.session, joined.slots, joined.labels.clone());
        self.runners.insert(joined.name.clone(), Seen { session, slots, labels });
    }

    /// Objects to a runner on which the job failed, if the task wants another and one is free for sure.
    /// A runner may be kept for a queued job that takes several slots, so that none is free for sure then.
    fn judge_place(&self, book: &Book, id: JobId, runner: RunnerId) -> Result<(), String> {
        let task = &book.jobs[&id].task;
        let Some(failed_on) = self.failed_on.get(&id) else { return Ok(()) };
        if !task.spec.placement.retry.elsewhere || !failed_on.contains(&runner) {
            return Ok(());
        }
        let failed_on: BTreeSet<&RunnerName> = failed_on.iter().filter_map(|id| self.names.get(id)).collect();
        let (labels, slots) = (&task.spec.placement.labels, task.spec.placement.slots.0);
        let takes_several = |job: &Planned| job.state == JobState::Queued && job.task.spec.placement.slots.0 > 1;
        if book.jobs.values().any(takes_several) {
            return Ok(());
        }
        let better = self.runners.iter().find(|(name, seen)| {
            let held = self.open.values().filter(|(runner, _)| self.names.get(runner) == Some(*name));
            let used: u32 = held.map(|(_, slots)| slots).sum();
            let is_free = used + slots <= seen.slots && labels.iter().all(|label| seen.labels.contains(label));
            is_free && !failed_on.contains(name) && !self.doubtful.contains(*name)
        });
        demand(better.is_none(), || {
            format!("{id} goes to {runner} again, though {:?} is free", better.map(|(name, _)| name))
        })
    }
}

/// Whether the rule of a task names this failure.
fn is_named(task: &PlannedTask, outcome: &Outcome) -> bool {
    let on = &task.spec.placement.retry.on;
    let names = |cause: &RetryCause| match (cause, outcome) {
        (RetryCause::Failed, _) | (RetryCause::Signal, Outcome::Killed(_)) => true,
        (RetryCause::Timeout, Outcome::TimedOut(_)) => true,
        (RetryCause::Exit(code), Outcome::Failed(with)) => code == with,
        _ => false,
    };
    on.is_empty() || on.iter().any(names)
}
