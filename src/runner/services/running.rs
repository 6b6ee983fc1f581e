//! Services while they run: started together, waited for one after the other, and ended together.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::port::Port;
use crate::clock;
use crate::model::{MAX_LAST_LINES, Service, ServiceFailure, visible};
use crate::process::{Command, Ended, Exit, Limits, Nest, NestedSupervisor, ProcessError, ProgressCallbacks};
use crate::runner::images::{ServiceContainer, Tried};
use crate::threads::{self, Thread};

/// The pause before a service is tried the first time, which grows to the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The longest time of one try of `ready`, in milliseconds. One that hangs is ended, and tried again.
const TRY_MS: u64 = 10_000;
/// The longest time between TERM and KILL for a service, in milliseconds: the files of a service are thrown away, and a
/// slot waits for it.
const GRACE_MS: u64 = 2_000;
/// Time in which a tool must end after it has removed its container.
const GOODBYE: Duration = Duration::from_secs(1);
/// The most characters of a line that tells why a service failed.
const MAX_LINE_CHARS: usize = 200;

/// A service to start.
pub(super) struct ServiceStart {
    pub(super) service: Service,
    pub(super) port: Port,
    pub(super) body: ServiceBody,
    /// The output of the service.
    pub(super) output: File,
}

/// The means by which a service is executed.
#[derive(Clone)]
pub(super) enum ServiceBody {
    /// A program of this machine. The command of its `ready` differs from its own in script and time only.
    Program(Box<Command>),
    /// A container of an image.
    Container(Container),
}

/// The container of a service.
#[derive(Clone)]
pub(super) struct Container(pub(super) Arc<ServiceContainer>);

/// Why the services of an attempt are not ready.
#[derive(Debug)]
pub(super) enum NotReady {
    /// The attempt was cancelled.
    Cancelled,
    /// The service at this place has failed.
    Failed(usize, ServiceFailure),
    /// No fault of a service: the supervision failed.
    Lost(ProcessError),
}

/// The services of one attempt, and the supervisor for its task beside them.
pub(super) struct RunningServices {
    /// `None` if no service is a program.
    nest: Option<Nest>,
    /// Executes the tries of `ready` of programs, and then the task.
    beside: Option<NestedSupervisor>,
    running: Vec<Running>,
    begun: Instant,
}

/// A service that was started.
struct Running {
    service: Service,
    port: Port,
    body: ServiceBody,
    /// A message ends the program, or the container's tool.
    end: Sender<()>,
    ended: Receiver<Result<Ended, ProcessError>>,
    /// Joined after the supervisor of the service is gone, or its tool.
    thread: Thread<()>,
}

impl RunningServices {
    /// Starts all services. The nest has a supervisor for each that is a program, and one more; there is none if no
    /// service is a program.
    pub(super) fn start(
        nest: Option<(Nest, Vec<NestedSupervisor>)>,
        starts: Vec<ServiceStart>,
    ) -> Result<Self, ProcessError> {
        let (nest, mut nested) = nest.unzip();
        let mut next = || nested.as_mut().and_then(Vec::pop);
        let beside = next();
        let mut running = Vec::with_capacity(starts.len());
        let begun = clock::instant();
        for ServiceStart { service, port, mut body, output } in starts {
            let ((end, to_end), (tell, ended)) = (bounded(1), bounded(1));
            let execute: Box<dyn FnOnce() -> Result<Ended, ProcessError> + Send> = match &mut body {
                ServiceBody::Program(command) => {
                    let too_few = || ProcessError::Prepare(io::ErrorKind::InvalidInput.into());
                    let mut supervisor = next().ok_or_else(too_few)?;
                    command.timeout_ms = u64::MAX;
                    command.grace_ms = command.grace_ms.min(GRACE_MS);
                    let own = command.clone();
                    Box::new(move || supervisor.run(&own, output, &to_end, ProgressCallbacks::default()))
                }
                ServiceBody::Container(Container(container)) => {
                    let own = container.clone();
                    Box::new(move || own.run(output, &to_end))
                }
            };
            let thread = threads::spawn("service", move || drop(tell.send(execute())));
            let thread = thread.map_err(ProcessError::Prepare)?;
            running.push(Running { service, port, body, end, ended, thread });
        }
        Ok(Self { nest, beside, running, begun })
    }

