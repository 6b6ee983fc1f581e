//! Runners, which execute attempts.

use super::{RunnerId, RunnerName, WallTime};

worded! {
    /// The ways in which a runner ends every process of an attempt, strongest first.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Isolation: word {
        /// Each slot has a PID namespace of its own, whose end ends every process in it (pid_namespaces(7)).
        PidNamespace = "pid_namespace",
        /// A supervising process adopts the orphans of the attempt and kills them (PR_SET_CHILD_SUBREAPER, prctl(2)).
        Subreaper = "subreaper",
    }
}

worded! {
    /// Whether a runner gets jobs, and why not.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum RunnerState: word {
        Connected = "connected",
        /// Its connection is closed; its leases are kept for a while.
        Away = "away",
        /// It finishes its attempts and gets no new ones.
        Draining = "draining",
        /// Different jobs failed on it one after the other.
        Quarantined = "quarantined",
        /// It reported a failure of infrastructure a moment ago.
        Resting = "resting",
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
