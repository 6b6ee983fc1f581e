//! Tests of the whole room, and their support. Other tests stand with the modules that they test.

mod history;
mod large;
mod lfs;
mod small_pack;
mod submodules;
pub(crate) mod support;
mod tree_changes;
