//! The `retention` thread: removes builds that the limits no longer keep, with their logs and sources, at a low rate.
//!
//! The core forgets the records, a few builds at a time between its other work; then the files go. A crash between the
//! two leaves files that no record names, which the next round finds and deletes. It never touches what is unfinished
//! or a branch's present head (the store sees to that once more), never writes to the store itself, and does nothing
//! while a backup is made. At its start and once a day it also reads the mirrors through.

mod keeper;
mod plan;
mod words;

pub(crate) use keeper::{Keeper, start};
pub(crate) use words::words;
