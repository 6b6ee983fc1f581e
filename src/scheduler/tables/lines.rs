//! The lines of exclusive tasks. All jobs of one exclusive task of a repository, over all builds, stand in one line.
//! Only the first of them may be executed, so that deployments come one after the other, in the order of their builds.
//!
//! An attempt is in its line until its lease ends. So a lost runner that may still execute it, and a cancelled attempt
//! that its runner has not ended, hold up the line (S9, S35).

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::model::{AttemptId, JobId, RepoName, TaskName};

/// The name of a line: a repository, and one of its tasks.
pub(crate) type LineKey = (RepoName, TaskName);

/// All lines that are not empty.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    by_task: BTreeMap<LineKey, Line>,
    of_job: FxHashMap<JobId, LineKey>,
    /// Lines of which a cancelled attempt may still be executed since before the dispatcher started.
    doubtful: BTreeSet<LineKey>,
}

#[derive(Debug, Default)]
struct Line {
    /// The unfinished jobs.
    jobs: BTreeSet<JobId>,
    /// The attempts that may be executing.
    attempts: BTreeSet<AttemptId>,
    /// The job that is a candidate of the queue.
    candidate: Option<JobId>,
}

/// The obstacle that keeps a job from its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// This attempt of the task may be executing.
    Attempt(AttemptId),
    /// This job of an earlier build is not finished.
    Job(JobId),
    /// A cancelled attempt may be executing since before the dispatcher started.
    Doubt,
}

impl Lines {
    pub(super) fn add_job(&mut self, job: JobId, key: LineKey) {
        self.by_task.entry(key.clone()).or_default().jobs.insert(job);
        self.of_job.insert(job, key);
    }

    /// Removes a finished job. Returns its line, if it was in one.
    pub(super) fn remove_job(&mut self, job: JobId) -> Option<LineKey> {
        let key = self.of_job.remove(&job)?;
        self.by_task.get_mut(&key)?.jobs.remove(&job);
        self.forget_if_empty(&key);
        Some(key)
    }

    pub(super) fn add_attempt(&mut self, attempt: AttemptId, key: &LineKey) {
        self.by_task.entry(key.clone()).or_default().attempts.insert(attempt);
    }

    pub(super) fn remove_attempt(&mut self, attempt: AttemptId, key: &LineKey) {
        if let Some(line) = self.by_task.get_mut(key) {
            line.attempts.remove(&attempt);
        }
        self.forget_if_empty(key);
    }

    pub(super) fn doubt(&mut self, keys: impl IntoIterator<Item = LineKey>) {
        self.doubtful.extend(keys);
    }

    /// Ends all doubts, and returns the lines that had one.
    pub(super) fn end_doubts(&mut self) -> BTreeSet<LineKey> {
        std::mem::take(&mut self.doubtful)
    }

    /// Returns the line of an unfinished job.
    pub(super) fn of_job(&self, job: JobId) -> Option<&LineKey> {
        self.of_job.get(&job)
    }

    /// Returns the job of a line that may be executed now, if there is one.
    pub(super) fn allowed(&self, key: &LineKey) -> Option<JobId> {
        let first = *self.by_task.get(key)?.jobs.first()?;
        self.obstacle(first).is_none().then_some(first)
    }

    /// Notes which job of a line is a candidate of the queue. Returns the one before.
    pub(super) fn set_candidate(&mut self, key: &LineKey, candidate: Option<JobId>) -> Option<JobId> {
        let line = self.by_task.get_mut(key)?;
        std::mem::replace(&mut line.candidate, candidate)
    }

    /// Returns the obstacle that keeps an unfinished job from its turn; `None` if there is none, or if its task is not
    /// exclusive.
    pub(crate) fn obstacle(&self, job: JobId) -> Option<Obstacle> {
        let key = self.of_job.get(&job)?;
        let line = self.by_task.get(key)?;
        if let Some(attempt) = line.attempts.first() {
            return Some(Obstacle::Attempt(*attempt));
        }
        if self.doubtful.contains(key) {
            return Some(Obstacle::Doubt);
        }
        line.jobs.first().filter(|first| **first != job).map(|first| Obstacle::Job(*first))
    }

    fn forget_if_empty(&mut self, key: &LineKey) {
        if self.by_task.get(key).is_some_and(|line| line.jobs.is_empty() && line.attempts.is_empty()) {
            self.by_task.remove(key);
        }
    }
}
