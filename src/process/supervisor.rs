//! The runner's side of a slot's supervising process: starts it, gives it commands, and notices when it fails.
//!
//! The runner never waits for a command's process itself. If the supervising process dies or falls silent, it is
//! killed, and the processes that it leaves are killed from here. A small thread turns its reports into messages. The
//! same thread starts it, because the kernel's signal about a parent's death follows the thread that was the parent.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, after, bounded};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::child::{start_child, wait};
use super::command::LASTING;
use super::groups::{Groups, Leaf};
use super::messages::{self, Order, Report};
use super::{Command, Ended, Exit, Guard, ProcessError, ProgressCallbacks, isolation, sweep, table};
use crate::clock;
use crate::model::Isolation;
use crate::threads::{self, Thread};

/// Time in which a supervising process must be ready, or take a message.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Time after the grace of a cancelled command in which the supervising process must report. Longer than its sweep
/// takes at most, and short enough that everything is over five seconds after the grace.
const CANCEL_PATIENCE: Duration = Duration::from_millis(2_500);

/// Like [`CANCEL_PATIENCE`], for a timeout. It is longer, because no one waits for it.
const TIMEOUT_PATIENCE: Duration = Duration::from_secs(30);

/// Additional time for a report that came while this process itself was stopped.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// Length of one round of waiting for an end. Rounds are counted, so that a machine that stood still loses one round.
const ROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Rounds in which a supervising process must end after its socket has closed. It needs none unless it has to sweep.
const GOODBYE_ROUNDS: u32 = 60;

/// Rounds in which a killed supervising process, and in a PID namespace everything in it, must be gone.
const KILL_ROUNDS: u32 = 30;

/// Reports in the channel. A supervising process sends two for each command, and no others.
const REPORTS_CAPACITY: usize = 4;

/// A slot's supervising process, started on first use and kept for the next command.
pub struct Supervisor {
    program: PathBuf,
    isolation: Isolation,
    kept_open: Option<Arc<File>>,
    groups: Option<Arc<Groups>>,
    /// `None` until first used, and after a failure.
    process: Option<Process>,
}

impl Supervisor {
    /// A supervisor that will be started by executing `program` with the hidden subcommand `supervise`.
    ///
    /// With [`Isolation::Subreaper`] this process becomes a subreaper as well, so that it can end the orphans of a
    /// supervising process that died: its own children of another session. Everything else that this process starts
    /// must stay in its session.
    pub fn new(program: PathBuf, isolation: Isolation) -> Self {
        if isolation == Isolation::Subreaper
            && let Err(error) = isolation::become_subreaper()
        {
            log::warn!("what a killed supervisor leaves cannot be ended: {error}");
        }
        Self { program, isolation, kept_open: None, groups: None, process: None }
    }

    /// Makes the supervising process keep this file open to its end. If the file is locked (flock(2)), another process
    /// can wait until no process of a killed runner is left.
    #[must_use]
    pub fn keeping_open(mut self, file: Arc<File>) -> Self {
        self.kept_open = Some(file);
        self
    }

    /// Makes commands with limits run in control groups of their own.
    #[must_use]
    pub fn limited_by(mut self, groups: Option<Arc<Groups>>) -> Self {
        self.groups = groups;
        self
    }

