//! A container that outlives single commands, for a task with steps: what one step installs is there for the next. Its
//! first process waits; each step is executed by the tool's `exec`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, MemfdFlags, Mode, OFlags};

use crate::clock;
use crate::process::{Command, Ended, ProcessError, ProgressCallbacks};
use crate::runner::executor::MakeTool;
use crate::threads::{self, Thread};

/// Length of one round of waiting for the container.
const ROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// A container that waits for commands. Dropping it ends the tool's process; the container should be gone by then.
pub(super) struct Keeper {
    /// Declared first, so that it is dropped before the thread is joined.
    _cancel: Sender<()>,
    ended: Receiver<Result<Ended, ProcessError>>,
    output: File,
    _thread: Thread<()>,
}

/// The reason why no container waits.
pub(super) enum KeeperError {
    /// The tool ended, with this output.
    Ended(Result<Ended, ProcessError>, File),
    Cancelled,
    TooLong,
    Io(io::Error),
}

impl Keeper {
    /// Starts `command`, which must open the pipe `ready` when its container waits.
    pub(super) fn start(
        command: Command,
        ready: &Path,
        make: &MakeTool,
        cancel: &Receiver<()>,
        patience: Duration,
    ) -> Result<Self, KeeperError> {
        let pipe = pipe(ready).map_err(KeeperError::Io)?;
        let output = rustix::fs::memfd_create("surveil-keeper", MemfdFlags::CLOEXEC).map(File::from);
        let output = output.map_err(|errno| KeeperError::Io(errno.into()))?;
        let shared = output.try_clone().map_err(KeeperError::Io)?;
        let (stop, stopped) = bounded(1);
        let (over, ended) = bounded(1);
        let make = make.clone();
        let thread = threads::spawn("image-keeper", move || {
            let mut executor = make();
            drop(over.send(executor(&command, shared, &stopped, ProgressCallbacks::default())));
        });
        let keeper = Self { _cancel: stop, ended, output, _thread: thread.map_err(KeeperError::Io)? };
        let deadline = clock::instant().checked_add(patience);
        while !keeper.is_open(&pipe).map_err(KeeperError::Io)? {
            if let Ok(ended) = keeper.ended.try_recv() {
                let output = keeper.output.try_clone().map_err(KeeperError::Io)?;
                return Err(KeeperError::Ended(ended, output));
            }
            if !matches!(cancel.try_recv(), Err(TryRecvError::Empty)) {
                return Err(KeeperError::Cancelled);
            }
            if deadline.is_some_and(|deadline| clock::instant() >= deadline) {
                return Err(KeeperError::TooLong);
            }
        }
        Ok(keeper)
    }

    /// Whether the container has opened the pipe.
    fn is_open(&self, pipe: &OwnedFd) -> io::Result<bool> {
        let mut polled = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)];
        match poll(&mut polled, Some(&ROUND)) {
            // The writer has opened it and closed it again.
            Ok(count) => Ok(count > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether the container is there no more.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }
}

/// Makes a pipe with a name, and opens it without waiting for its writer.
fn pipe(path: &Path) -> io::Result<OwnedFd> {
    // That of a container before. If it cannot be removed, the next line says so.
    std::fs::remove_file(path).ok();
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}
