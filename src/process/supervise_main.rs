//! The supervising process: the body of the hidden subcommand.
//!
//! Executes one command after the other, ordered over its stdin, a socket, and reports an end only when no process of
//! the command is left. If the socket closes, the runner is gone, and everything ends at once. It has one thread and
//! keeps nothing between commands. It must stay small, because there is one for each slot. In place of commands it can
//! have further processes of its kind below it (`nest`). Never prints: errors are reported.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use landlock::RulesetCreated;
use rustix::event::{PollFd, Timespec};
use rustix::io::Errno;
use rustix::process::Pid;
use signal_hook::consts::signal::*;

use super::fence::Fence;
use super::messages::{self, Order, Report};
use super::mounts::Mounts;
use super::sweep::{Family, Remaining};
use super::{Command, Ended, Enforcement, Exit, Guard, ProcessError, View, fence, isolation, kernel, launch};
use crate::clock;
use crate::model::Isolation;

/// Signals that a terminal, a service manager or a task may send and that must not end this process, and signals that
/// the runner's parent may have left ignored. They are handled, not ignored, because a handler does not survive exec,
/// so commands start with the default action of each. (The standard library resets PIPE.)
const HANDLED_SIGNALS: [i32; 13] = [
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGTSTP, SIGTTIN, SIGTTOU, SIGXCPU, SIGXFSZ, SIGWINCH,
];

/// Retries of a program that is still open for writing (ETXTBSY). The error soon passes if only a fork in another
/// process holds the descriptor.
const BUSY_TRIES: u32 = 20;
/// Pause between two of these retries.
const BUSY_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// The time after the start of a command at which its memory is first looked at. Each pause until the next look is
/// twice as long, because most commands are short, and a long one needs no more than a few looks a minute.
const FIRST_LOOK: Duration = Duration::from_millis(50);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The longest pause if the looks enforce a limit.
const LIMITED_PAUSE: Duration = Duration::from_millis(200);

/// A command that is over sooner counts as short. Nobody waits for the news that it has started, and the runner has a
/// good part of its work with that.
const SHORT: Duration = Duration::from_millis(3);

/// Time in which a listening socket of this machine takes a connection, unless its queue is full.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// The body of the hidden subcommand: executes the commands that come over its stdin (a socket) until it closes.
pub fn supervise() -> Result<(), ProcessError> {
    let socket = take_socket().map_err(ProcessError::Prepare)?;
    let child_news = handle_signals().map_err(ProcessError::Prepare)?;
    let (isolation, guard) = match messages::receive_order(&socket).map_err(ProcessError::Talk)? {
        None => return Ok(()),
        Some((Order::Serve(isolation, guard), _)) => (isolation, guard),
        Some(_) => return Err(out_of_turn()),
    };
    let guarding = match prepare(isolation, guard.as_deref()) {
        Ok(guarding) => guarding,
        Err(source) => {
            report(&socket, &Report::Refused(source.raw_os_error().unwrap_or(0)))?;
            return Err(ProcessError::Isolate { isolation, source });
        }
    };
    report(&socket, &Report::Ready)?;
    serve(&socket, Family::new(isolation, child_news), guarding)
}

fn serve(socket: &UnixStream, mut family: Family, mut guarding: Option<Guarding>) -> Result<(), ProcessError> {
    loop {
        match messages::receive_order(socket).map_err(ProcessError::Talk)? {
            None => return Ok(()),
            // The command ended before this order arrived.
            Some((Order::Cancel, _)) => {}
            Some((Order::Run(command), descriptors)) => {
                let mut descriptors = descriptors.into_iter();
                let output = descriptors.next().ok_or_else(out_of_turn)?;
                if !run(socket, &mut family, guarding.as_mut(), &command, (output, descriptors.next()))? {
                    return Ok(());
                }
            }
            Some((Order::Nest(view), sockets)) => {
                return nest(socket, &mut family, guarding.as_mut(), view.as_ref(), sockets);
            }
            Some((Order::Probe(port), _)) => {
                let exit = Exit::Code((!accepts(port)).into());
                report(socket, &Report::Ended(Ended::before_start(exit)))?;
            }
            Some((Order::Serve(..), _)) => return Err(out_of_turn()),
        }
    }
}

