//! Things that come ahead of an attempt's result and count only with it: its outputs, which are recorded before the
//! result, and why it may not have its secrets. The dispatcher reads the outputs that a lease needs from the store, so
//! no job holds any.

use super::Scheduler;
use super::state::LiveJob;
use super::turn::Turn;
use crate::model::reason::ErrorReason;
use crate::model::{AttemptId, JobId, Outputs, Record, SessionId};

impl Scheduler {
    /// Keeps the outputs of an attempt until its result counts.
    pub(super) fn note_outputs(&mut self, session: SessionId, attempt: AttemptId, outputs: Outputs) {
        if let Some(job) = self.job_held_by(session, attempt) {
            job.outputs = Some(Box::new((attempt, outputs)));
        }
    }

    /// Keeps why an attempt may not have its secrets until its result counts.
    pub(super) fn note_denied(&mut self, session: SessionId, attempt: AttemptId, reason: Box<ErrorReason>) {
        if let Some(job) = self.job_held_by(session, attempt) {
            job.denied = Some((attempt, reason));
        }
    }

    /// Returns why this attempt of a job may not have its secrets, if that is why it could not start.
    pub(super) fn denied(&mut self, id: JobId, attempt: AttemptId) -> Option<Box<ErrorReason>> {
        let noted = self.jobs.get_mut(&id).and_then(|job| job.denied.take());
        noted.filter(|(of, _)| *of == attempt).map(|(_, reason)| reason)
    }

    /// Returns the job of an attempt that the runner of this session holds.
    fn job_held_by(&mut self, session: SessionId, attempt: AttemptId) -> Option<&mut LiveJob> {
        let runner = self.tables.roster().by_session(session)?;
        let lease = self.tables.leases().of_runner(attempt, runner).filter(|lease| !lease.cancelled)?;
        self.jobs.get_mut(&lease.job).map(|job| &mut **job)
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
