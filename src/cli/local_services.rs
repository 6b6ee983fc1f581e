//! The services of a task of `surveil run`. Their output goes to standard output, line by line with the name of the
//! service before each.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use crossbeam_channel::Receiver;

use super::{CliError, Output};
use crate::model::reason::ErrorReason;
use crate::model::{Outcome, Recipe, Service, ServiceRecord};
use crate::process::{Command, Limits, NestedSupervisor, Supervisor};
use crate::runner::{
    AttemptSecrets, Masker, NotReady, Port, RunningServices, ServiceBody, ServiceStart, environment_of_service,
    last_lines, ports_of_services, program_of_service,
};
use crate::threads::{self, Thread};

/// Bytes of a line that are held back until its end, and of the end of a service's output.
const MAX_HELD_BYTES: usize = 16 * 1024;
const CHUNK_BYTES: usize = 16 * 1024;

/// The services of an attempt.
pub(crate) struct LocalServices {
    running: RunningServices,
    variables: Vec<(OsString, OsString)>,
    records: Vec<ServiceRecord>,
    /// Each ends with its service, and returns the end of its output.
    outputs: Vec<Thread<Result<Vec<u8>, CliError>>>,
}

impl LocalServices {
    /// Starts the services of a recipe, with the environment of its attempt, in this directory. Returns `None` if there
    /// are none.
    pub(crate) fn start(
        supervisor: &Supervisor,
        recipe: &Recipe,
        (env, directory, grace_ms): (&[(OsString, OsString)], &Path, u64),
        secrets: &AttemptSecrets,
    ) -> Result<Option<Self>, CliError> {
        let services = &recipe.services;
        if services.is_empty() {
            return Ok(None);
        }
        let ports = services.iter().map(|_| Port::take()).collect::<Result<Vec<_>, _>>();
        let ports = ports.map_err(CliError::machine("find a free port for a service"))?;
        let variables = ports_of_services(services, &ports);
        let nest = supervisor.nest(None, services.len() + 1)?;
        let (mut starts, mut outputs, mut records) = (Vec::new(), Vec::new(), Vec::new());
        for (service, port) in services.iter().zip(ports) {
            let (reader, writer) = io::pipe().map_err(CliError::machine("make a pipe"))?;
            outputs.push(pass_lines_on(reader, service, secrets.masker())?);
            let command = Command {
                script: program_of_service(service),
                directory: directory.to_owned(),
                env: environment_of_service(service, &port, env.to_vec(), variables.clone()),
                timeout_ms: 0,
                grace_ms,
                view: None,
                limits: Limits::of(recipe),
            };
            let output = File::from(OwnedFd::from(writer));
            let body = ServiceBody::Program(Box::new(command));
            starts.push(ServiceStart { service: service.clone(), port, body, output });
            records.push(ServiceRecord { name: service.name.clone(), ..ServiceRecord::default() });
        }
        Ok(Some(Self { running: RunningServices::start(Some(nest), starts)?, variables, records, outputs }))
    }

    /// Waits until all are ready. Returns false if they never are; [`Self::end`] tells why.
    pub(crate) fn wait(&mut self, cancel: &Receiver<()>) -> Result<bool, CliError> {
        let (ready, waited) = self.running.wait(cancel);
        for (record, ready_ms) in self.records.iter_mut().zip(ready) {
            record.ready_ms = Some(ready_ms);
        }
        match waited {
            Ok(()) => return Ok(true),
            Err(NotReady::Cancelled) => {}
            Err(NotReady::Lost(error)) => return Err(error.into()),
            Err(NotReady::Failed(at, failure)) => self.records[at].failure = Some(failure),
        }
        Ok(false)
    }

    /// The variables with the ports.
    pub(crate) fn variables(&self) -> &[(OsString, OsString)] {
        &self.variables
    }

    /// The supervisor for the task.
    pub(crate) fn beside(&mut self) -> Option<&mut NestedSupervisor> {
        self.running.beside()
    }

    /// Ends the services of an attempt with this outcome; `None` if it was not started, because they were not ready.
    /// Returns the outcome, and tells which services ended before the task did.
    pub(crate) fn end(self, task: &str, outcome: Option<Outcome>) -> Result<Outcome, CliError> {
        let Self { running, mut records, outputs, .. } = self;
        let failures = running.end(outcome.as_ref().is_some_and(|outcome| *outcome != Outcome::Cancelled))?;
        for ((record, failure), output) in records.iter_mut().zip(failures).zip(outputs) {
            record.failure = record.failure.take().or(failure);
            let end = output.join().map_err(|_| CliError::Panicked("copying of output"))??;
            record.last_lines = last_lines(&end);
        }
        let not_ready = || ErrorReason::of_services(&records).map(|reason| Outcome::CouldNotStart(reason.to_string()));
        let outcome = outcome.or_else(not_ready).unwrap_or(Outcome::Cancelled);
        for ServiceRecord { name, failure, .. } in records.iter().filter(|record| record.ready_ms.is_some()) {
            if let Some(failure) = failure {
                log::warn!("{task}: the service {name} {failure} before the task did");
            }
        }
        Ok(outcome)
    }
}

/// Starts a thread that copies the output of a service line by line, until all its writers are gone. Returns the end of
/// the output.
fn pass_lines_on(
    mut reader: PipeReader,
    service: &Service,
    mut masker: Option<Masker>,
) -> Result<Thread<Result<Vec<u8>, CliError>>, CliError> {
    let prefix = format!("{} | ", service.name);
    let body = move || {
        let mut out = Output::stdout();
        out.outlive_reader();
        let (mut chunk, mut held, mut end) = (vec![0; CHUNK_BYTES], Vec::new(), Vec::new());
        loop {
            let is_over = match reader.read(&mut chunk) {
                Ok(0) => {
                    masker.iter_mut().for_each(|masker| masker.finish(&mut held));
                    true
                }
                Ok(len) => {
                    match &mut masker {
                        Some(masker) => masker.mask(&chunk[..len], &mut held),
                        None => held.extend_from_slice(&chunk[..len]),
                    }
                    false
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(CliError::machine("read the output of a service")(error)),
            };
            let whole = match held.iter().rposition(|byte| *byte == b'\n') {
                _ if is_over || held.len() > MAX_HELD_BYTES => held.len(),
                Some(last) => last + 1,
                None => 0,
            };
            let lines: Vec<u8> = held.drain(..whole).collect();
            let mut text = Vec::with_capacity(lines.len() * 2);
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                text.extend_from_slice(prefix.as_bytes());
                text.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
                text.push(b'\n');
            }
            out.bytes(&text)?;
            end.extend_from_slice(&lines);
            end.drain(..end.len().saturating_sub(MAX_HELD_BYTES));
            if is_over {
                return Ok(end);
            }
        }
    };
    threads::spawn("service", body).map_err(CliError::machine("start a thread"))
}
