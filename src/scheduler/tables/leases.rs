//! The leases: which runner has which attempt. Only [`super::Tables`] makes and drops one.

use std::collections::BTreeMap;

use crate::model::{AttemptId, BuildId, Incarnation, JobId, RepoName, RunnerId};

/// An attempt that occupies a slot.
#[derive(Debug)]
pub(crate) struct LiveLease {
    pub job: JobId,
    pub build: BuildId,
    /// Counted from 1 within the job.
    pub number: u32,
    pub runner: RunnerId,
    pub repo: RepoName,
    pub exclusive: bool,
    /// The process that was told of it. Not known after a restart, until one says that it holds it.
    pub given_to: Option<Incarnation>,
    /// Whether the task's process runs; before that, a loss is not the job's doing.
    pub started: Started,
    /// Its outcome is recorded as cancelled; it only occupies the slot until the runner says that it has ended.
    pub cancelled: bool,
}

/// What is known of the process of a leased attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    No,
    /// The dispatcher restarted, and nobody has said anything about it since. The lease may never have left.
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

    /// How many occupy a slot, cancelled ones included.
    pub(crate) fn len(&self) -> usize {
        self.by_attempt.len()
    }

    /// Those whose outcome is open.
    pub(crate) fn live(&self) -> impl Iterator<Item = &LiveLease> {
        self.by_attempt.values().filter(|lease| !lease.cancelled)
    }
}
