//! The conversation of the runner with one supervising process that is ready: it sends orders, a thread takes reports,
//! and the silence of the other side is noticed.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, after, bounded};

use super::command::LASTING;
use super::groups::{Groups, Leaf};
use super::messages::{self, Order, Report};
use super::{Command, Ended, Exit, Guard, ProcessError, ProgressCallbacks};
use crate::clock;
use crate::model::Isolation;
use crate::threads::{self, Thread};

/// Time in which a supervising process must be ready, or take a message.
pub(super) const START_PATIENCE: Duration = Duration::from_secs(10);

/// Time after the grace of a cancelled command in which the supervising process must report. Longer than its sweep
/// takes at most, and short enough that everything is over five seconds after the grace.
const CANCEL_PATIENCE: Duration = Duration::from_millis(2_500);

/// Like [`CANCEL_PATIENCE`], for a timeout. It is longer, because no one waits for it.
const TIMEOUT_PATIENCE: Duration = Duration::from_secs(30);

/// Additional time for a report that came while this process itself was stopped.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// Reports in the channel. A supervising process sends two for each command, and no others.
const REPORTS_CAPACITY: usize = 4;

/// A conversation. Dropping it closes the socket, which ends the supervising process.
pub(super) struct Conversation {
    pub(super) socket: UnixStream,
    /// Disconnected once the process has closed its end. Declared before the reader, which waits for room in the
    /// channel until the receiver is gone.
    reports: Receiver<Report>,
    /// The callback for the start of the command's process.
    started: Arc<StartCallback>,
    _reader: Thread<()>,
}

type Tell = Box<dyn FnOnce() + Send>;
type StartCallback = Mutex<Option<Tell>>;

