//! Commands and how they end. Plain data; no system calls.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::{Enforcement, Limits, View};
use crate::model::Script;

/// A command to execute. Its environment is exactly `env`; stdin is empty; stdout and stderr are one stream.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    pub script: Script,
    pub directory: PathBuf,
    pub env: Vec<(OsString, OsString)>,
    /// The time after which it is ended.
    pub timeout_ms: u64,
    /// The time between TERM and KILL.
    pub grace_ms: u64,
    /// The view of the machine that it has; `None` for that of this process.
    pub view: Option<View>,
    /// The most that its processes may use.
    pub limits: Limits,
}

/// Leaves the values of variables out: some are secrets.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        let Self { script, directory, timeout_ms, view, limits, .. } = self;
        f.debug_struct("Command")
            .field("script", script)
            .field("directory", directory)
            .field("env", &names)
            .field("timeout_ms", timeout_ms)
            .field("view", view)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

/// Callbacks about the progress of a command.
#[derive(Default)]
pub struct ProgressCallbacks<'a> {
    /// Called by a thread of the supervisor once the process runs, and before its end is known; not for most of those
    /// that run for a few milliseconds only.
    pub started: Option<Box<dyn FnOnce() + Send>>,
    /// Called if the command has not ended after `LASTING`.
    pub lasting: Option<&'a mut dyn FnMut()>,
    /// A message here ends the command as a message on its `cancel` does. A disconnection does not.
    pub also_cancel: Option<&'a Receiver<()>>,
}

/// A command that takes longer counts as lasting. Many checks are shorter, and a person does not notice the delay.
pub(super) const LASTING: Duration = Duration::from_millis(10);

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// A signal that the supervisor did not send ended it.
    Signal(i32),
    TimedOut,
    Cancelled,
    /// It never started, by its own fault: no such program, not executable, empty. Holds the explanation.
    CouldNotStart(String),
}

/// The end of a command, reported after the command and all its descendants are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub exit: Exit,
    /// From start to the leader's end.
    pub duration_ms: u64,
    /// The number of processes that outlived the leader and had to be killed.
    pub leftovers: u32,
    pub usage: Usage,
    pub enforcement: Enforcement,
}

/// The resources that the processes of a command used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The most memory that they had at a time, as far as it was seen: at least as much as the largest of them.
    pub memory_bytes: u64,
    /// Their processor time, in milliseconds.
    pub cpu_ms: u64,
}

impl Usage {
    /// The usage of this command and of a later one.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.max(later.memory_bytes),
            cpu_ms: self.cpu_ms.saturating_add(later.cpu_ms),
        }
    }
}

impl Ended {
    /// The end of a command that never ran.
    #[must_use]
    pub fn before_start(exit: Exit) -> Self {
        Self { exit, duration_ms: 0, leftovers: 0, usage: Usage::default(), enforcement: Enforcement::default() }
    }
}
