//! Builds that are cancelled without an operator: by their first failure, by their timeout, by a newer move of their
//! ref.

use super::Scheduler;
use super::state::{LiveBuild, LiveJob};
use super::tables::Timer;
use super::turn::Turn;
use crate::model::reason::{CancelReason, DecisionKind, Notice};
use crate::model::{BuildId, BuildSource, Condition, Ending, JobId, JobState, Supersede};

impl Scheduler {
    /// Cancels the unfinished jobs of a build that `is_spared` does not choose.
    fn cancel_rest(
        &mut self,
        turn: &mut Turn,
        build: BuildId,
        reason: &CancelReason,
        is_spared: impl Fn(&LiveJob) -> bool,
    ) {
        let Some(live) = self.builds.get(&build) else { return };
        for id in live.jobs.clone() {
            let Some(job) = self.jobs.get(&id).filter(|job| !is_spared(job)) else { continue };
            match job.state {
                JobState::Finished(_) => continue,
                JobState::Waiting | JobState::Held | JobState::Queued => {}
                JobState::Leased(attempt) => self.cancel_lease(turn, attempt),
            }
            turn.decide(build, id, None, DecisionKind::Cancelled { reason: reason.clone() });
            self.finish_job(turn, id, Ending::Cancelled(Some(Box::new(reason.clone()))));
        }
    }

    /// Cancels the rest of a build in which this job failed, if the build stops at its first failure. Jobs that run
    /// after the end of others are spared: they clean up. Held jobs stay held, because they do not run.
    pub(super) fn stop_at_failure(&mut self, turn: &mut Turn, build: BuildId, failed: JobId) {
        let is_wanted = self.builds.get(&build).is_some_and(|build| build.settings.fail_fast && build.unfinished > 0);
        let Some(failed) = self.jobs.get(&failed).filter(|_| is_wanted) else { return };
        let reason = CancelReason::FailFast { task: failed.task.name.clone() };
        self.cancel_rest(turn, build, &reason, |job| {
            let comes_after = job.needs.iter().any(|need| need.condition != Condition::Passed);
            comes_after || job.state == JobState::Held
        });
    }

    /// Cancels builds that take longer than they may.
    pub(super) fn end_late_builds(&mut self, turn: &mut Turn) {
        let build = |timer: &Timer| if let Timer::Build(build) = timer { Some(*build) } else { None };
        for id in self.tables.over(turn.now, build) {
            self.tables.clear_timer(&Timer::Build(id));
            let Some(timeout_ms) = self.builds.get(&id).and_then(|build| build.settings.timeout_ms) else { continue };
            let reason = CancelReason::BuildTimedOut { timeout_ms };
            turn.note(Notice::BuildCancelled { build: id, reason: reason.clone() });
            self.cancel_rest(turn, id, &reason, |_| false);
        }
    }

    /// Cancels the builds of earlier moves of a ref, as far as their settings say so, because of the build of a later
    /// move.
    pub(super) fn supersede(&mut self, turn: &mut Turn, by: BuildId, source: &BuildSource) {
        let is_older = |(_, build): &(&BuildId, &LiveBuild)| {
            let (of, trigger) = (&build.source, &build.source.trigger);
            of.repo == source.repo && trigger.reference == source.trigger.reference && trigger.number() > 0
        };
        let older = self.builds.range(..by).filter(is_older);
        let chosen: Vec<BuildId> =
            older.filter(|(_, build)| self.may_be_superseded(build)).map(|(id, _)| *id).collect();
        for build in chosen {
            let reason = CancelReason::Superseded { by };
            turn.note(Notice::BuildCancelled { build, reason: reason.clone() });
            self.cancel_rest(turn, build, &reason, |_| false);
        }
    }

    /// Whether a newer move cancels the build. What has begun and must not be cut in the middle, a deployment, keeps
    /// its build.
    fn may_be_superseded(&self, build: &LiveBuild) -> bool {
        let has_begun = |job: &JobId| self.jobs[job].attempts > 0;
        match build.settings.supersede {
            Supersede::No => false,
            Supersede::Queued => !build.jobs.iter().any(has_begun),
            Supersede::Running => {
                let mut exclusive = build.jobs.iter().filter(|job| self.jobs[job].task.recipe.exclusive);
                !exclusive.any(has_begun)
            }
        }
    }
}
