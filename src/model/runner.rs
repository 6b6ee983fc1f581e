//! Runners, which execute attempts.

use super::{RunnerId, RunnerName, WallTime};

/// The ways in which a runner ends every process of an attempt, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Each slot has a PID namespace of its own, whose end ends every process in it (pid_namespaces(7)).
    PidNamespace,
    /// A supervising process adopts the orphans of the attempt and kills them (PR_SET_CHILD_SUBREAPER, prctl(2)).
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
    /// It finishes its attempts and gets no new ones.
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

/// A runner, connected or not, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    pub id: RunnerId,
    /// Its name, unique at a dispatcher.
    pub name: RunnerName,
    pub first_seen: WallTime,
}
