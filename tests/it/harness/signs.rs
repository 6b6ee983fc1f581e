//! Signals between a test and its tasks, outside the work tree: a gate that a task waits at
//! until the test opens it, and a tally that tasks add lines to.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::{World, text, until};

/// A place where a task waits.
pub(crate) struct Gate {
    path: PathBuf,
}

/// A file that tasks append lines to.
pub(crate) struct Tally {
    path: PathBuf,
}

impl World {
    pub(crate) fn gate(&self, name: &str) -> Gate {
        let path = self.path(name);
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        Gate { path }
    }

    pub(crate) fn tally(&self, name: &str) -> Tally {
        Tally { path: self.path(name) }
    }
}

impl Gate {
    /// For a task's script: waits until the gate is opened.
    pub(crate) fn wait(&self) -> String {
        format!("read -r opened < {}", text(&self.path))
    }

    /// Opens the gate for the waiting tasks, as soon as there is one.
    #[track_caller]
    pub(crate) fn open(&self) {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let mut open = OpenOptions::new();
        open.write(true).custom_flags(flags);
        until("someone waits at the gate", || match open.open(&self.path) {
            Ok(mut gate) => gate.write_all(b"go\n").is_ok(),
            Err(_) => false,
        });
    }
}

impl Tally {
    /// For a task's script: adds a line, in which variables are expanded.
    pub(crate) fn add(&self, line: &str) -> String {
        format!("echo \"{line}\" >> {}", text(&self.path))
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.path).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Waits until there are this many lines, and returns them.
    #[track_caller]
    pub(crate) fn reaches(&self, count: usize) -> Vec<String> {
        until(&format!("{count} lines in {}", self.path.display()), || self.lines().len() >= count);
        self.lines()
    }
}
