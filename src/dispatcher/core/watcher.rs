//! A subscription to changes of builds.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::model::{BuildId, Record};
use crate::scheduler::Scheduler;
use crate::threads;

/// A subscription to builds that change. Changes are collected in a set, so a slow subscriber misses none and costs
/// nothing.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    changed: Arc<Mutex<BTreeSet<BuildId>>>,
    wake: Sender<()>,
}

impl Watcher {
    /// Returns a watcher, and the channel that wakes its subscriber.
    pub(crate) fn new() -> (Self, Receiver<()>) {
        let (wake, woken) = bounded(1);
        (Self { changed: Arc::default(), wake }, woken)
    }

    /// Notes changes. Returns false once nobody listens.
    pub(crate) fn tell(&self, builds: &[BuildId]) -> bool {
        threads::lock(&self.changed).extend(builds);
        !matches!(self.wake.try_send(()), Err(TrySendError::Disconnected(())))
    }

    /// Returns the builds that have changed since the last call.
    pub(crate) fn take(&self) -> BTreeSet<BuildId> {
        std::mem::take(&mut *threads::lock(&self.changed))
    }
}

/// Returns the build that a record concerns, if the record changes anything that people see.
pub(super) fn changed_build(scheduler: &Scheduler, record: &Record) -> Option<BuildId> {
    match record {
        Record::BuildAdded { build, .. } => Some(build.id),
        Record::BuildFinished { build, .. } | Record::BuildReopened { build } | Record::JobsJoined { build, .. } => {
            Some(*build)
        }
        Record::AttemptLeased(attempt) => Some(attempt.build),
        Record::JobQueued { job, .. }
        | Record::JobWaiting { job }
        | Record::JobHeld { job }
        | Record::TaskGiven { job, .. }
        | Record::JobFinished { job, .. } => scheduler.build_of(*job),
        Record::HeadMoved { .. }
        | Record::RefsNoted { .. }
        | Record::RunnerSaved(_)
        | Record::ScheduleSaved(_)
        | Record::AttemptFinished { .. }
        | Record::LateResult { .. }
        | Record::StepsEnded { .. }
        | Record::OutputsSet { .. }
        | Record::ArtifactsLeft { .. }
        | Record::AttemptExecuted { .. }
        | Record::Decided(_) => None,
    }
}
