//! The core: the one thread that owns the Scheduler and the Store. It drains what has arrived, lets the scheduler
//! decide, commits every record of the batch in one transaction, and only then lets the effects leave.
//!
//! It must never wait for a peer or for a disk other than the store's.

mod batch;
mod handle;
mod inbox;
mod peers;
mod watcher;

pub(crate) use batch::Core;
pub(crate) use handle::{CoreHandle, NoAnswer};
pub(crate) use inbox::{NewCommit, Seen, ToCore};
pub(crate) use peers::Peer;
pub(crate) use watcher::Watcher;
