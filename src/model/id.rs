//! Numbers as identifiers. Each kind has its own type, so that one cannot be passed for another.

use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal,)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    )+};
}

ids! {
    /// A build's number, counted from 1 over all repositories of one dispatcher. Shown as `b12`.
    BuildId = "b",
    /// One task for one commit. Shown as `j12`.
    JobId = "j",
    /// One execution of a job. It is the fencing token of its lease, so it is never used twice, not even across
    /// restarts. Shown as `a12`.
    AttemptId = "a",
    /// A runner of one name, as long as the dispatcher remembers it. Shown as `r12`.
    RunnerId = "r",
    /// One connection of one peer, from hello to close; counted from 1 at each start of the dispatcher. Shown as `s12`.
    SessionId = "s",
    /// One request to start a runner. Numbers of one dispatcher's start are never those of another start, so that a
    /// runner which outlives its dispatcher answers no request of the next. Shown as `n12`.
    SpawnId = "n",
    /// A place where the dispatcher may start runners. Shown as `p0`.
    PoolId = "p",
    /// One start of a runner's process: a random number, which distinguishes a restarted runner from a slow one.
    Incarnation = "i",
}

impl PoolId {
    /// The dispatcher's own machine.
    pub const LOCAL: Self = Self(0);
}
