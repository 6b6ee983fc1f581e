//! The services of an attempt, of a slot and of `surveil run` alike: prepared with their ports and images, then
//! started, with the record of each.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::port::{Port, ports_of_services};
use super::running::{Container, NotReady, RunningServices, ServiceBody, ServiceStart};
use crate::error_chain::chain;
use crate::model::reason::ErrorReason;
use crate::model::{AttemptId, Outcome, PORT_VARIABLE, Recipe, Script, Service, ServiceRecord};
use crate::process::{Command, Limits, Nest, NestedSupervisor, ProcessError, View};
use crate::runner::images::{ContainerTool, ServiceContainer, ServiceMeans};
use crate::runner::step_env::set_all;

/// The services of an attempt before they are started.
pub struct PreparedServices<'a> {
    recipe: &'a Recipe,
    tree: &'a Path,
    ports: Vec<Port>,
    variables: Vec<(OsString, OsString)>,
    /// The container of each service that has an image.
    containers: Vec<Option<ServiceContainer>>,
}

/// The surroundings of the services that are programs.
pub struct ProgramPlace<'a> {
    /// The environment of the attempt, without the variables that are for its task alone.
    pub env: &'a [(OsString, OsString)],
    pub view: Option<&'a View>,
    pub grace_ms: u64,
}

impl<'a> PreparedServices<'a> {
    /// Takes a free port for each service, and fetches images that are missing on this machine. `tool` is needed only
    /// for services with an image.
    pub fn new(
        (attempt, recipe, tree): (AttemptId, &'a Recipe, &'a Path),
        tool: Option<&ContainerTool>,
        cancel: &Receiver<()>,
    ) -> Result<Self, Outcome> {
        // No task file has one.
        if let Some(Service { name, .. }) = recipe.unreachable_service() {
            let why = format!("the task has no network, so it does not reach the service {name}");
            return Err(Outcome::CouldNotStart(why));
        }
        let services = &recipe.services;
        let ports = services.iter().map(|_| Port::take()).collect::<Result<Vec<_>, _>>();
        let ports = ports
            .map_err(|error| Outcome::Lost(format!("could not find a free port for a service: {error}").into()))?;
        let variables: Vec<(String, String)> = services
            .iter()
            .zip(&ports)
            .map(|(service, port)| (service.variable(), port.number().to_string()))
            .collect();
        let means = ServiceMeans { tool, attempt, recipe, tree, ports: &variables };
        let prepare = |(service, port): (&Service, &Port)| {
            let Some(image) = &service.image else { return Ok(None) };
            ServiceContainer::prepare((service, image, port.number()), &means, cancel).map(Some)
        };
        let containers = services.iter().zip(&ports).map(prepare).collect::<Result<Vec<_>, _>>()?;
        let variables = ports_of_services(services, &ports);
        Ok(Self { recipe, tree, ports, variables, containers })
    }

    /// Returns the number of commands for which a nest is needed: the services that are programs, and the task. `None`
    /// if no service is a program.
    #[must_use]
    pub fn nested_commands(&self) -> Option<usize> {
        let programs = self.containers.iter().filter(|container| container.is_none()).count();
        (programs > 0).then_some(programs + 1)
    }

    /// Starts the services, each with one of these outputs. The nest has a supervisor for each of
    /// [`Self::nested_commands`].
    pub fn start(
        self,
        nest: Option<(Nest, Vec<NestedSupervisor>)>,
        place: &ProgramPlace<'_>,
        outputs: Vec<File>,
    ) -> Result<StartedServices, ProcessError> {
        let Self { recipe, tree, ports, variables, containers } = self;
        let (mut starts, mut records) = (Vec::new(), Vec::new());
        for (((service, port), container), output) in recipe.services.iter().zip(ports).zip(containers).zip(outputs) {
            let means = container.as_ref().map(ServiceContainer::means).unwrap_or_default();
            let body = match container {
                Some(container) => ServiceBody::Container(Container(Arc::new(container))),
                None => ServiceBody::Program(Box::new(Command {
                    script: program_of(service),
                    directory: tree.to_path_buf(),
                    env: environment_of(service, &port, place.env.to_vec(), variables.clone()),
                    timeout_ms: 0,
                    grace_ms: place.grace_ms,
                    view: place.view.cloned(),
                    limits: Limits::of(recipe),
                })),
            };
            starts.push(ServiceStart { service: service.clone(), port, body, output });
            records.push(ServiceRecord { name: service.name.clone(), means, ..ServiceRecord::default() });
        }
        Ok(StartedServices { running: RunningServices::start(nest, starts)?, records, variables })
    }
}

/// The services of an attempt that is being executed.
pub struct StartedServices {
    running: RunningServices,
    records: Vec<ServiceRecord>,
    variables: Vec<(OsString, OsString)>,
}

impl StartedServices {
    /// Waits until all are ready. Returns the outcome of an attempt for which they are not: the text of one that could
    /// not start is told by [`tell_not_ready`].
    pub fn wait(&mut self, cancel: &Receiver<()>) -> Result<(), Outcome> {
        let (ready, waited) = self.running.wait(cancel);
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
    #[must_use]
    pub fn variables(&self) -> &[(OsString, OsString)] {
        &self.variables
    }

    /// The supervisor for a task that is a program, if a service is one.
    pub fn beside(&mut self) -> Option<&mut NestedSupervisor> {
        self.running.beside()
    }

    /// Ends the services, whose attempt has ended with this outcome. The attempt is lost if processes of them are left.
    /// Returns their records.
    pub fn end(self, outcome: &mut Outcome) -> Vec<ServiceRecord> {
        let Self { running, mut records, .. } = self;
        // The grace of a cancel is over, and the machine has to be free.
        let is_hurried = matches!(outcome, Outcome::Cancelled | Outcome::Lost(_));
        match running.end(!is_hurried) {
            Ok(failures) => {
                for (record, failure) in records.iter_mut().zip(failures) {
                    record.failure = record.failure.take().or(failure);
                }
            }
            Err(error) => *outcome = Outcome::Lost(chain(&error).into()),
        }
        records
    }
}

/// Sets the text of an attempt that could not start because of a service, when the last lines of the service are known.
pub fn tell_not_ready(outcome: &mut Outcome, records: &[ServiceRecord]) {
    if let (Outcome::CouldNotStart(text), Some(reason)) = (outcome, ErrorReason::of_services(records)) {
        *text = reason.to_string();
    }
}

/// Returns the command of a service that is a program.
fn program_of(service: &Service) -> Script {
    // A recipe without a command and without an image is that of a dispatcher of another make.
    service.script.clone().unwrap_or_else(|| Script::Program(vec!["(none: the service has no command)".into()]))
}

/// Returns the environment of a service that is a program: that of the attempt, its own variables, and the ports.
fn environment_of(
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