    /// The process id of the supervising process, if one is running.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.pid.as_raw_nonzero().get().cast_unsigned())
    }

    /// Starts the command with `output` as its stdout and stderr, and waits until it and all its descendants are gone.
    /// A message on `cancel`, or its disconnection, ends the command. The death of the supervising process is an error;
    /// the next call starts a new one.
    pub fn run(
        &mut self,
        command: &Command,
        output: File,
        cancel: &Receiver<()>,
        progress: ProgressCallbacks<'_>,
    ) -> Result<Ended, ProcessError> {
        if !matches!(cancel.try_recv(), Err(TryRecvError::Empty)) {
            return Ok(Ended::before_start(Exit::Cancelled));
        }
        let groups = self.groups.clone().filter(|_| !command.limits.is_empty());
        let group = groups.as_ref().map(|groups| groups.make(command.limits)).transpose();
        let group = group.map_err(ProcessError::StartCommand)?;
        let rest = groups.map_or(command.limits, |groups| command.limits.without(groups.controllers()));
        let message = messages::encode_run(command, rest);
        if message.len() > messages::MAX_MESSAGE_BYTES {
            let why = "the command and its environment are too long".into();
            return Ok(Ended::before_start(Exit::CouldNotStart(why)));
        }
        let process = self.ready_process(command.view.as_ref().map(|view| &view.guard))?;
        match process.run(command, &message, (output, group.as_ref()), cancel, progress) {
            Ok(mut ended) => {
                let has_user_namespace = command.view.as_ref().is_some_and(|view| view.guard.user_namespace);
                ended.enforcement.gaps = rest.gaps(has_user_namespace, rustix::process::geteuid().is_root());
                ended.enforcement.is_over_memory |= group.is_some_and(|group| group.is_over_memory());
                Ok(ended)
            }
            // No command runs, and the supervising process is sound.
            Err(error @ ProcessError::StartCommand(_)) => Err(error),
            Err(error) => Err(match self.process.take() {
                Some(process) => process.give_up(error),
                None => error,
            }),
        }
    }

    /// Starts a supervising process with this guard, to see whether the kernel lets it.
    pub fn try_guard(&mut self, guard: &Arc<Guard>) -> Result<(), ProcessError> {
        self.ready_process(Some(guard)).map(drop)
    }

    /// Returns the supervising process that runs and has this guard, or starts one.
    fn ready_process(&mut self, guard: Option<&Arc<Guard>>) -> Result<&mut Process, ProcessError> {
        if self.process.as_ref().is_some_and(Process::is_gone)
            && let Some(process) = self.process.take()
        {
            // Not `WhenIdle`: only a supervisor that counts as killed has its orphans ended.
            log::warn!("the supervisor ended while idle ({}); another one starts", process.end(End::AtOnce)?);
        }
        if self.process.as_ref().is_some_and(|process| process.guard.as_ref() != guard)
            && let Some(process) = self.process.take()
        {
            process.end(End::WhenIdle)?;
        }
        let process = match self.process.take() {
            Some(process) => process,
            None => {
                let isolation = guard.map_or(self.isolation, |guard| guard.isolation(self.isolation));
                Process::start(&self.program, isolation, guard.cloned(), self.kept_open.as_deref())?
            }
        };
        Ok(self.process.insert(process))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(process) = self.process.take()
            && let Err(error) = process.end(End::WhenIdle)
        {
            log::warn!("could not end a supervisor: {error}");
        }
    }
}

/// The ways of ending a supervising process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its socket is closed: it is no longer needed.
    WhenIdle,
    /// It has failed: it is killed, together with its orphans.
    AtOnce,
}

/// A supervising process that has reported that it is ready.
struct Process {
    isolation: Isolation,
    guard: Option<Arc<Guard>>,
    socket: UnixStream,
    pid: Pid,
    /// A descriptor of the same process, to wait for its end with a deadline.
    handle: OwnedFd,
    /// Its time of birth, in the kernel's clock ticks.
    born: u64,
    /// Disconnected once the process has closed its end.
    reports: Receiver<Report>,
    /// The callback for the start of the command's process.
    started: Arc<StartCallback>,
    reader: Thread<()>,
}

type Tell = Box<dyn FnOnce() + Send>;
type StartCallback = Mutex<Option<Tell>>;

