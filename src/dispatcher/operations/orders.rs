//! Orders. Each is durable when it returns, and returns a sentence about what was done.

use super::error::OperationError;
use super::questions::Operations;
use crate::dispatcher::core::{NoAnswer, ToCore};
use crate::model::reason::OrderDone;
use crate::scheduler::{Event, Reply};

impl Operations {
    /// Cancels the unfinished jobs of a build, or one of them.
    pub(crate) fn cancel(&self, name: &str, task: Option<&str>) -> Result<OrderDone, OperationError> {
        let build = self.find(name)?;
        let job = task.map(|task| self.job_of(&build, task)).transpose()?.map(|job| job.id);
        done(self.core.ask(move |request| Event::CancelAsked { request, build: build.id, job }))
    }

    /// Runs a finished build's jobs again, or only those that did not pass, or one of them with the jobs that did not
    /// pass because of it.
    pub(crate) fn rerun(&self, name: &str, task: Option<&str>, failed_only: bool) -> Result<OrderDone, OperationError> {
        let build = self.find(name)?;
        let only = task.map(|task| self.job_of(&build, task)).transpose()?.map(|job| job.id);
        done(self.core.answered(|answer| ToCore::Rerun { build: build.id, failed_only, only, answer }))
    }

    /// Lets a runner finish the attempts that it holds, and then end.
    pub(crate) fn drain(&self, name: &str) -> Result<OrderDone, OperationError> {
        let wanted = name.to_owned();
        let Some(runner) = self.core.look(move |seen| seen.scheduler.runner_named(&wanted))? else {
            return Err(OperationError::NoRunner { name: name.to_owned() });
        };
        done(self.core.ask(move |request| Event::DrainAsked { request, runner }))
    }
}

fn done(reply: Option<Reply>) -> Result<OrderDone, OperationError> {
    match reply.ok_or(NoAnswer::Ending)? {
        Reply::Done(done) => Ok(done),
        Reply::Refused(reason) => Err(OperationError::Refused(reason)),
        Reply::Accepted { .. } | Reply::Stale { .. } => unreachable!("these answer observers"),
    }
}
