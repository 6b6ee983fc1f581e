//! The lease that a runner gets and the result that it returns, in types of the model.

use std::iter;
use std::sync::Arc;

use super::limits::{EXCLUSIVE_END_MS, EXCLUSIVE_START_MS};
use crate::model::reason::LossReason;
use crate::model::words::outcome_words;
use crate::model::{
    ArtifactRecord, AttemptId, BuildId, CacheScope, CommitId, ExecutionRecord, FactsId, LogSummary, Moment, Outcome,
    Outputs, Recipe, RefName, RepoName, StepRecord, StreamKind, StreamSummary, TakenArtifact, TaskName,
};

/// An attempt to execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) attempt: AttemptId,
    /// The time that the lease lasts after each renewal.
    pub(super) lease_ms: u64,
    pub(super) build: BuildId,
    /// Counted from 1 within the job.
    pub(super) number: u32,
    pub(super) repo: RepoName,
    /// The ref that the build concerns; [`RefName::detached`] if none.
    pub(super) reference: RefName,
    /// The event that caused the build, if the dispatcher tells it.
    pub(super) event: Option<String>,
    /// Whether the build is trusted, if the dispatcher tells it.
    pub(super) is_trusted: Option<bool>,
    /// The repository's default branch, if the dispatcher knows it.
    pub(super) default_branch: Option<String>,
    /// The number of slots that it takes.
    pub(super) slots: u32,
    /// The commit that the branch was at before; `None` for a new branch.
    pub(super) before: Option<CommitId>,
    pub(super) commit: CommitId,
    /// The place from which the observer reads the repository, if the dispatcher knows it.
    pub(super) url: Option<String>,
    /// The outputs of the needed tasks, or the reason why the attempt cannot get them.
    pub(super) needed: Result<Outputs, String>,
    /// The scopes that its tool cache reads, its own first, into which it writes. Empty if the dispatcher tells none.
    pub(super) cache_scopes: Vec<CacheScope>,
    /// The artifacts of needed tasks that are put into the work tree, or the reason why the attempt cannot get them.
    pub(super) taken: Result<Vec<TakenArtifact>, String>,
    pub(super) task: TaskName,
    pub(super) recipe: Arc<Recipe>,
}

/// The commits and facts that a slot has of a repository, when it asks for more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HeldSource {
    /// Commits with their whole trees.
    pub(super) commits: Vec<CommitId>,
    /// The facts of the sources of some of them, with all that they name.
    pub(super) facts: Vec<(CommitId, FactsId)>,
}

/// The source of a commit whose lease is on its way: a pack of the objects that the previous commit does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceAhead {
    pub(super) repo: RepoName,
    pub(super) commit: CommitId,
    pub(super) pack: Vec<u8>,
}

impl Assignment {
    /// Returns the time after a renewal in which an exclusive attempt must have begun to end. The second half of the
    /// lease is for ending it, and at least the time that a task that ignores signals takes.
    pub(super) fn exclusive_ms(&self, grace_ms: u64) -> Option<u64> {
        let half = self.lease_ms / 2;
        self.recipe.exclusive.then(|| half.min(self.lease_ms.saturating_sub(grace_ms + EXCLUSIVE_END_MS)))
    }

    /// Whether the process of the attempt may be started at `now`, if leases were last renewed at `renewed`.
    pub(super) fn may_start(&self, now: Moment, renewed: Moment, grace_ms: u64) -> bool {
        self.exclusive_ms(grace_ms).is_none_or(|limit| now.since(renewed) + EXCLUSIVE_START_MS < limit)
    }
}

/// The result of an attempt. Its streams are complete in the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AttemptResult {
    pub(super) outcome: Outcome,
    /// The run time of the task's process, if it was started.
    pub(super) duration_ms: Option<u64>,
    pub(super) log: LogSummary,
    /// The streams beside the log that must be whole before the result counts.
    pub(super) streams: Vec<StreamSummary>,
    /// Those of a task with steps.
    pub(super) steps: Vec<StepRecord>,
    /// How the attempt was executed. `None` if it did not come so far.
    pub(super) execution: Option<Box<ExecutionRecord>>,
    /// The file of further tasks, or the reason why it cannot be sent. `None` if there is none.
    pub(super) written: Option<Box<Result<String, String>>>,
    /// `None` if there is nothing of it.
    pub(super) left: Option<Box<Leavings>>,
}

