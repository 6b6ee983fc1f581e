//! Which tasks run: those that the conditions of their build choose, after what they need, and manual ones once a
//! person has started them.

use std::collections::BTreeSet;

use surveil::model::reason::{CancelReason, DecisionKind, LeftOutReason, NamedJobs, SkipReason};
use surveil::model::{BuildId, Condition, Decision, Ending, JobId, JobState, Record, Verdict};
use surveil::scheduler::Event;

use super::{Book, Chance, Judge, Planned, PlannedBuild, Step, follow, of_ref};
use crate::promises::checkers::demand;
use crate::promises::history::Entry;
use crate::promises::terms::Terms;

/// A task that its conditions leave out does not run, is recorded with the reason, counts as passed for what needs it,
/// and changes no verdict. Any other task starts when what it needs has ended as it wants, and not before (S36).
pub(in crate::promises) fn s36(story: &[Entry], terms: &Terms) -> Result<(), String> {
    follow::<Conditions>(story, terms)
}

/// A held task starts only when a person starts it, or one that it needs, or when those that it needs have ended
/// without a start. It is not started in a build that is not the newest of its ref, except with force, and not if one
/// of its inputs has no value.
pub(in crate::promises) fn held(story: &[Entry], terms: &Terms) -> Result<(), String> {
    follow::<Holds>(story, terms)
}

#[derive(Default)]
struct Conditions;

