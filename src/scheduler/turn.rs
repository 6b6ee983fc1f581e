//! The handling of one event: its time, and the effects so far.

use super::effect::{Effect, Reply, RunnerCommand};
use super::event::RequestId;
use crate::model::reason::{DecisionKind, Notice};
use crate::model::{AttemptId, BuildId, Decision, JobId, Moment, Record, RunnerId, SessionId, WallTime};

/// One event that is being handled. Effects are added in the order in which they must happen.
pub(super) struct Turn {
    pub now: Moment,
    pub at: WallTime,
    pub effects: Vec<Effect>,
}

impl Turn {
    pub(super) fn persist(&mut self, record: Record) {
        self.effects.push(Effect::Persist(record));
    }

    pub(super) fn send(&mut self, session: SessionId, command: RunnerCommand) {
        self.effects.push(Effect::Send { session, message: command });
    }

    pub(super) fn reply(&mut self, request: RequestId, reply: Reply) {
        self.effects.push(Effect::Reply { request, reply });
    }

    pub(super) fn note(&mut self, notice: Notice) {
        self.effects.push(Effect::Note(notice));
    }

    /// Records a decision about a job, for `surveil why`, and the attempt and the runner that it was about, if any.
    pub(super) fn decide(&mut self, build: BuildId, job: JobId, of: Option<(AttemptId, RunnerId)>, kind: DecisionKind) {
        let (attempt, runner) = of.unzip();
        self.persist(Record::Decided(Decision { at: self.at, build, job: Some(job), attempt, runner, kind }));
    }
}