/// Things that few attempts leave. They stand in a box, so that the result of all others is small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leavings {
    pub(super) outputs: Outputs,
    /// The artifacts that are durable at the dispatcher.
    pub(super) artifacts: Vec<ArtifactRecord>,
}

impl Leavings {
    /// Returns `None` if there is nothing.
    pub(super) fn of(outputs: Outputs, artifacts: Vec<ArtifactRecord>) -> Option<Box<Self>> {
        let is_nothing = outputs.is_empty() && artifacts.is_empty();
        (!is_nothing).then(|| Box::new(Self { outputs, artifacts }))
    }
}

impl AttemptResult {
    /// Logs the end of the attempt.
    pub(super) fn log_end(&self, attempt: AttemptId) {
        let word = outcome_words(&self.outcome);
        match (&self.outcome, self.duration_ms) {
            (Outcome::Lost(why), _) => log::warn!("attempt {attempt} {word}: {why}"),
            (_, Some(ms)) => log::info!("attempt {attempt} {word} after {ms} ms, log {} bytes", self.log.bytes),
            (_, None) => log::info!("attempt {attempt} {word}"),
        }
    }

    /// The result of an attempt with no stream but its log.
    pub(super) fn new(outcome: Outcome, duration_ms: Option<u64>, log: LogSummary) -> Self {
        let (streams, steps) = (Vec::new(), Vec::new());
        Self { outcome, duration_ms, log, streams, steps, execution: None, written: None, left: None }
    }

    /// The result of an attempt whose process was never started.
    pub(super) fn lost(why: impl Into<LossReason>) -> Self {
        Self::new(Outcome::Lost(why.into()), None, LogSummary::default())
    }

    /// Whether there are bytes to deliver before the results.
    pub(super) fn has_bytes(&self) -> bool {
        self.bytes() > 0
    }

    /// Returns the length of all streams together.
    pub(super) fn bytes(&self) -> u64 {
        self.log.bytes + self.streams.iter().map(|stream| stream.summary.bytes).sum::<u64>()
    }

    /// Returns the summary of each stream, the log first.
    pub(super) fn summaries(&mut self) -> impl Iterator<Item = (StreamKind, &mut LogSummary)> {
        let others = self.streams.iter_mut().map(|stream| (stream.kind.clone(), &mut stream.summary));
        iter::once((StreamKind::Log, &mut self.log)).chain(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Script;
    use crate::runner::tests::assignment;

    fn lease(lease_ms: u64, exclusive: bool) -> Assignment {
        let recipe = Recipe { exclusive, ..Recipe::new(Script::Shell("true".into())) };
        Assignment { lease_ms, recipe: recipe.into(), ..assignment(1) }
    }

    #[test]
    fn half_of_an_exclusive_lease_is_for_ending_it_and_more_where_the_grace_is_long() {
        for (lease_ms, grace, limit) in [(60_000, 10_000, 30_000), (60_000, 40_000, 14_000), (60_000, 90_000, 0)] {
            assert_eq!(lease(lease_ms, true).exclusive_ms(grace), Some(limit), "{lease_ms} and {grace}");
            assert_eq!(lease(lease_ms, false).exclusive_ms(grace), None);
        }
    }

    /// S9. If the slot does not check, a process may start after its runner slept through the lease.
    #[test]
    fn an_exclusive_process_is_not_started_when_it_would_have_to_be_ended_at_once() {
        let may_start = |exclusive, now| lease(60_000, exclusive).may_start(Moment(now), Moment(1_000), 10_000);
        assert!(may_start(true, 29_999));
        assert!(!may_start(true, 30_000));
        assert!(!may_start(true, 9_000_000));
        assert!(may_start(false, 9_000_000));
    }
}
