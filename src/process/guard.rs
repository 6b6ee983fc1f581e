//! The view of the machine that a guarded command has. Plain data; `mounts` makes it true.

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::Isolation;

/// The parts of a view that are the same for every command of a supervising process. Another guard needs another one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// Directories and files that no command sees. Absolute and without links; a path that does not exist is ignored.
    pub hidden: Vec<PathBuf>,
    /// Whether the supervising process gets a user namespace, because this process may not mount without one.
    pub user_namespace: bool,
    /// Whether Landlock hides the paths, because this process may not mount at all. Then nothing is given at another
    /// path than its own, and neither of the following can be.
    pub by_landlock: bool,
    /// Whether commands can write only to what their view gives them.
    pub is_sealed: bool,
    /// Whether commands have no network but a loopback interface of their own.
    pub is_offline: bool,
}

/// The view of one command. Each of its paths is absolute and without links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub guard: Arc<Guard>,
    /// Directories that the command sees, whatever the guard says. They exist.
    pub given: Vec<Given>,
}

/// A directory that a command sees.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Given {
    /// Its path for the command: `/tmp`, `/var/tmp`, or any other.
    pub at: PathBuf,
    /// Its path outside.
    pub from: PathBuf,
    /// Whether the command may only read it.
    pub is_read_only: bool,
}

impl Given {
    /// A directory that the command sees at its own path, and may write.
    #[must_use]
    pub fn in_place(path: PathBuf) -> Self {
        Self { at: path.clone(), from: path, is_read_only: false }
    }

    /// A directory that the command sees at its own path, and may not write.
    #[must_use]
    pub fn to_read(path: PathBuf) -> Self {
        Self { is_read_only: true, ..Self::in_place(path) }
    }
}

impl Guard {
    /// The tier in which the supervising process of this guard ends everything, if it would be this one without.
    #[must_use]
    pub(super) fn isolation(&self, unguarded: Isolation) -> Isolation {
        // Mounts take a PID namespace: only its processes can neither signal nor see those outside.
        if self.by_landlock { unguarded } else { Isolation::PidNamespace }
    }
}