/// Starts a process of this kind for each socket, below this one. Waits until the runner closes its own, and ends
/// everything.
fn nest(
    socket: &UnixStream,
    family: &mut Family,
    guarding: Option<&mut Guarding>,
    view: Option<&View>,
    sockets: Vec<OwnedFd>,
) -> Result<(), ProcessError> {
    let shown = match (guarding, view) {
        (Some(Guarding::Mounts(mounts)), Some(view)) => mounts.show(view),
        // Under Landlock each process confines its own commands.
        _ => Ok(()),
    };
    let answer = match shown.and_then(|()| start_nested(&sockets)) {
        Ok(()) => Report::Started,
        Err(error) => Report::NotStarted(error.raw_os_error().unwrap_or(0)),
    };
    // Only the processes below have them now, so that the runner sees the end of each.
    drop(sockets);
    let waited = report(socket, &answer).and_then(|()| wait_for_end(socket, family));
    if let Err(Remaining(count)) = family.sweep() {
        report(socket, &Report::Remaining(count))?;
        return Err(ProcessError::Remaining { count });
    }
    waited
}

fn start_nested(sockets: &[OwnedFd]) -> io::Result<()> {
    let output = File::options().write(true).open("/dev/null")?.into();
    let image = launch::supervisor()?;
    sockets.iter().try_for_each(|socket| Ok(kernel::start_with_input(&image, socket, &output).map(drop)?))
}

/// Waits until the runner closes its socket, or is gone.
fn wait_for_end(socket: &UnixStream, family: &mut Family) -> Result<(), ProcessError> {
    loop {
        let to_read = family.wait(socket, None).map_err(ProcessError::Talk)?;
        family.reap();
        if to_read {
            return match messages::receive_order(socket).map_err(ProcessError::Talk)? {
                None => Ok(()),
                Some(_) => Err(out_of_turn()),
            };
        }
    }
}

/// Whether a process takes connections on this port of the loopback interface.
fn accepts(port: u16) -> bool {
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].into_iter().any(|address| {
        let connected = TcpStream::connect_timeout(&(address, port).into(), PROBE_PATIENCE);
        // If nobody listens, the kernel may choose this very port for the connection, which then is one to itself.
        connected.is_ok_and(|stream| stream.local_addr().ok() != stream.peer_addr().ok())
    })
}

/// Moves the socket from stdin to another descriptor, and makes stdin empty.
fn take_socket() -> io::Result<UnixStream> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(socket.into())
}

/// Handles the signals that must not end this process. The returned socket becomes readable when a child ends.
fn handle_signals() -> io::Result<UnixStream> {
    let (news, notify) = UnixStream::pair()?;
    news.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, notify)?;
    let ignored = Arc::new(AtomicBool::new(false));
    for signal in HANDLED_SIGNALS {
        signal_hook::flag::register(signal, Arc::clone(&ignored))?;
    }
    Ok(news)
}

fn prepare(isolation: Isolation, guard: Option<&Guard>) -> io::Result<Option<Guarding>> {
    // A process keeps its current directory busy; `/` always is.
    std::env::set_current_dir("/")?;
    kernel::close_all_on_exec()?;
    isolation::enter(isolation)?;
    let Some(guard) = guard else { return Ok(None) };
    let by_landlock = || Fence::new(guard).map(Guarding::Landlock);
    let guarding = if guard.by_landlock { by_landlock() } else { Mounts::enter(guard).map(Guarding::Mounts) };
    guarding.map(Some)
}

/// The means by which commands are guarded.
enum Guarding {
    /// This process sees them too.
    Mounts(Mounts),
    /// Each command enters it by itself.
    Landlock(Fence),
}

impl Guarding {
    /// Prepares the view of the next command. Returns the rules that it has to enter by itself.
    fn show(&mut self, view: &View) -> io::Result<Option<RulesetCreated>> {
        match self {
            Self::Mounts(mounts) => mounts.show(view).map(|()| None),
            Self::Landlock(fence) => fence.rules(view).map(Some),
        }
    }

