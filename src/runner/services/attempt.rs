//! The services of an attempt of a slot: their commands, their logs, and what becomes of them.

use std::ffi::OsString;
use std::path::Path;

use crossbeam_channel::Receiver;

use super::log::ServiceLog;
use super::started::{PreparedServices, ProgramPlace, StartedServices, tell_not_ready};
use crate::error_chain::chain;
use crate::model::reason::ErrorReason;
use crate::model::{AttemptId, Outcome, Recipe, ServiceFailure, ServiceRecord, StreamSummary};
use crate::process::{NestedSupervisor, View};
use crate::runner::secrets::AttemptSecrets;
use crate::runner::slot_common::Common;

/// The services of an attempt that is being executed.
pub(crate) struct AttemptServices {
    started: StartedServices,
    logs: Vec<ServiceLog>,
}

/// The logs and fates that the services of an attempt leave.
#[derive(Default)]
pub(crate) struct ServicesEnd {
    pub(crate) records: Vec<ServiceRecord>,
    pub(crate) streams: Vec<StreamSummary>,
}

/// The facts of an attempt that its services need.
pub(crate) struct ServicePlace<'a> {
    pub(crate) attempt: AttemptId,
    pub(crate) recipe: &'a Recipe,
    /// The environment of the attempt, without what is for its task alone.
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) tree: &'a Path,
    /// The view of the services that are programs.
    pub(crate) view: Option<&'a View>,
    pub(crate) secrets: Option<&'a AttemptSecrets>,
}

impl AttemptServices {
    /// Starts the services of an attempt, which has some.
    pub(crate) fn start(common: &Common, place: &ServicePlace<'_>, cancelled: &Receiver<()>) -> Result<Self, Outcome> {
        let lost = |error: &dyn std::error::Error| Outcome::Lost(chain(error).into());
        let ServicePlace { attempt, recipe, env, tree, view, secrets } = place;
        // Images first: to fetch one takes its time, and nothing waits for it meanwhile.
        let prepared = PreparedServices::new((*attempt, recipe, tree), Some(&common.container_tool()), cancelled)?;
        let nest = prepared.nested_commands().map(|count| (common.executors.nests)(&common.layout, *view, count));
        let nest = nest.transpose().map_err(|error| lost(&error))?;
        let (mut logs, mut outputs) = (Vec::new(), Vec::new());
        for service in &recipe.services {
            let masker = secrets.and_then(AttemptSecrets::masker);
            let named = (*attempt, service.name.as_str());
            let log = ServiceLog::begin(named, &common.layout, common.log_limit, masker, &common.uploads);
            let (log, output) =
                log.map_err(|error| Outcome::Lost(format!("could not keep the log of a service: {error}").into()))?;
            logs.push(log);
            outputs.push(output);
        }
        let programs = ProgramPlace { env, view: *view, grace_ms: common.grace_ms };
        let started = prepared.start(nest, &programs, outputs).map_err(|error| lost(&error))?;
        Ok(Self { started, logs })
    }

    /// Waits until all are ready. Returns the outcome of an attempt for which they are not: the text of one that could
    /// not start is told by [`Self::end`].
    pub(crate) fn wait(&mut self, cancelled: &Receiver<()>) -> Result<(), Outcome> {
        self.started.wait(cancelled)
    }

    /// The variables with the ports.
    pub(crate) fn variables(&self) -> &[(OsString, OsString)] {
        self.started.variables()
    }

    /// The supervisor for a task that is a program, if a service is one.
    pub(crate) fn beside(&mut self) -> Option<&mut NestedSupervisor> {
        self.started.beside()
    }

    /// Ends the services, whose attempt has ended with this outcome. Completes their logs, and the outcome: the text of
    /// an attempt that could not start because of a service, and the loss of one of which processes are left.
    pub(crate) fn end(self, outcome: &mut Outcome) -> ServicesEnd {
        let Self { started, logs } = self;
        let mut records = started.end(outcome);
        let mut streams = Vec::with_capacity(logs.len());
        let is_not_ready = matches!(outcome, Outcome::CouldNotStart(_));
        for (log, record) in logs.into_iter().zip(&mut records) {
            let note = record.failure.as_ref().map(|failure| end_note(failure, record.ready_ms.is_some()));
            let (stream, lines) = log.finish(note.as_deref());
            if is_not_ready && record.failure.is_some() && record.ready_ms.is_none() {
                record.last_lines = lines;
            }
            if stream.summary.bytes > 0 || stream.summary.missing.is_some() {
                streams.push(stream);
            }
        }
        tell_not_ready(outcome, &records);
        ServicesEnd { records, streams }
    }
}

impl ServicesEnd {
    /// Returns lines for the log of an attempt with this outcome: why it could not start, if a service is the cause,
    /// and which services ended while the task ran.
    pub(crate) fn notes(&self, outcome: &Outcome) -> Vec<String> {
        let reason = ErrorReason::of_services(&self.records).filter(|_| matches!(outcome, Outcome::CouldNotStart(_)));
        let reason = reason.map(|reason| format!("surveil: the task was not started: {reason}"));
        let died = self.records.iter().filter(|record| record.ready_ms.is_some()).filter_map(|record| {
            let failure = record.failure.as_ref()?;
            Some(format!("surveil: the service {} {failure} before the task did", record.name))
        });
        reason.into_iter().chain(died).collect()
    }
}

fn end_note(failure: &ServiceFailure, was_ready: bool) -> String {
    if was_ready { format!("the service {failure} before the task did") } else { format!("the service {failure}") }
}
