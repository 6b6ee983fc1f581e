//! A worker: something that executes attempts.

use super::{RunnerId, RunnerName, WallTime};

/// By what means a runner makes sure that nothing of an attempt is left, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Each slot has a PID namespace of its own; its end takes everything along (pid_namespaces(7)).
    PidNamespace,
    /// A supervising process adopts what the attempt leaves behind and sweeps it (PR_SET_CHILD_SUBREAPER, prctl(2)).
    Subreaper,
}

impl Isolation {
    /// The tier's name on the wire and for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::PidNamespace => "pid_namespace",
            Self::Subreaper => "subreaper",
        }
    }
}

/// Whether a runner gets jobs, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunnerState {
    Connected,
    /// Its connection is closed; its leases are kept for a while.
    Away,
    /// It finishes its attempts and gets nothing new.
    Draining,
    /// Different jobs failed on it one after the other.
    Quarantined,
    /// It reported a failure of infrastructure a moment ago.
    Resting,
}

impl RunnerState {
    /// The state's name on the wire and for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Away => "away",
            Self::Draining => "draining",
            Self::Quarantined => "quarantined",
            Self::Resting => "resting",
        }
    }
}

/// A runner as it is remembered, connected or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    pub id: RunnerId,
    /// Unique at a dispatcher.
    pub name: RunnerName,
    pub first_seen: WallTime,
}
