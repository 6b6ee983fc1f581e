//! Outputs of attempts: they are recorded with the result, and only if that counts. The dispatcher reads those that a
//! lease needs from the store, so no job holds any.

use super::Scheduler;
use super::turn::Turn;
use crate::model::{AttemptId, Outputs, Record, SessionId};

impl Scheduler {
    /// Keeps the outputs of an attempt until its result counts.
    pub(super) fn note_outputs(&mut self, session: SessionId, attempt: AttemptId, outputs: Outputs) {
        let runner = self.tables.roster().by_session(session);
        let lease = runner.and_then(|runner| self.tables.leases().of_runner(attempt, runner));
        let Some(lease) = lease.filter(|lease| !lease.cancelled) else { return };
        let job = self.jobs.get_mut(&lease.job).expect("a lease that is not cancelled has a live job");
        job.outputs = Some(Box::new((attempt, outputs)));
    }

    /// Records the outputs of an attempt whose result counts, before the result.
    pub(super) fn keep_outputs(&mut self, turn: &mut Turn, attempt: AttemptId) {
        let lease = self.tables.leases().get(attempt).expect("the caller has seen it");
        let (id, build) = (lease.job, lease.build);
        let job = self.jobs.get_mut(&id).expect("a lease that is not cancelled has a live job");
        let Some(noted) = job.outputs.take() else { return };
        let (of, outputs) = *noted;
        if of == attempt {
            let task = job.task.name.clone();
            turn.persist(Record::OutputsSet { build, job: id, task, attempt, outputs });
        }
    }
}
