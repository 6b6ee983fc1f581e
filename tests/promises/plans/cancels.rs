//! What ends a build early without an operator, and when it must: the first failure, a newer move of the ref, the end
//! of the ref, and the build's timeout.

use std::collections::{BTreeMap, BTreeSet};

use surveil::model::reason::CancelReason;
use surveil::model::{BuildId, Ending, JobId, JobState, Record, Supersede, TaskName};

use super::{Book, Judge, Planned, PlannedBuild, Step, follow, of_ref};
use crate::promises::checkers::demand;
use crate::promises::history::Entry;
use crate::promises::schedules::is_of_move;
use crate::promises::terms::Terms;

/// A build is cancelled if one of its settings says so, and then all of it that the rule concerns. Nothing else cancels
/// a build but an operator: in particular only a newer move of the same ref supersedes it.
pub(in crate::promises) fn cancels(story: &[Entry], terms: &Terms) -> Result<(), String> {
    follow::<Cancels>(story, terms)
}

/// The rules that apply in a step.
#[derive(Default)]
struct Cancels {
    started: u64,
    /// Builds that stop at their first failure, with the tasks that failed.
    failed: BTreeMap<BuildId, BTreeSet<TaskName>>,
    /// Builds that a newer one supersedes.
    superseded: BTreeMap<BuildId, BuildId>,
    /// Builds of moves of a ref that has ended.
    gone: BTreeSet<BuildId>,
}

impl Judge for Cancels {
    fn restart(&mut self, at: u64) {
        self.started = at;
    }

    fn begin(&mut self, _: &Book, _: &Step<'_>) {
        self.failed.clear();
        self.superseded.clear();
        self.gone.clear();
    }

    fn record(&mut self, book: &Book, step: &Step<'_>, record: &Record) -> Result<(), String> {
        match record {
            Record::BuildAdded { build, .. } if is_of_move(build) => {
                let key = of_ref(&build.source);
                let older =
                    book.open().filter(|(_, of)| of.is_move && of_ref(&of.source) == key && gives_way(book, of));
                self.superseded.extend(older.map(|(older, _)| (older, build.id)));
                Ok(())
            }
            Record::HeadMoved { repo, reference, head: None, .. } => {
                let key = (repo.clone(), reference.clone());
                let of_ref = book.open().filter(|(_, of)| of.is_move && of_ref(&of.source) == key);
                self.gone.extend(of_ref.map(|(build, _)| build));
                Ok(())
            }
            Record::JobFinished { job, ending } => {
                let Some(planned) = book.jobs.get(job) else { return Ok(()) };
                self.finish(book, step, (*job, planned), ending)
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, book: &Book, step: &Step<'_>) -> Result<(), String> {
        for (older, newer) in &self.superseded {
            demand(!book.builds[older].is_open, || format!("{newer} supersedes {older}, which goes on"))?;
        }
        let jobs = |build: &BuildId| book.jobs_of(&book.builds[build]);
        for (build, tasks) in &self.failed {
            let goes_on = jobs(build).find(|(_, job)| job.state.is_awaited() && !job.comes_after());
            demand(goes_on.is_none(), || {
                format!("{tasks:?} of {build} failed, and {:?} goes on", goes_on.map(|(id, _)| id))
            })?;
        }
        for build in &self.gone {
            let is_left = |job: &Planned| matches!(job.state, JobState::Waiting | JobState::Held | JobState::Queued);
            let left = jobs(build).find(|(_, job)| is_left(job));
            demand(left.is_none() || !book.builds[build].is_open, || {
                format!("the ref of {build} is gone at {}, and {:?} is left", step.at, left.map(|(id, _)| id))
            })?;
        }
        Ok(())
    }
}

impl Cancels {
    fn finish(
        &mut self,
        book: &Book,
        step: &Step<'_>,
        (id, job): (JobId, &Planned),
        ending: &Ending,
    ) -> Result<(), String> {
        let build = &book.builds[&job.build];
        let reason = match ending {
            Ending::Failed | Ending::Errored(_) if build.settings.fail_fast && !job.may_fail() => {
                self.failed.entry(job.build).or_default().insert(job.task.spec.name.clone());
                return Ok(());
            }
            Ending::Cancelled(Some(reason)) => &**reason,
            _ => return Ok(()),
        };
        let is_true = match reason {
            CancelReason::FailFast { task } => {
                let has_failed = self.failed.get(&job.build).is_some_and(|failed| failed.contains(task));
                has_failed && !job.comes_after() && job.state != JobState::Held
            }
            CancelReason::BuildTimedOut { timeout_ms } => {
                let since = build.began.max(self.started);
                build.settings.timeout_ms == Some(*timeout_ms) && step.at >= since + timeout_ms
            }
            CancelReason::Superseded { by } => self.superseded.get(&job.build) == Some(by),
            CancelReason::RefDeleted { .. } => {
                self.gone.contains(&job.build) && !matches!(job.state, JobState::Leased(_))
            }
            _ => true,
        };
        demand(is_true, || format!("{id} of {}, which was {:?}, is cancelled as {reason:?}", job.build, job.state))
    }
}

/// Whether a newer move of its ref cancels a build. A deployment that has begun is not cut in the middle.
fn gives_way(book: &Book, build: &PlannedBuild) -> bool {
    let mut begun = book.jobs_of(build).filter(|(_, job)| job.attempts > 0);
    match build.settings.supersede {
        Supersede::No => false,
        Supersede::Queued => begun.next().is_none(),
        Supersede::Running => !begun.any(|(_, job)| job.task.spec.recipe.exclusive),
    }
}
