//! Artifacts of attempts: they are recorded with the result, and only if that counts.

use super::Scheduler;
use super::turn::Turn;
use crate::model::{ArtifactRecord, AttemptId, Record, SessionId};

impl Scheduler {
    /// Keeps the artifacts of an attempt until its result counts.
    pub(super) fn note_artifacts(&mut self, session: SessionId, attempt: AttemptId, artifacts: Vec<ArtifactRecord>) {
        let runner = self.tables.roster().by_session(session);
        let lease = runner.and_then(|runner| self.tables.leases().of_runner(attempt, runner));
        let Some(lease) = lease.filter(|lease| !lease.cancelled) else { return };
        let job = self.jobs.get_mut(&lease.job).expect("a lease that is not cancelled has a live job");
        job.artifacts = Some(Box::new((attempt, artifacts)));
    }

    /// Records the artifacts of an attempt whose result counts, before the result.
    pub(super) fn keep_artifacts(&mut self, turn: &mut Turn, attempt: AttemptId) {
        let lease = self.tables.leases().get(attempt).expect("the caller has seen it");
        let (id, build) = (lease.job, lease.build);
        let job = self.jobs.get_mut(&id).expect("a lease that is not cancelled has a live job");
        let Some(noted) = job.artifacts.take() else { return };
        let (of, artifacts) = *noted;
        if of == attempt {
            let task = job.task.name.clone();
            turn.persist(Record::ArtifactsLeft { build, job: id, task, attempt, artifacts });
        }
    }
}
