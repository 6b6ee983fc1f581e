//! The services of an attempt of a slot: their commands, their logs, and what becomes of them.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::log::ServiceLog;
use super::port::{Port, ports_of_services};
use super::running::{Container, NotReady, RunningServices, ServiceBody, ServiceStart};
use crate::error_chain::chain;
use crate::model::reason::ErrorReason;
use crate::model::{
    AttemptId, Outcome, PORT_VARIABLE, Recipe, Script, Service, ServiceFailure, ServiceRecord, StreamSummary,
};
use crate::process::{Command, Limits, NestedSupervisor, View};
use crate::runner::images::{ServiceContainer, ServiceMeans};
use crate::runner::secrets::AttemptSecrets;
use crate::runner::slot_common::Common;
use crate::runner::step_env::set_all;

/// The services of an attempt that is being executed.
pub(crate) struct AttemptServices {
    running: RunningServices,
    logs: Vec<ServiceLog>,
    records: Vec<ServiceRecord>,
    variables: Vec<(OsString, OsString)>,
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
        let lost =
            |what: &str, error: &dyn std::fmt::Display| Outcome::Lost(format!("could not {what}: {error}").into());
        let ServicePlace { attempt, recipe, env, tree, view, secrets } = place;
        // No task file has one.
        if let Some(Service { name, .. }) = recipe.unreachable_service() {
            let why = format!("the task has no network, so it does not reach the service {name}");
            return Err(Outcome::CouldNotStart(why));
        }
        let services = &recipe.services;
        let ports = services.iter().map(|_| Port::take()).collect::<Result<Vec<_>, _>>();
        let ports = ports.map_err(|error| lost("find a free port for a service", &error))?;
        let variables = ports_of_services(services, &ports);
        // Images first: to fetch one takes its time, and nothing waits for it meanwhile.
        let containers = containers(common, place, &ports, cancelled)?;
        let programs = containers.iter().filter(|container| container.is_none()).count();
        let nest = (programs > 0).then(|| (common.executors.nests)(&common.layout, *view, programs + 1));
        let nest = nest.transpose().map_err(|error| Outcome::Lost(chain(&error).into()))?;
        let (mut logs, mut starts, mut records) = (Vec::new(), Vec::new(), Vec::new());
        for ((service, port), container) in services.iter().zip(ports).zip(containers) {
            let masker = secrets.and_then(AttemptSecrets::masker);
            let named = (*attempt, service.name.as_str());
            let log = ServiceLog::begin(named, &common.layout, common.log_limit, masker, &common.uploads);
            let (log, output) = log.map_err(|error| lost("keep the log of a service", &error))?;
            let means = container.as_ref().map(ServiceContainer::means).unwrap_or_default();
            let body = match container {
                Some(container) => ServiceBody::Container(Container(Arc::new(container))),
                None => ServiceBody::Program(Box::new(Command {
                    script: program_of_service(service),
                    directory: tree.to_path_buf(),
                    env: environment_of_service(service, &port, env.clone(), variables.clone()),
                    timeout_ms: 0,
                    grace_ms: common.grace_ms,
                    view: view.cloned(),
                    limits: Limits::of(recipe),
                })),
            };
            logs.push(log);
            starts.push(ServiceStart { service: service.clone(), port, body, output });
            records.push(ServiceRecord { name: service.name.clone(), means, ..ServiceRecord::default() });
        }
        let running = RunningServices::start(nest, starts).map_err(|error| Outcome::Lost(chain(&error).into()))?;
        Ok(Self { running, logs, records, variables })
    }

    /// Waits until all are ready. Returns the outcome of an attempt for which they are not: the text of one that could
    /// not start is told by [`Self::end`].
    pub(crate) fn wait(&mut self, cancelled: &Receiver<()>) -> Result<(), Outcome> {
        let (ready, waited) = self.running.wait(cancelled);
        for (record, ready_ms) in self.records.iter_mut().zip(ready) {
            record.ready_ms = Some(ready_ms);
        }
        match waited {
            Ok(()) => Ok(()),
            Err(NotReady::Cancelled) => Err(Outcome::Cancelled),
            Err(NotReady::Lost(error)) => Err(Outcome::Lost(chain(&error).into())),
            Err(NotReady::Failed(at, failure)) => {
                self.records[at].failure = Some(failure);
                Err(Outcome::CouldNotStart(String::new()))
            }
        }
    }

    /// The variables with the ports.
    pub(crate) fn variables(&self) -> &[(OsString, OsString)] {
        &self.variables
    }

    /// The supervisor for a task that is a program, if a service is one.
    pub(crate) fn beside(&mut self) -> Option<&mut NestedSupervisor> {
        self.running.beside()
    }

    /// Ends the services, whose attempt has ended with this outcome. Completes their logs, and the outcome: the text of
    /// an attempt that could not start because of a service, and the loss of one of which processes are left.
    pub(crate) fn end(self, outcome: &mut Outcome) -> ServicesEnd {
        let Self { running, logs, mut records, .. } = self;
        // The grace of a cancel is over, and the runner has to be free.
        let is_hurried = matches!(outcome, Outcome::Cancelled | Outcome::Lost(_));
        match running.end(!is_hurried) {
            Ok(failures) => {
                for (record, failure) in records.iter_mut().zip(failures) {
                    record.failure = record.failure.take().or(failure);
                }
            }
            Err(error) => *outcome = Outcome::Lost(chain(&error).into()),
        }
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
        if let (Outcome::CouldNotStart(text), Some(reason)) = (&mut *outcome, ErrorReason::of_services(&records)) {
            *text = reason.to_string();
        }
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

/// Returns the containers of the services with images, each at the place of its service.
fn containers(
    common: &Common,
    place: &ServicePlace<'_>,
    ports: &[Port],
    cancelled: &Receiver<()>,
) -> Result<Vec<Option<ServiceContainer>>, Outcome> {
    let ServicePlace { attempt, recipe, tree, .. } = *place;
    let services = &recipe.services;
    let variables: Vec<(String, String)> =
        services.iter().zip(ports).map(|(service, port)| (service.variable(), port.number().to_string())).collect();
    let means = ServiceMeans {
        images: common.images.as_ref(),
        attempt,
        recipe,
        tree,
        make: &common.executors.tools,
        layout: &common.layout,
        ports: &variables,
    };
    let prepare = |(service, port): (&Service, &Port)| {
        let Some(image) = &service.image else { return Ok(None) };
        ServiceContainer::prepare((service, image, port.number()), &means, cancelled).map(Some)
    };
    services.iter().zip(ports).map(prepare).collect()
}

/// Returns the command of a service that is a program.
#[must_use]
pub fn program_of_service(service: &Service) -> Script {
    // A recipe without a command and without an image is that of a dispatcher of another make.
    service.script.clone().unwrap_or_else(|| Script::Program(vec!["(none: the service has no command)".into()]))
}

/// Returns the environment of a service that is a program: that of the attempt, its own variables, and the ports.
#[must_use]
pub fn environment_of_service(
    service: &Service,
    port: &Port,
    mut env: Vec<(OsString, OsString)>,
    ports: Vec<(OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    set_all(&mut env, service.env.iter().map(|(name, value)| (name.into(), value.into())).collect());
    set_all(&mut env, ports);
    set_all(&mut env, vec![(PORT_VARIABLE.into(), port.number().to_string().into())]);
    env
}
