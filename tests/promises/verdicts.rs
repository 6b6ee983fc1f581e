//! The promise about verdicts, S10: the checker notes how jobs and attempts ended, and compares every record
//! with its notes.

use std::collections::{BTreeMap, BTreeSet};

use surveil::model::reason::{CancelReason, ErrorReason};
use surveil::model::{AttemptId, BuildId, Ending, Job, JobId, JobState, Outcome, Record, Verdict};
use surveil::scheduler::Event;

use super::checkers::{demand, facts};
use super::history::{Entry, Fact};
use super::terms::Terms;

/// A verdict follows from the jobs' endings, and an ending from the attempts' outcomes. Both stay until a rerun.
pub(crate) fn s10(story: &[Entry], terms: &Terms) -> Result<(), String> {
    let mut book = Book::default();
    for fact in facts(story) {
        match fact {
            Fact::Committed(record) => book.take(record, terms)?,
            Fact::Arrived(Event::CancelAsked { build, .. }) => drop(book.cancels.insert(*build)),
            _ => {}
        }
    }
    Ok(())
}

#[derive(Default)]
struct Book {
    jobs: BTreeMap<JobId, Page>,
    verdicts: BTreeMap<BuildId, Option<Verdict>>,
    attempts: BTreeMap<AttemptId, JobId>,
    /// Builds that an operator wanted to cancel, wholly or in part.
    cancels: BTreeSet<BuildId>,
}

struct Page {
    build: BuildId,
    allow_failure: bool,
    /// `Waiting` stands for every state that the verdict waits for.
    state: JobState,
    /// A rerun may revoke the ending of this job.
    may_begin_anew: bool,
    last: Option<Outcome>,
    losses: u32,
}

impl Book {
    fn add(&mut self, job: &Job) {
        let (build, allow_failure) = (job.build, job.task.placement.allow_failure);
        let state = if job.state.is_awaited() { JobState::Waiting } else { job.state.clone() };
        let page = Page { build, allow_failure, state, may_begin_anew: false, last: None, losses: 0 };
        self.jobs.insert(job.id, page);
    }

    fn take(&mut self, record: &Record, terms: &Terms) -> Result<(), String> {
        match record {
            Record::BuildAdded { build, jobs } => {
                self.verdicts.insert(build.id, None);
                jobs.iter().for_each(|job| self.add(job));
            }
            Record::JobsJoined { build, jobs } => {
                let is_open = self.verdicts.get(build) == Some(&None);
                demand(is_open, || format!("jobs join {build}, which is unknown or finished"))?;
                jobs.iter().for_each(|job| self.add(job));
            }
            Record::JobQueued { job, .. } | Record::JobWaiting { job } => {
                let page = self.page(job)?;
                demand(!page.is_finished() || page.may_begin_anew, || format!("{job} was finished and goes on"))?;
                if std::mem::take(&mut page.may_begin_anew) {
                    (page.losses, page.last) = (0, None);
                }
                page.state = JobState::Waiting;
            }
            Record::JobHeld { job } => {
                let page = self.page(job)?;
                demand(page.may_begin_anew, || format!("{job} is held anew, and nobody asked for a rerun"))?;
                (page.state, page.losses, page.last, page.may_begin_anew) = (JobState::Held, 0, None, false);
            }
            Record::TaskGiven { job, task } => {
                let page = self.page(job)?;
                let is_same = page.allow_failure == task.placement.allow_failure;
                demand(page.state == JobState::Held && is_same, || format!("{job} gets values and is not held"))?;
            }
            Record::AttemptLeased(attempt) => {
                self.attempts.insert(attempt.id, attempt.job);
                let page = self.page(&attempt.job)?;
                demand(!page.is_finished(), || format!("{} was finished and is leased", attempt.job))?;
            }
            Record::AttemptFinished { attempt, outcome, .. } => {
                let job = self.attempts.get(attempt).copied().ok_or_else(|| format!("{attempt} was never leased"))?;
                let page = self.page(&job)?;
                page.losses += u32::from(matches!(outcome, Outcome::Lost(_)));
                page.last = Some(outcome.clone());
            }
            Record::JobFinished { job, ending } => {
                let build = self.page(job)?.build;
                let by_order = match ending {
                    Ending::Cancelled(None) => true,
                    Ending::Cancelled(Some(reason)) => matches!(**reason, CancelReason::Asked { .. }),
                    _ => false,
                };
                let is_asked = !by_order || self.cancels.contains(&build);
                demand(is_asked, || format!("{job} is cancelled, and nobody wanted that"))?;
                let page = self.page(job)?;
                let is_true = !page.is_finished() && page.bears_out(ending, terms);
                demand(is_true, || format!("{job} is {ending:?} after {:?}, {:?}", page.state, page.last))?;
                (page.state, page.may_begin_anew) = (JobState::Finished(ending.clone()), false);
            }
            Record::BuildFinished { build, verdict, .. } => {
                let of = self.jobs.values().filter(|page| page.build == *build);
                let due = Verdict::of(of.map(|page| (&page.state, page.allow_failure)));
                demand(due == Some(*verdict), || format!("{build} is {verdict:?} and should be {due:?}"))?;
                let earlier = self.verdicts.insert(*build, Some(*verdict)).flatten();
                demand(earlier.is_none(), || format!("{build} was {earlier:?} already"))?;
            }
            Record::BuildReopened { build } => {
                self.verdicts.insert(*build, None);
                let of = self.jobs.values_mut().filter(|page| page.build == *build);
                of.for_each(|page| page.may_begin_anew = true);
            }
            Record::HeadMoved { .. }
            | Record::RefsNoted { .. }
            | Record::RunnerSaved(_)
            | Record::ScheduleSaved(_)
            | Record::LateResult { .. }
            | Record::StepsEnded { .. }
            | Record::OutputsSet { .. }
            | Record::ArtifactsLeft { .. }
            | Record::AttemptExecuted { .. }
            | Record::Decided(_) => {}
        }
        Ok(())
    }

    fn page(&mut self, job: &JobId) -> Result<&mut Page, String> {
        self.jobs.get_mut(job).ok_or_else(|| format!("{job} is unknown"))
    }
}

impl Page {
    fn is_finished(&self) -> bool {
        matches!(self.state, JobState::Finished(_))
    }

    /// Whether the attempts so far allow this ending of the job.
    fn bears_out(&self, ending: &Ending, terms: &Terms) -> bool {
        match (ending, &self.last) {
            (Ending::Passed, last) => *last == Some(Outcome::Passed),
            (Ending::Failed, Some(Outcome::Failed(_) | Outcome::Killed(_) | Outcome::TimedOut(_))) => true,
            (Ending::Failed, _) => false,
            (Ending::Errored(reason), _) => match **reason {
                ErrorReason::GivenUp { .. } | ErrorReason::NeverStarted { .. } => self.losses >= terms.max_losses,
                _ => true,
            },
            (Ending::Cancelled(_) | Ending::Skipped(_) | Ending::LeftOut(_), _) => true,
        }
    }
}
