//! Orders. Each is durable when it returns, and returns a sentence about what was done.

use std::collections::BTreeMap;

use super::cell_starts::cell_starts;
use super::error::OperationError;
use super::questions::Operations;
use crate::config::nearest;
use crate::dispatcher::core::{NoAnswer, RerunOrder, StartOrder, ToCore};
use crate::dispatcher::session::Woken;
use crate::model::reason::OrderDone;
use crate::model::{JobId, RepoName, RunnerId};
use crate::scheduler::{Event, Reply};

/// How a held job is to start.
pub(crate) struct StartAsk {
    /// The name of the person.
    pub(crate) by: String,
    /// Whether it starts also if its build is not the newest of its ref.
    pub(crate) force: bool,
    /// Values for the inputs of the tasks that start, by name.
    pub(crate) inputs: BTreeMap<String, String>,
}

impl Operations {
    /// Cancels the unfinished jobs of a build, or those of one task or matrix.
    pub(crate) fn cancel(
        &self,
        name: &str,
        task: Option<&str>,
        by: Option<String>,
    ) -> Result<OrderDone, OperationError> {
        let build = self.find(name)?;
        let only = task.map(|task| self.jobs_of(&build, task)).transpose()?;
        done(self.core.ask(move |request| Event::CancelAsked { request, build: build.id, only, by }))
    }

    /// Runs a finished build's jobs again, or only those that did not pass, or those of one task or matrix with the
    /// jobs that did not pass because of them.
    pub(crate) fn rerun(
        &self,
        name: &str,
        task: Option<&str>,
        failed_only: bool,
        by: Option<String>,
    ) -> Result<OrderDone, OperationError> {
        let build = self.find(name)?;
        let only = task.map(|task| self.jobs_of(&build, task)).transpose()?;
        let order = Box::new(RerunOrder { build: build.id, failed_only, only, by });
        done(self.core.answered(|answer| ToCore::Rerun { order, answer }))
    }

    /// Starts the held job of a task, or those of all held cells of a matrix.
    pub(crate) fn start(&self, name: &str, task: &str, ask: StartAsk) -> Result<OrderDone, OperationError> {
        let build = self.find(name)?;
        let named = self.jobs_of(&build, task)?;
        let StartAsk { by, force, inputs } = ask;
        let start = |job: JobId, inputs: BTreeMap<String, String>| {
            let order = Box::new(StartOrder { build: build.id, job, by: by.clone(), force, inputs });
            done(self.core.answered(|answer| ToCore::Start { order, answer }))
        };
        match named.jobs.as_slice() {
            [job] => start(*job, inputs),
            cells => {
                let jobs = self.reader.jobs(build.id)?;
                let orders = cell_starts(&jobs, &named, &inputs).map_err(OperationError::Refused)?;
                let (count, total, mut waits) = (orders.len(), cells.len(), false);
                // Each cell has an order and a record of its own. All would be refused for one reason, so the first is.
                for (job, inputs) in orders {
                    waits |= matches!(start(job, inputs)?, OrderDone::Started { waits: true, .. });
                }
                Ok(OrderDone::CellsStarted { build: build.id, task: named.task, cells: count, total, waits })
            }
        }
    }

    /// Keeps jobs from a runner until it is resumed. Its present process finishes the attempts that it holds, and ends.
    pub(crate) fn drain(&self, name: &str, by: Option<String>) -> Result<OrderDone, OperationError> {
        let runner = self.runner_of(name)?;
        done(self.core.ask(move |request| Event::DrainAsked { request, runner, by }))
    }

    /// Lets a drained runner take jobs again.
    pub(crate) fn resume(&self, name: &str, by: Option<String>) -> Result<OrderDone, OperationError> {
        let runner = self.runner_of(name)?;
        done(self.core.ask(move |request| Event::ResumeAsked { request, runner, by }))
    }

    /// Asks the observers of a repository to look at it now. Records nothing: a look at every interval finds the same.
    pub(crate) fn wake(&self, name: &str) -> Result<OrderDone, OperationError> {
        let repo = RepoName::new(name).ok();
        let woken = repo.as_ref().and_then(|repo| self.observers.wake(repo));
        match (repo, woken) {
            (Some(repo), Some(Woken { source, told, old })) if told > 0 => {
                Ok(OrderDone::Woken { repo, source: source.into(), observers: told, old })
            }
            (Some(repo), Some(Woken { source, .. })) => Err(OperationError::ObserverTooOld { repo, place: source }),
            (_, None) | (None, _) => {
                let watched = self.observers.watched();
                let is_known = self.reader.repos()?.iter().any(|repo| repo.as_str() == name);
                let nearest = nearest(name, watched.iter().map(RepoName::as_str)).map(str::to_owned);
                Err(OperationError::NotWatched { name: name.to_owned(), is_known, nearest, watched })
            }
        }
    }

    /// Returns the runner of that name, connected or not. A name that was never seen is refused: it is a slip rather
    /// than a machine to come, and an order that waited for it would be forgotten.
    fn runner_of(&self, name: &str) -> Result<RunnerId, OperationError> {
        let wanted = name.to_owned();
        let found = self.core.look(move |seen| {
            let nearest = || nearest(&wanted, seen.scheduler.runner_names()).map(str::to_owned);
            seen.scheduler.runner_named(&wanted).ok_or_else(nearest)
        })?;
        found.map_err(|nearest| OperationError::NoRunner { name: name.to_owned(), nearest })
    }
}

fn done(reply: Option<Reply>) -> Result<OrderDone, OperationError> {
    match reply.ok_or(NoAnswer::Ending)? {
        Reply::Done(done) => Ok(done),
        Reply::Refused(reason) => Err(OperationError::Refused(reason)),
        Reply::Accepted { .. } | Reply::Noted | Reply::Stale { .. } => unreachable!("these answer observers"),
    }
}
