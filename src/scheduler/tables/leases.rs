//! The leases: which runner has which attempt. Only [`super::Tables`] adds and removes one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lines::{InLine, OwnLines};
use crate::model::{AttemptId, BuildId, Incarnation, JobId, RepoName, RunnerId, TaskSpec};

/// An attempt that occupies a slot.
#[derive(Debug)]
pub(crate) struct LiveLease {
    pub job: JobId,
    pub build: BuildId,
    /// Counted from 1 within the job.
    pub number: u32,
    pub runner: RunnerId,
    pub repo: RepoName,
    pub task: Arc<TaskSpec>,
    /// The lines in which it has a place.
    pub lines: OwnLines,
    /// Whether nobody else may take its place while its runner may still execute it. Copied from the task, which is
    /// seldom in the processor's cache.
    pub exclusive: bool,
    /// The process that received it. Not known after a restart, until a process says that it holds the attempt.
    pub given_to: Option<Incarnation>,
    /// Whether the task's process has started. A loss before that is not the job's doing.
    pub started: Started,
    /// Its outcome is recorded as cancelled. It only occupies its slot until the runner says that it has ended.
    pub cancelled: bool,
}

impl LiveLease {
    /// Returns the number of its runner's slots that it occupies.
    pub(crate) fn slots(&self) -> u32 {
        self.task.placement.slots.0
    }

    pub(super) fn in_line(&self) -> InLine {
        InLine { build: self.build, job: self.job, lines: self.lines }
    }
}

/// Whether the process of a leased attempt has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    No,
    /// The dispatcher was restarted, and the runner has not mentioned it since. The lease may never have been sent.
    Unknown,
    Yes,
}

/// All leases, and cancelled attempts that their runners have not ended yet.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    pub(super) by_attempt: BTreeMap<AttemptId, LiveLease>,
}

impl Leases {
    pub(crate) fn get(&self, attempt: AttemptId) -> Option<&LiveLease> {
        self.by_attempt.get(&attempt)
    }

    /// The lease of an attempt, if this runner has it.
    pub(crate) fn of_runner(&self, attempt: AttemptId, runner: RunnerId) -> Option<&LiveLease> {
        self.get(attempt).filter(|lease| lease.runner == runner)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (AttemptId, &LiveLease)> {
        self.by_attempt.iter().map(|(attempt, lease)| (*attempt, lease))
    }

    /// The number of occupied slots, those of cancelled attempts included.
    pub(crate) fn len(&self) -> usize {
        self.by_attempt.len()
    }

    /// The leases of attempts that have no outcome yet.
    pub(crate) fn live(&self) -> impl Iterator<Item = &LiveLease> {
        self.by_attempt.values().filter(|lease| !lease.cancelled)
    }
}
