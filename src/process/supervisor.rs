//! The runner's side of a slot's supervising process: starts it, gives it commands, and notices when it fails.
//!
//! The runner never waits for a command's process itself. If the supervising process dies or falls silent, it is
//! killed, with the processes that it leaves, and the next command gets another one.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, TryRecvError};

use super::groups::Groups;
use super::nest::{Nest, NestedSupervisor};
use super::supervising_process::{End, Process};
use super::{Command, Ended, Exit, Guard, ProcessError, ProgressCallbacks, View, isolation};
use crate::model::Isolation;

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
        self.process.as_ref().map(Process::pid)
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
        let groups = self.groups.clone();
        let process = self.ready_process(command.view.as_ref().map(|view| &view.guard))?;
        match process.conversation.execute(groups.as_ref(), command, output, cancel, progress) {
            Ok(ended) => Ok(ended),
            // No command runs, and the supervising process is sound.
            Err(error @ ProcessError::StartCommand(_)) => Err(error),
            Err(error) => Err(match self.process.take() {
                Some(process) => process.give_up(error),
                None => error,
            }),
        }
    }

    /// Starts a supervising process of its own, and `count` further ones below it for commands that run at the same
    /// time. They have one view, and one another's network.
    pub fn nest(&self, view: Option<&View>, count: usize) -> Result<(Nest, Vec<NestedSupervisor>), ProcessError> {
        let process = self.start(view.map(|view| &view.guard))?;
        Nest::fill(process, view, count, self.groups.as_ref())
    }

    /// Starts a supervising process with this guard, to see whether the kernel lets it.
    pub fn try_guard(&mut self, guard: &Arc<Guard>) -> Result<(), ProcessError> {
        self.ready_process(Some(guard)).map(drop)
    }

    /// Returns the supervising process that runs and has this guard, or starts one.
    fn ready_process(&mut self, guard: Option<&Arc<Guard>>) -> Result<&mut Process, ProcessError> {
        if self.process.as_ref().is_some_and(|process| process.conversation.is_gone())
            && let Some(process) = self.process.take()
        {
            // Not `WhenIdle`: only a supervisor that counts as killed has its orphans ended.
            log::warn!("the supervisor ended while idle ({}); another one starts", process.end(End::AtOnce)?);
        }
        if self.process.as_ref().is_some_and(|process| process.guard() != guard)
            && let Some(process) = self.process.take()
        {
            process.end(End::WhenIdle)?;
        }
        let process = match self.process.take() {
            Some(process) => process,
            None => self.start(guard)?,
        };
        Ok(self.process.insert(process))
    }

    fn start(&self, guard: Option<&Arc<Guard>>) -> Result<Process, ProcessError> {
        let isolation = guard.map_or(self.isolation, |guard| guard.isolation(self.isolation));
        Process::start(&self.program, isolation, guard.cloned(), self.kept_open.as_deref())
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
