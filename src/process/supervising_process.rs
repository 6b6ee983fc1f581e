//! A supervising process, from the runner's side: how it starts and how it ends, with everything below it.
//!
//! If it dies or falls silent, it is killed, and the processes that it leaves are killed from here. The thread that
//! takes its reports starts it, because the kernel's signal about a parent's death follows the thread that was the
//! parent.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::child::{start_child, wait};
use super::conversation::Conversation;
use super::{Guard, ProcessError, sweep, table};
use crate::model::Isolation;

/// Length of one round of waiting for an end. Rounds are counted, so that a machine that stood still loses one round.
const ROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Rounds in which a supervising process must end after its socket has closed. It needs none unless it has to sweep.
const GOODBYE_ROUNDS: u32 = 60;

/// Rounds in which a killed supervising process, and in a PID namespace everything in it, must be gone.
const KILL_ROUNDS: u32 = 30;

/// The ways of ending a supervising process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Its socket is closed: it is no longer needed.
    WhenIdle,
    /// It has failed: it is killed, together with its orphans.
    AtOnce,
}

/// A supervising process that has reported that it is ready.
pub(super) struct Process {
    isolation: Isolation,
    guard: Option<Arc<Guard>>,
    pid: Pid,
    /// A descriptor of the same process, to wait for its end with a deadline.
    handle: OwnedFd,
    /// Its time of birth, in the kernel's clock ticks.
    born: u64,
    pub(super) conversation: Conversation,
}

impl Process {
    /// The process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// The guard that it has entered.
    pub(super) fn guard(&self) -> Option<&Arc<Guard>> {
        self.guard.as_ref()
    }

    pub(super) fn start(
        program: &Path,
        isolation: Isolation,
        guard: Option<Arc<Guard>>,
        kept_open: Option<&File>,
    ) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::StartSupervisor { program: program.into(), source };
        let kept_open = kept_open.map(File::try_clone).transpose().map_err(failed)?;
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        let executable = program.to_owned();
        let in_user_namespace = guard.as_ref().is_some_and(|guard| guard.user_namespace);
        let (conversation, pid) = Conversation::begin(socket, move || {
            start_child(&executable, isolation, in_user_namespace, theirs, kept_open)
        })?;
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
        let process = Self { isolation, guard, pid, handle, born, conversation };
        match process.conversation.greet(process.isolation, process.guard.clone()) {
            Ok(()) => Ok(process),
            Err(error) => Err(process.give_up(error)),
        }
    }

    /// Ends the process after a failure. Returns the error that led here, or a worse one if some process could not be
    /// ended.
    pub(super) fn give_up(self, error: ProcessError) -> ProcessError {
        match (self.end(End::AtOnce), error) {
            (Err(worse), _) => worse,
            (Ok(how), ProcessError::SupervisorEnded { .. }) => ProcessError::SupervisorEnded { how },
            (Ok(_), error) => error,
        }
    }

    /// Ends the process and everything below it. Returns how it ended, in words.
    pub(super) fn end(self, how: End) -> Result<String, ProcessError> {
        self.conversation.hang_up();
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
        drop(self.conversation);
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