impl Conversation {
    /// Begins the conversation over this socket. The thread that takes reports calls `start` first, and its result is
    /// returned; an error ends the thread.
    pub(super) fn begin<T: Send + 'static>(
        socket: UnixStream,
        start: impl FnOnce() -> Result<T, ProcessError> + Send + 'static,
    ) -> Result<(Self, T), ProcessError> {
        socket.set_write_timeout(Some(START_PATIENCE)).map_err(ProcessError::Prepare)?;
        let reading = socket.try_clone().map_err(ProcessError::Prepare)?;
        let (to_us, reports) = bounded(REPORTS_CAPACITY);
        let (made, making) = bounded(1);
        let started = Arc::new(StartCallback::default());
        let to_call = started.clone();
        let reader = threads::spawn("supervisor", move || {
            let begun = start();
            let is_there = begun.is_ok();
            // The starting thread waits for this message.
            drop(made.send(begun));
            if is_there {
                read_reports(&reading, &to_us, &to_call);
            }
        });
        let reader = reader.map_err(ProcessError::Prepare)?;
        let begun = making.recv().map_err(|_| ProcessError::Prepare(io::ErrorKind::BrokenPipe.into()))??;
        Ok((Self { socket, reports, started, _reader: reader }, begun))
    }

    /// Makes the supervising process enter its tier.
    pub(super) fn greet(&self, isolation: Isolation, guard: Option<Arc<Guard>>) -> Result<(), ProcessError> {
        messages::send(&self.socket, &Order::Serve(isolation, guard).encode()).map_err(ProcessError::Talk)?;
        match self.next_report()? {
            Report::Ready => Ok(()),
            Report::Refused(errno) => {
                Err(ProcessError::Isolate { isolation, source: io::Error::from_raw_os_error(errno) })
            }
            other @ (Report::Started | Report::Ended(_) | Report::NotStarted(_) | Report::Remaining(_)) => {
                Err(ProcessError::Unexpected { report: format!("{other:?}") })
            }
        }
    }

    /// Waits for the answer to an order that is carried out at once.
    pub(super) fn next_report(&self) -> Result<Report, ProcessError> {
        self.reports.recv_timeout(START_PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => ProcessError::SupervisorSilent,
            RecvTimeoutError::Disconnected => ProcessError::SupervisorEnded { how: String::new() },
        })
    }

    /// Whether the process has ended, or has sent a report without an order.
    pub(super) fn is_gone(&self) -> bool {
        !matches!(self.reports.try_recv(), Err(TryRecvError::Empty))
    }

    /// Wakes the reader, and tells the supervising process that it is not needed.
    pub(super) fn hang_up(&self) {
        drop(self.socket.shutdown(std::net::Shutdown::Both));
    }

    /// Executes a command, in a control group of its own if it has limits and there are groups.
    pub(super) fn execute(
        &self,
        groups: Option<&Arc<Groups>>,
        command: &Command,
        output: File,
        cancel: &Receiver<()>,
        progress: ProgressCallbacks<'_>,
    ) -> Result<Ended, ProcessError> {
        if !matches!(cancel.try_recv(), Err(TryRecvError::Empty)) {
            return Ok(Ended::before_start(Exit::Cancelled));
        }
        let groups = groups.filter(|_| !command.limits.is_empty());
        let group = groups.map(|groups| groups.make(command.limits)).transpose();
        let group = group.map_err(ProcessError::StartCommand)?;
        let rest = groups.map_or(command.limits, |groups| command.limits.without(groups.controllers()));
        let message = messages::encode_run(command, rest);
        if message.len() > messages::MAX_MESSAGE_BYTES {
            let why = "the command and its environment are too long".into();
            return Ok(Ended::before_start(Exit::CouldNotStart(why)));
        }
        let mut ended = self.run(command, &message, (output, group.as_ref()), cancel, progress)?;
        let has_user_namespace = command.view.as_ref().is_some_and(|view| view.guard.user_namespace);
        ended.enforcement.gaps = rest.gaps(has_user_namespace, rustix::process::geteuid().is_root());
        ended.enforcement.is_over_memory |= group.is_some_and(|group| group.is_over_memory());
        Ok(ended)
    }

    fn run(
        &self,
        command: &Command,
        message: &[u8],
        (output, group): (File, Option<&Leaf>),
        cancel: &Receiver<()>,
        mut progress: ProgressCallbacks<'_>,
    ) -> Result<Ended, ProcessError> {
        // Set before the order leaves: the reader may get the report of the start at once.
        *threads::lock(&self.started) = Some(progress.started.take().unwrap_or_else(|| Box::new(|| ())));
        let descriptors: Vec<_> =
            [&output].into_iter().chain(group.map(|group| &group.processes)).map(AsFd::as_fd).collect();
        messages::send_with(&self.socket, message, &descriptors).map_err(ProcessError::Talk)?;
        drop(descriptors);
        // A copy that stays open here would hide the end of the output from its reader.
        drop(output);
        let grace = Duration::from_millis(command.grace_ms);
        let whole = Duration::from_millis(command.timeout_ms).saturating_add(grace).saturating_add(TIMEOUT_PATIENCE);
        let mut deadline = clock::instant().checked_add(whole);
        let mut is_last_wait = false;
        let never = crossbeam_channel::never();
        let mut cancel = cancel;
        let mut also_cancel = progress.also_cancel.unwrap_or(&never);
        let mut lasts = progress.lasting.as_ref().map_or_else(crossbeam_channel::never, |_| after(LASTING));
        loop {
            let too_late = deadline.map_or_else(crossbeam_channel::never, crossbeam_channel::at);
            crossbeam_channel::select! {
                recv(self.reports) -> report => match report {
                    Ok(report) => return answer(report),
                    Err(_) => return Err(ProcessError::SupervisorEnded { how: String::new() }),
                },
                // A message or a disconnection; both mean the same.
                recv(cancel) -> _ => {
                    // A channel that is disconnected would be ready in every round.
                    cancel = &never;
                    deadline = self.cancel(deadline, grace)?;
                },
                recv(also_cancel) -> message => {
                    also_cancel = &never;
                    if message.is_ok() {
                        deadline = self.cancel(deadline, grace)?;
                    }
                },
                recv(lasts) -> _ => {
                    lasts = crossbeam_channel::never();
                    if let Some(lasting) = progress.lasting.take() {
                        lasting();
                    }
                },
                recv(too_late) -> _ => {
                    if is_last_wait {
                        return Err(ProcessError::SupervisorSilent);
                    }
                    // The report may be there already, if this process was stopped past the deadline.
                    is_last_wait = true;
                    deadline = clock::instant().checked_add(LAST_WAIT);
                },
            }
        }
    }

    /// Orders the end of the running command. Returns the time by which its end must be reported.
    fn cancel(&self, deadline: Option<Instant>, grace: Duration) -> Result<Option<Instant>, ProcessError> {
        messages::send(&self.socket, &Order::Cancel.encode()).map_err(ProcessError::Talk)?;
        let sooner = clock::instant().checked_add(grace.saturating_add(CANCEL_PATIENCE));
        Ok(deadline.into_iter().chain(sooner).min())
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// Returns the end of a command, or why there is none.
pub(super) fn answer(report: Report) -> Result<Ended, ProcessError> {
    match report {
        Report::Ended(ended) => Ok(ended),
        Report::NotStarted(errno) => Err(ProcessError::StartCommand(io::Error::from_raw_os_error(errno))),
        Report::Remaining(count) => Err(ProcessError::Remaining { count }),
        Report::Ready | Report::Refused(_) | Report::Started => {
            Err(ProcessError::Unexpected { report: format!("{report:?}") })
        }
    }
}

fn read_reports(socket: &UnixStream, to: &Sender<Report>, started: &StartCallback) {
    loop {
        match messages::receive_report(socket) {
            Ok(Some(report)) => {
                // Taken by any report, so that the callback of a command that did not start is never called.
                let waits = threads::lock(started).take();
                match (report, waits) {
                    // Called from here, so that no thread wakes only to pass it on.
                    (Report::Started, Some(tell)) => tell(),
                    (report, _) => {
                        if to.send(report).is_err() {
                            return;
                        }
                    }
                }
            }
            Ok(None) => return,
            Err(error) => {
                log::debug!("the supervisor's socket failed: {error}");
                return;
            }
        }
    }
}