    /// The supervisor for a task that is a program, if a service is one: else nothing is to be beside it.
    pub(super) fn beside(&mut self) -> Option<&mut NestedSupervisor> {
        self.beside.as_mut()
    }

    /// Waits until all services are ready. Returns the time after which each was, in milliseconds. A message on
    /// `cancel` ends the wait.
    pub(super) fn wait(&mut self, cancel: &Receiver<()>) -> (Vec<u64>, Result<(), NotReady>) {
        let mut ready = Vec::with_capacity(self.running.len());
        for at in 0..self.running.len() {
            if let Err(why) = self.wait_for(at, cancel) {
                return (ready, Err(why));
            }
            ready.push(millis(clock::instant().saturating_duration_since(self.begun)));
        }
        (ready, Ok(()))
    }

    fn wait_for(&mut self, at: usize, cancel: &Receiver<()>) -> Result<(), NotReady> {
        let timeout_ms = self.running[at].service.timeout_ms;
        let deadline = self.begun.checked_add(Duration::from_millis(timeout_ms));
        let (mut pause, mut last_try) = (FIRST_PAUSE, None);
        loop {
            let left = deadline.map_or(Duration::MAX, |it| it.saturating_duration_since(clock::instant()));
            if left.is_zero() {
                return Err(NotReady::Failed(at, ServiceFailure::NotReady { timeout_ms, last_try }));
            }
            select! {
                recv(self.running[at].ended) -> ended => return Err(self.ended_early(at, ended.ok())),
                recv(cancel) -> _ => return Err(NotReady::Cancelled),
                default(pause.min(left)) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            if self.is_ready(at, left, &mut last_try, cancel)? {
                // Another program may have its port, and the service has ended because of that.
                return match self.running[at].ended.try_recv() {
                    Ok(ended) => Err(self.ended_early(at, Some(ended))),
                    Err(_) => Ok(()),
                };
            }
        }
    }

    fn is_ready(
        &mut self,
        at: usize,
        left: Duration,
        last_try: &mut Option<i32>,
        cancel: &Receiver<()>,
    ) -> Result<bool, NotReady> {
        let Running { service, port, body, .. } = &self.running[at];
        let timeout_ms = TRY_MS.min(millis(left)).max(1);
        let command = match body {
            ServiceBody::Program(command) => command,
            ServiceBody::Container(Container(container)) => {
                let patience = Duration::from_millis(timeout_ms);
                let tried = container.try_ready(service.ready.as_ref(), patience, cancel);
                return match tried.map_err(NotReady::Lost)? {
                    Tried::Ready => Ok(true),
                    Tried::Cancelled => Err(NotReady::Cancelled),
                    Tried::NotYet(code) => {
                        *last_try = code.or(*last_try);
                        Ok(false)
                    }
                };
            }
        };
        let Some(beside) = &mut self.beside else {
            return Err(NotReady::Lost(ProcessError::SupervisorSilent));
        };
        let Some(script) = &service.ready else {
            return beside.accepts(port.number()).map_err(NotReady::Lost);
        };
        let limits = Limits::default();
        let command = Command { script: script.clone(), timeout_ms, grace_ms: 0, limits, ..(**command).clone() };
        let output =
            File::options().write(true).open("/dev/null").map_err(|it| NotReady::Lost(ProcessError::Talk(it)))?;
        let tried = beside.run(&command, output, cancel, ProgressCallbacks::default());
        match tried.map_err(NotReady::Lost)?.exit {
            Exit::Code(0) => return Ok(true),
            Exit::Code(code) => *last_try = Some(code),
            Exit::Cancelled => return Err(NotReady::Cancelled),
            Exit::CouldNotStart(why) => {
                let text = format!("its `ready`: {why}");
                return Err(NotReady::Failed(at, ServiceFailure::CouldNotStart { text }));
            }
            Exit::Signal(_) | Exit::TimedOut => {}
        }
        Ok(false)
    }

    /// Why the service at this place is not ready, if its process has ended.
    fn ended_early(&self, at: usize, ended: Option<Result<Ended, ProcessError>>) -> NotReady {
        let ended =
            ended.unwrap_or(Err(ProcessError::SupervisorSilent)).and_then(|ended| match &self.running[at].body {
                ServiceBody::Program(_) => Ok(ended),
                ServiceBody::Container(Container(container)) => container.ended_early(ended),
            });
        match ended {
            Ok(ended) => match failure_of(ended.exit) {
                Some(failure) => NotReady::Failed(at, failure),
                None => NotReady::Cancelled,
            },
            Err(error) => NotReady::Lost(error),
        }
    }

    /// Ends all services: programs with TERM first if `gently`, containers at once. Returns the failure of each that
    /// had ended by itself, when nothing of them is left.
    pub(super) fn end(self, gently: bool) -> Result<Vec<Option<ServiceFailure>>, ProcessError> {
        let Self { nest, beside, running, .. } = self;
        drop(beside);
        let failures = running.iter().map(|it| it.ended.try_recv().ok().and_then(Result::ok)).collect::<Vec<_>>();
        let failures = failures.into_iter().map(|ended| ended.and_then(|ended| failure_of(ended.exit))).collect();
        // All at once: a tool may take its time. One whose thread does not start is removed when it is dropped.
        let containers = running.iter().filter_map(|service| match &service.body {
            ServiceBody::Program(_) => None,
            ServiceBody::Container(Container(container)) => Some(container.clone()),
        });
        let removals: Vec<_> = containers
            .filter_map(|container| threads::spawn("image-remove", move || container.remove()).ok())
            .collect();
        if gently {
            for service in running.iter().filter(|service| service.is_program()) {
                // A service that has ended takes no message.
                let _ = service.end.try_send(());
            }
            for service in running.iter().filter(|service| service.is_program()) {
                // A service that has told its end already has hung up.
                drop(service.ended.recv());
            }
        }
        removals.into_iter().for_each(|removal| drop(removal.join()));
        let goodbye = clock::instant() + GOODBYE;
        for service in running.iter().filter(|service| !service.is_program()) {
            // A tool that has ended takes no message, and one that hangs is ended.
            drop(service.ended.recv_deadline(goodbye));
            let _ = service.end.try_send(());
        }
        let ended = nest.map_or(Ok(()), Nest::end);
        // Their supervisors and tools are gone, so the threads end.
        running.into_iter().for_each(|service| drop(service.thread.join()));
        ended.map(|()| failures)
    }
}

impl Running {
    fn is_program(&self) -> bool {
        matches!(self.body, ServiceBody::Program(_))
    }
}

/// Returns the failure of a service that ended by itself.
fn failure_of(exit: Exit) -> Option<ServiceFailure> {
    match exit {
        Exit::Code(exit_code) => Some(ServiceFailure::ExitCode { exit_code }),
        Exit::Signal(signal) => Some(ServiceFailure::Signal { signal }),
        Exit::CouldNotStart(text) => Some(ServiceFailure::CouldNotStart { text }),
        Exit::TimedOut | Exit::Cancelled => None,
    }
}

/// Returns the last lines of an output whose end this is, as one line each for people.
#[must_use]
pub fn last_lines(end: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(end);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut last: Vec<String> =
        lines.rev().take(MAX_LAST_LINES).map(|line| visible(line).chars().take(MAX_LINE_CHARS).collect()).collect();
    last.reverse();
    last
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_log_are_few_short_and_visible() {
        let long = "x".repeat(500);
        let text = format!("one\ntwo\n\n\u{1b}[31mred\r\n{long}\n  \nlast");
        let wanted = ["\u{fffd}[31mred", &long[..200], "last"];
        assert_eq!(last_lines(text.as_bytes()), wanted);
        assert_eq!(last_lines(b"\n \n"), Vec::<String>::new());
        assert_eq!(last_lines(b"\xff"), ["\u{fffd}"]);
    }
}