    /// Empties what a command left in memory.
    fn clear(&self) -> io::Result<()> {
        if let Self::Mounts(mounts) = self { mounts.clear() } else { Ok(()) }
    }
}

/// Executes one command, in this control group. Returns false if the runner vanished meanwhile.
fn run(
    socket: &UnixStream,
    family: &mut Family,
    mut guarding: Option<&mut Guarding>,
    command: &Command,
    (output, group): (OwnedFd, Option<OwnedFd>),
) -> Result<bool, ProcessError> {
    let rules = match (&mut guarding, &command.view) {
        (Some(guarding), Some(view)) => guarding.show(view),
        (None, _) | (_, None) => Ok(None),
    };
    let rules = match rules {
        Ok(rules) => rules,
        Err(error) => {
            return report(socket, &Report::NotStarted(error.raw_os_error().unwrap_or(0))).map(|()| true);
        }
    };
    let running = match start(command, &output, group.as_ref(), rules.as_ref()) {
        Ok(running) => running,
        Err(answer) => return report(socket, &answer).map(|()| true),
    };
    // Only the command holds its output now.
    drop((output, group));
    family.adopt(running.leader);
    // A command that could end the runner is told of at once, so that its attempts are counted.
    let is_kept_apart = guarding.is_some() || family.isolation() == Isolation::PidNamespace;
    let told_at = running.started.checked_add(SHORT).filter(|_| is_kept_apart);
    let told = told_at.map_or_else(|| report(socket, &Report::Started), |_| Ok(()));
    let watched = told.and_then(|()| running.watch(socket, family, told_at));
    // An error of the watch is returned only after the sweep, so that no process is left behind it.
    let leftovers = match family.sweep() {
        Ok(leftovers) => leftovers,
        Err(Remaining(count)) => {
            report(socket, &Report::Remaining(count))?;
            return Err(ProcessError::Remaining { count });
        }
    };
    let watched = watched?;
    if let Some(guarding) = guarding {
        guarding.clear().map_err(ProcessError::Prepare)?;
    }
    // The sweep has ended the leader too.
    let leader_end = family.leader_end().ok_or_else(out_of_turn)?;
    let is_over_memory = matches!(watched, WatchEnd::OverMemory);
    let exit = match watched {
        WatchEnd::RunnerGone => return Ok(false),
        WatchEnd::EndedByItself => exit_of(leader_end.status),
        WatchEnd::Stopped(exit) => exit,
        WatchEnd::OverMemory => Exit::Signal(SIGKILL),
    };
    let enforcement = Enforcement { is_over_memory, gaps: Vec::new() };
    let duration_ms = millis(leader_end.at.saturating_duration_since(running.started));
    report(socket, &Report::Ended(Ended { exit, duration_ms, leftovers, usage: family.usage(), enforcement }))?;
    Ok(true)
}

