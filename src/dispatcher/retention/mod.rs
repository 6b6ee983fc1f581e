//! The `retention` thread removes builds beyond the limits, with their logs and sources, and artifacts, at a low rate.
//!
//! The core removes the records, a few builds at a time between its other work. The files are deleted afterwards: a
//! crash in between leaves files that no record names, which the next round finds and deletes. The thread never touches
//! unfinished builds or the present head of a branch (the store checks that again), never writes to the store itself,
//! and does nothing while a backup is made. At its start and once a day it also checks the mirrors.
//!
//! Artifacts go before their builds: the store notes when and why, and the blobs that no artifact has any more are
//! removed once they were not used for a day.

mod artifact_plan;
mod artifacts;
mod keeper;
mod plan;
#[cfg(test)]
mod tests;

pub(crate) use keeper::{Keeper, start};
pub(crate) use plan::words;
