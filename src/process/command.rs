//! What is run and how it ended. Plain data; no system calls.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::Script;

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

/// Whom to tell how a command gets on.
#[derive(Default)]
pub struct Progress<'a> {
    /// Called once its process runs, by a thread of the supervisor's, and before its end is known.
    pub started: Option<Box<dyn FnOnce() + Send>>,
    /// Called if it has not ended after `LASTING`.
    pub lasting: Option<&'a mut dyn FnMut()>,
}

/// What takes longer is not over at once. Many checks are, and a person does not notice it.
pub(super) const LASTING: Duration = Duration::from_millis(10);

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

impl Ended {
    /// The end of a command that never ran.
    pub(super) fn before_start(exit: Exit) -> Self {
        Self { exit, duration_ms: 0, leftovers: 0 }
    }
}
