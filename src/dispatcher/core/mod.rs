//! The core: the one thread that owns the scheduler and the store. It takes the messages that have arrived, lets the
//! scheduler decide, commits all records of the batch in one transaction, and only then releases the effects.
//!
//! The core must never wait for a peer, or for a disk other than the store's: all runners would be answered late, and
//! their leases would expire.

mod batch;
mod handle;
mod inbox;
mod peers;
mod places;
mod rest;
mod watcher;

pub(crate) use batch::Core;
pub(crate) use handle::{CoreHandle, NoAnswer};
pub(crate) use inbox::{NewCommit, NewOrder, RerunOrder, Seen, StartOrder, ToCore};
pub(crate) use peers::Peer;
pub(crate) use watcher::Watcher;
