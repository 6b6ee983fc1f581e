//! One attempt's processes: started in their own session, read, timed out, ended politely and then firmly with every
//! descendant, and their end named.
//!
//! A slot has a [`Supervisor`]: a small process of this same program that starts each command, adopts whatever the
//! command leaves behind, sweeps it, and ends everything if the runner vanishes.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;

use crossbeam_channel::Receiver;

use crate::model::{Isolation, Script};

/// What went wrong with a process or its supervisor. Not the command's own failures: those are an [`Exit`].
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {}

/// A command to execute. Its environment is exactly `env`; stdin is empty; stdout and stderr are one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub script: Script,
    pub directory: PathBuf,
    pub env: Vec<(OsString, OsString)>,
    /// After this long it is ended.
    pub timeout_ms: u64,
    /// Between TERM and KILL.
    pub grace_ms: u64,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By a signal that the supervisor did not send.
    Signal(i32),
    TimedOut,
    Cancelled,
    /// It never started, by its own fault: no such program, not executable, empty. Says why.
    CouldNotStart(String),
}

/// What is known after a command and everything it started are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub exit: Exit,
    /// From start to the leader's end.
    pub duration_ms: u64,
    /// Processes that were still there when the leader ended and had to be ended.
    pub leftovers: u32,
}

/// The strongest tier that this process may use on this kernel.
pub fn detect_isolation() -> Isolation {
    todo!()
}

/// A slot's supervising process, started on first use and kept for the next command.
pub struct Supervisor {}

impl Supervisor {
    /// A supervisor that will be started by executing `program` with the hidden subcommand `supervise`.
    pub fn new(program: PathBuf, isolation: Isolation) -> Self {
        todo!()
    }

    /// Starts the command with `output` as its stdout and stderr, calls `started` once its process runs, and waits until
    /// it and all its descendants are gone. A message on `cancel` (or its disconnection) ends it. A supervisor that dies
    /// is an error; the next call starts a new one.
    pub fn run(
        &mut self,
        command: &Command,
        output: File,
        cancel: &Receiver<()>,
        started: &mut dyn FnMut(),
    ) -> Result<Ended, ProcessError> {
        todo!()
    }
}

/// The body of the hidden subcommand: serves commands over its stdin (a socket) until that closes.
pub fn supervise() -> Result<(), ProcessError> {
    todo!()
}
