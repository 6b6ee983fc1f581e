//! The store in SQLite: one file of the data directory, and what SQLite keeps beside it.
//!
//! Owns `surveil.db`, `surveil.lock` beside it, and everything SQLite keeps there. The writer and each reader have a
//! connection of their own; that of a reader is kept for the next one. `check.rs` says which checks come at a start and
//! which only later; `schema.rs`, how the tables are cut for speed; `tables/` has each table's rows and statements.

mod apply;
mod backup;
mod check;
mod checksum;
mod connection;
mod failure;
mod idle_readers;
mod lock;
mod reader;
mod retention;
mod schema;
mod tables;
mod values;
mod wal;
mod writer;

#[cfg(test)]
pub(super) mod tests;

pub use backup::{Restoring, back_up, restore};
pub use reader::{read_unattended, readers};
pub use writer::open;
