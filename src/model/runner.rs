//! Runners, which execute attempts.

use super::{Incarnation, RunnerId, RunnerName, WallTime};

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
        /// An operator drained it: it gets no jobs until an operator resumes it.
        Drained = "drained",
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
    /// The order of an operator to give it no jobs, if one is in force.
    pub drain: Option<DrainOrder>,
    /// The last order to drain or to resume it. `None` if there was none, or if its record has no name and time.
    pub ordered: Option<Ordered>,
}

/// Who gave an order, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// The name of the person, if it is known.
    pub by: Option<String>,
    pub at: WallTime,
}

/// An order to drain a runner. It is in force until an operator resumes the runner, over restarts of either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainOrder {
    /// The process that ends once it has finished its attempts; `None` if none was connected. A later process of the
    /// runner stays connected and idle: if it ended too, a service manager would start it again and again.
    pub ending: Option<Incarnation>,
}