/// Starts the command's process, or returns the report of why it did not start.
fn start(
    command: &Command,
    output: &OwnedFd,
    group: Option<&OwnedFd>,
    rules: Option<&RulesetCreated>,
) -> Result<Running, Report> {
    let could_not = |why| Report::Ended(Ended::before_start(Exit::CouldNotStart(why)));
    let image = launch::prepare(command).map_err(could_not)?;
    // Limits of memory last, because the rest needs some.
    let enter = || rules.map_or(Ok(()), fence::enter).and_then(|()| command.limits.enter(group.map(AsFd::as_fd)));
    let is_confined = rules.is_some() || group.is_some() || !command.limits.is_empty();
    let confine = is_confined.then_some(&enter as &dyn Fn() -> io::Result<()>);
    let mut tries = BUSY_TRIES;
    loop {
        // Read before the start, so that no command takes longer than its reported duration.
        let started = clock::instant();
        let errno = match kernel::start(&image, &command.directory, output, confine) {
            Ok(leader) => {
                let times_out = started.checked_add(Duration::from_millis(command.timeout_ms));
                let grace = Duration::from_millis(command.grace_ms);
                let memory = command.limits.memory_bytes;
                return Ok(Running { leader, started, times_out, grace, memory });
            }
            Err(errno) => errno,
        };
        if errno == Errno::TXTBSY && tries > 0 {
            tries -= 1;
            // A pure pause; a signal may cut it short.
            let _ = rustix::event::poll(&mut [] as &mut [PollFd<'_>; 0], Some(&BUSY_PAUSE));
            continue;
        }
        return Err(launch::explain(command, errno).map_or(Report::NotStarted(errno.raw_os_error()), could_not));
    }
}

/// Why the watch over a running command is over.
enum WatchEnd {
    /// The leader ended, and nothing here had asked it to.
    EndedByItself,
    /// The command was told to end, for this reason: its leader has ended, or its grace is over.
    Stopped(Exit),
    /// Its processes have more memory than they may have.
    OverMemory,
    /// The socket closed.
    RunnerGone,
}

/// A command whose process runs.
struct Running {
    /// The process that was started; the leader of its session.
    leader: Pid,
    started: Instant,
    /// `None`: never.
    times_out: Option<Instant>,
    grace: Duration,
    /// The most memory that its processes may have together, if nothing else takes care of that.
    memory: Option<u64>,
}

impl Running {
    /// Waits until the leader has ended or its grace is over. Tells the runner of the start at `told_at`, if the leader
    /// has not ended by then.
    fn watch(
        &self,
        socket: &UnixStream,
        family: &mut Family,
        mut told_at: Option<Instant>,
    ) -> Result<WatchEnd, ProcessError> {
        let mut stopped = None;
        let mut deadline = self.times_out;
        let mut pause = FIRST_LOOK;
        let mut next_look = self.started.checked_add(pause);
        loop {
            let wake = deadline.into_iter().chain(next_look).chain(told_at).min();
            let to_read = family.wait(socket, wake).map_err(ProcessError::Talk)?;
            if next_look.is_some_and(|next| clock::instant() >= next) {
                if family.look_at_memory(self.memory) {
                    return Ok(WatchEnd::OverMemory);
                }
                pause = (pause * 2).min(if self.memory.is_some() { LIMITED_PAUSE } else { LONGEST_PAUSE });
                next_look = clock::instant().checked_add(pause);
            }
            // The end is checked first: a command that has ended by itself was not cancelled. Orders and the deadline
            // still get their turn in each round, because a task's children may end one after the other without a
            // pause.
            family.reap();
            if family.leader_end().is_some() {
                return Ok(stopped.map_or(WatchEnd::EndedByItself, WatchEnd::Stopped));
            }
            if told_at.is_some_and(|at| clock::instant() >= at) {
                report(socket, &Report::Started)?;
                told_at = None;
            }
            if to_read {
                match messages::receive_order(socket).map_err(ProcessError::Talk)? {
                    None => return Ok(WatchEnd::RunnerGone),
                    // The timeout was first, and its grace runs already.
                    Some((Order::Cancel, _)) if stopped.is_some() => {}
                    Some((Order::Cancel, _)) => {
                        stopped = Some(Exit::Cancelled);
                        deadline = self.terminate(family);
                    }
                    Some(_) => return Err(out_of_turn()),
                }
            }
            if deadline.is_some_and(|deadline| clock::instant() >= deadline) {
                if let Some(exit) = stopped {
                    return Ok(WatchEnd::Stopped(exit));
                }
                stopped = Some(Exit::TimedOut);
                deadline = self.terminate(family);
            }
        }
    }

    /// Asks all processes of the command to end. Returns the end of their grace.
    fn terminate(&self, family: &Family) -> Option<Instant> {
        let until = clock::instant().checked_add(self.grace);
        family.terminate();
        until
    }
}

fn exit_of(status: i32) -> Exit {
    // A wait without other flags returns only for a child that has ended in one of these two ways.
    if libc::WIFSIGNALED(status) { Exit::Signal(libc::WTERMSIG(status)) } else { Exit::Code(libc::WEXITSTATUS(status)) }
}

fn report(socket: &UnixStream, report: &Report) -> Result<(), ProcessError> {
    messages::send(socket, &report.encode()).map_err(ProcessError::Talk)
}

fn out_of_turn() -> ProcessError {
    ProcessError::Talk(io::Error::new(io::ErrorKind::InvalidData, "an order out of turn"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
