//! The services of a task of `surveil run`. Their output goes to standard output, line by line with the name of the
//! service before each.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use crossbeam_channel::Receiver;

use super::{CliError, Output};
use crate::model::{AttemptId, Outcome, Recipe, Service, ServiceRecord};
use crate::process::{NestedSupervisor, Supervisor};
use crate::runner::{
    AttemptSecrets, ContainerTool, Masker, PreparedServices, ProgramPlace, StartedServices, last_lines, tell_not_ready,
};
use crate::threads::{self, Thread};

/// Bytes of a line that are held back until its end, and of the end of a service's output.
const MAX_HELD_BYTES: usize = 16 * 1024;
const CHUNK_BYTES: usize = 16 * 1024;

/// The services of an attempt.
pub(crate) struct LocalServices {
    started: StartedServices,
    /// Each ends with its service, and returns the end of its output.
    outputs: Vec<Thread<Result<Vec<u8>, CliError>>>,
}

impl LocalServices {
    /// Starts the services of a recipe, which has some, with the environment of its attempt, in this directory. `tool`
    /// is needed only for services with an image. Returns the outcome of the attempt if a service cannot be started.
    pub(crate) fn start(
        supervisor: &Supervisor,
        recipe: &Recipe,
        (env, directory, grace_ms): (&[(OsString, OsString)], &Path, u64),
        secrets: &AttemptSecrets,
        (tool, cancel): (Option<&ContainerTool>, &Receiver<()>),
    ) -> Result<Result<Self, Outcome>, CliError> {
        // No dispatcher has numbered this attempt.
        let prepared = match PreparedServices::new((AttemptId(0), recipe, directory), tool, cancel) {
            Ok(prepared) => prepared,
            Err(outcome) => return Ok(Err(outcome)),
        };
        let nest = prepared.nested_commands().map(|count| supervisor.nest(None, count)).transpose()?;
        let (mut files, mut outputs) = (Vec::new(), Vec::new());
        for service in &recipe.services {
            let (reader, writer) = io::pipe().map_err(CliError::machine("make a pipe"))?;
            outputs.push(pass_lines_on(reader, service, secrets.masker())?);
            files.push(File::from(OwnedFd::from(writer)));
        }
        // A person at a terminal has the machine anyway.
        let started = prepared.start(nest, &ProgramPlace { env, view: None, grace_ms }, files)?;
        Ok(Ok(Self { started, outputs }))
    }

    /// Waits until all are ready. Returns the outcome of an attempt for which they are not: the text of one that could
    /// not start is told by [`Self::end`].
    pub(crate) fn wait(&mut self, cancel: &Receiver<()>) -> Result<(), Outcome> {
        self.started.wait(cancel)
    }

    /// The variables with the ports.
    pub(crate) fn variables(&self) -> &[(OsString, OsString)] {
        self.started.variables()
    }

    /// The supervisor for the task, if a service is a program.
    pub(crate) fn beside(&mut self) -> Option<&mut NestedSupervisor> {
        self.started.beside()
    }

    /// Ends the services of an attempt with this outcome, and completes the outcome. Tells which services ended before
    /// the task did.
    pub(crate) fn end(self, task: &str, outcome: &mut Outcome) -> Result<(), CliError> {
        let Self { started, outputs } = self;
        let mut records = started.end(outcome);
        for (record, output) in records.iter_mut().zip(outputs) {
            let end = output.join().map_err(|_| CliError::Panicked("copying of output"))??;
            record.last_lines = last_lines(&end);
        }
        tell_not_ready(outcome, &records);
        for ServiceRecord { name, failure, .. } in records.iter().filter(|record| record.ready_ms.is_some()) {
            if let Some(failure) = failure {
                log::warn!("{task}: the service {name} {failure} before the task did");
            }
        }
        Ok(())
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
