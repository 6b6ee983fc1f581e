//! The tables of what waits for a runner, and of who could take it.

mod queue;
mod roster;

pub(crate) use queue::Queue;
pub(crate) use roster::{Member, Presence, Roster, Warmth};