impl Judge for Conditions {
    fn record(&mut self, book: &Book, step: &Step<'_>, record: &Record) -> Result<(), String> {
        match record {
            Record::BuildAdded { .. } | Record::JobsJoined { .. } => {
                let Some((jobs, tasks)) = book.added(step, record) else { return Ok(()) };
                demand(jobs.len() == tasks.len(), || {
                    format!("{} jobs are added for {} tasks", jobs.len(), tasks.len())
                })?;
                for (job, task) in jobs.iter().zip(&tasks) {
                    let reason = match &job.state {
                        JobState::Finished(Ending::LeftOut(reason)) => Some(&**reason),
                        _ => None,
                    };
                    let is_so = reason == task.left_out.as_ref();
                    demand(is_so, || format!("{} begins as {:?}, planned is {:?}", job.id, job.state, task.left_out))?;
                }
                Ok(())
            }
            Record::AttemptLeased(attempt) => {
                let Some(job) = book.jobs.get(&attempt.job) else { return Ok(()) };
                demand(job.state == JobState::Queued, || format!("{} is leased and was {:?}", attempt.job, job.state))?;
                let chance = book.chance(job);
                demand(chance == Chance::Now, || format!("{} is leased, and its time is {chance:?}", attempt.job))
            }
            Record::JobQueued { job: id, .. } | Record::JobWaiting { job: id } => {
                let Some(job) = book.jobs.get(id) else { return Ok(()) };
                let is_out = job.task.left_out.is_some() && matches!(job.state, JobState::Finished(Ending::LeftOut(_)));
                // A person may ask for this very task.
                let names_it = |only: &Option<NamedJobs>| only.as_ref().is_some_and(|only| only.jobs.contains(id));
                let is_wanted = matches!(step.event, Event::RerunAsked { only, .. } if names_it(only));
                demand(!is_out || is_wanted, || format!("{id} is left out and goes on"))
            }
            Record::JobFinished { job: id, ending } => {
                let Some(job) = book.jobs.get(id) else { return Ok(()) };
                let is_true = match ending {
                    Ending::Skipped(reason) => {
                        let SkipReason::NeedNotPassed { task, how } = &**reason else { return Ok(()) };
                        book.needs(job).any(|(condition, _, needed)| {
                            condition == Condition::Passed
                                && needed.task.spec.name == *task
                                && needed.ending() == Some(*how)
                                && needed.is_good() == Some(false)
                        })
                    }
                    Ending::LeftOut(reason) => {
                        let wants = book.needs(job).any(|(condition, ..)| condition == Condition::Failed);
                        **reason == LeftOutReason::NothingFailed && wants && book.chance(job) == Chance::Never
                    }
                    _ => true,
                };
                demand(is_true, || format!("{id} is {ending:?}, and that is not so"))
            }
            Record::BuildFinished { build: id, verdict, .. } => {
                let Some(build) = book.builds.get(id).filter(|build| !build.jobs.is_empty()) else { return Ok(()) };
                let due = verdict_of(book, build);
                demand(due == Some(*verdict), || format!("{id} is {verdict:?} and should be {due:?}"))
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, book: &Book, _: &Step<'_>) -> Result<(), String> {
        for (build, planned) in book.open() {
            for (id, job) in book.jobs_of(planned) {
                let is_in_order = match job.state {
                    JobState::Waiting => book.chance(job) == Chance::Later,
                    // To start it would be of no use.
                    JobState::Held => book.chance(job) != Chance::Never,
                    _ => true,
                };
                demand(is_in_order, || {
                    format!("{id} of {build} is still {:?}, and its time is {:?}", job.state, book.chance(job))
                })?;
            }
        }
        Ok(())
    }
}

/// The verdict that the endings of those jobs make that are neither left out nor held; `None` while one is awaited.
fn verdict_of(book: &Book, build: &PlannedBuild) -> Option<Verdict> {
    let (mut failed, mut errored, mut cancelled) = (false, false, false);
    for (_, job) in book.jobs_of(build) {
        match &job.state {
            JobState::Held | JobState::Finished(Ending::Passed | Ending::LeftOut(_) | Ending::Skipped(_)) => {}
            JobState::Finished(Ending::Failed) => failed |= !job.may_fail(),
            JobState::Finished(Ending::Errored(_)) => errored |= !job.may_fail(),
            JobState::Finished(Ending::Cancelled(reason)) => match reason.as_deref() {
                Some(CancelReason::BuildTimedOut { .. }) => failed |= !job.may_fail(),
                _ => cancelled = true,
            },
            JobState::Waiting | JobState::Queued | JobState::Leased(_) => return None,
        }
    }
    Some(match (failed, errored, cancelled) {
        (true, ..) => Verdict::Failed,
        (_, true, _) => Verdict::Errored,
        (_, _, true) => Verdict::Cancelled,
        (false, false, false) => Verdict::Passed,
    })
}

/// The build, the job, and whether it is to start, of a step in which a person asks to start a job.
#[derive(Default)]
struct Holds {
    asked: Option<(BuildId, JobId, bool)>,
}

impl Judge for Holds {
    fn begin(&mut self, book: &Book, step: &Step<'_>) {
        self.asked = None;
        let Event::StartAsked { build: whole, job: id, force, inputs, .. } = step.event else { return };
        let build = whole.build.id;
        let Some((planned, job)) = book.builds.get(&build).zip(book.jobs.get(id)) else { return };
        let needs_held = book.needs(job).any(|(_, _, needed)| needed.state == JobState::Held);
        let newest = book.newest.get(&of_ref(&planned.source)).filter(|_| planned.is_move);
        let is_newest = newest.is_none_or(|newest| *newest <= build);
        let may_start = job.state == JobState::Held && !needs_held && (*force || is_newest);
        self.asked = Some((build, *id, may_start && book.takes(*id, inputs)));
    }

    fn record(&mut self, book: &Book, step: &Step<'_>, record: &Record) -> Result<(), String> {
        match record {
            Record::BuildAdded { .. } | Record::JobsJoined { .. } => {
                let Some((jobs, tasks)) = book.added(step, record) else { return Ok(()) };
                let mut held = BTreeSet::new();
                loop {
                    let before = held.len();
                    for task in tasks.iter().filter(|task| task.left_out.is_none()) {
                        if task.held || task.spec.placement.needs.iter().any(|need| held.contains(&need.task)) {
                            held.insert(task.spec.name.clone());
                        }
                    }
                    if held.len() == before {
                        break;
                    }
                }
                for (job, task) in jobs.iter().zip(&tasks) {
                    let is_held = held.contains(&task.spec.name);
                    demand(is_held == (job.state == JobState::Held), || {
                        format!("{} begins as {:?}, and is held: {is_held}", job.id, job.state)
                    })?;
                }
                Ok(())
            }
            Record::JobQueued { job: id, .. } | Record::JobWaiting { job: id } => {
                let Some(job) = book.jobs.get(id) else { return Ok(()) };
                let is_in_order = match (&job.state, step.event) {
                    (JobState::Held, Event::StartAsked { job: started, .. }) if reaches(book, *id, *started) => true,
                    // What was held because of others alone goes on if those have ended.
                    (JobState::Held, _) => {
                        let mut needs = book.needs(job);
                        !job.task.spec.placement.manual && needs.all(|(_, _, needed)| needed.state != JobState::Held)
                    }
                    // A rerun of a manual task holds it anew, unless the rerun is about its failure.
                    (JobState::Finished(ending), Event::RerunAsked { failed_only, only, .. }) if job.task.held => {
                        let has_failed = matches!(ending, Ending::Failed | Ending::Errored(_));
                        only.as_ref().is_some_and(|only| only.jobs.contains(id)) || *failed_only && has_failed
                    }
                    _ => true,
                };
                demand(is_in_order, || format!("{id} was {:?}, and goes on though nobody started it", job.state))
            }
            Record::AttemptLeased(attempt) => {
                let is_held = book.jobs.get(&attempt.job).is_some_and(|job| job.state == JobState::Held);
                demand(!is_held, || format!("{} is held and is leased", attempt.job))
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, _: &Book, step: &Step<'_>) -> Result<(), String> {
        let Some((build, job, is_to_start)) = self.asked.take() else { return Ok(()) };
        let starts = step.records().any(|record| {
            let is_it = |decision: &Decision| matches!(decision.kind, DecisionKind::Started { .. });
            matches!(record, Record::Decided(decision) if decision.job == Some(job) && is_it(decision))
        });
        demand(starts == is_to_start, || format!("{job} of {build} is started: {starts}, and should be: {is_to_start}"))
    }
}

/// Whether a job is that other one, or needs it, directly or not.
fn reaches(book: &Book, id: JobId, other: JobId) -> bool {
    let below = |job: &Planned| book.needs(job).any(|(_, needed, _)| reaches(book, needed, other));
    id == other || book.jobs.get(&id).is_some_and(below)
}