impl Process {
    fn start(
        program: &Path,
        isolation: Isolation,
        guard: Option<Arc<Guard>>,
        kept_open: Option<&File>,
    ) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::StartSupervisor { program: program.into(), source };
        let kept_open = kept_open.map(File::try_clone).transpose().map_err(failed)?;
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        socket.set_write_timeout(Some(START_PATIENCE)).map_err(failed)?;
        let (to_us, reports) = bounded(REPORTS_CAPACITY);
        let (born, birth) = bounded(1);
        let reading = socket.try_clone().map_err(failed)?;
        let executable = program.to_owned();
        let in_user_namespace = guard.as_ref().is_some_and(|guard| guard.user_namespace);
        let started = Arc::new(StartCallback::default());
        let to_call = started.clone();
        let reader = threads::spawn("supervisor", move || {
            let child = start_child(&executable, isolation, in_user_namespace, theirs, kept_open);
            let is_there = child.is_ok();
            // The starting thread waits for this message.
            drop(born.send(child));
            if is_there {
                read_reports(&reading, &to_us, &to_call);
            }
        })
        .map_err(failed)?;
        let pid = birth.recv().map_err(|_| failed(io::ErrorKind::BrokenPipe.into()))??;
        let handle = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(errno) => {
                // It has no children before `Serve`, so nothing is left behind.
                drop(
                    rustix::process::kill_process(pid, Signal::KILL).map_err(io::Error::from).and_then(|()| wait(pid)),
                );
                return Err(failed(errno.into()));
            }
        };
        // Without a time of birth (0), every child in another session counts as an orphan.
        let born = table::read(pid.as_raw_nonzero().get()).map_or(0, |entry| entry.born);
        let process = Self { isolation, guard, socket, pid, handle, born, reports, started, reader };
        match process.greet() {
            Ok(()) => Ok(process),
            Err(error) => Err(process.give_up(error)),
        }
    }

    fn greet(&self) -> Result<(), ProcessError> {
        let order = Order::Serve(self.isolation, self.guard.clone());
        messages::send(&self.socket, &order.encode()).map_err(ProcessError::Talk)?;
        match self.reports.recv_timeout(START_PATIENCE) {
            Ok(Report::Ready) => Ok(()),
            Ok(Report::Refused(errno)) => {
                let source = io::Error::from_raw_os_error(errno);
                Err(ProcessError::Isolate { isolation: self.isolation, source })
            }
            Ok(other) => Err(ProcessError::Unexpected { report: format!("{other:?}") }),
            Err(RecvTimeoutError::Timeout) => Err(ProcessError::SupervisorSilent),
            Err(RecvTimeoutError::Disconnected) => Err(ProcessError::SupervisorEnded { how: String::new() }),
        }
    }

    /// Whether the process has ended, or has sent a report without an order.
    fn is_gone(&self) -> bool {
        !matches!(self.reports.try_recv(), Err(TryRecvError::Empty))
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

    /// Ends the process after a failure. Returns the error that led here, or a worse one if some process could not be
    /// ended.
    fn give_up(self, error: ProcessError) -> ProcessError {
        match (self.end(End::AtOnce), error) {
            (Err(worse), _) => worse,
            (Ok(how), ProcessError::SupervisorEnded { .. }) => ProcessError::SupervisorEnded { how },
            (Ok(_), error) => error,
        }
    }

    /// Ends the process and everything below it. Returns how it ended, in words.
    fn end(self, how: End) -> Result<String, ProcessError> {
        // This wakes the reader, and tells the supervising process that it is not needed.
        drop(self.socket.shutdown(std::net::Shutdown::Both));
        let is_killed = how == End::AtOnce || !self.ends_within(GOODBYE_ROUNDS);
        if is_killed {
            // An error means that it has ended already.
            let _ = rustix::process::pidfd_send_signal(&self.handle, Signal::KILL);
        }
        let status = match self.ends_within(KILL_ROUNDS).then(|| wait(self.pid)) {
            Some(Ok(status)) => Ok(status.to_string()),
            Some(Err(error)) => Err(ProcessError::Talk(error)),
            // In a PID namespace it is gone only after everything in it.
            None => Err(ProcessError::Remaining { count: 1 }),
        };
        // In this order: a reader that waits for room in the channel ends only when the receiver is gone.
        drop(self.reports);
        drop(self.reader);
        // The orphans become children of this process when their supervising process ends, so not before.
        if self.isolation == Isolation::Subreaper && is_killed {
            sweep::end_orphans(self.born).map_err(|sweep::Remaining(count)| ProcessError::Remaining { count })?;
        }
        status
    }

    fn ends_within(&self, rounds: u32) -> bool {
        (0..rounds).any(|_| {
            let mut polled = [PollFd::new(&self.handle, PollFlags::IN)];
            // A signal may cut the round short.
            rustix::event::poll(&mut polled, Some(&ROUND)).is_ok_and(|count| count > 0)
        })
    }
}

fn answer(report: Report) -> Result<Ended, ProcessError> {
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
