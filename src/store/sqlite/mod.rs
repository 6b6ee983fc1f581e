//! What the dispatcher remembers: SQLite behind a small API in words of the model.
//!
//! Owns `surveil.db`, `surveil.lock` beside it, and everything SQLite keeps there. One [`Store`] writes, owned by the
//! dispatcher's core: [`Store::commit`] returns once its records are synced, so a message sent afterwards promises
//! nothing that a crash takes back. [`Reader`]s read beside it, each on a connection of its own, and are never waited
//! for.
//!
//! It must never begin an empty store where another was, mend a damaged one by guessing, hand out a number twice, or
//! decide anything: a batch that contradicts what is stored is refused whole. What is checked at a start, and what
//! only later, is in `check.rs`; how the tables are cut for speed, in `schema.rs`.

mod apply;
mod backup;
mod check;
mod checksum;
mod connection;
mod error;
mod lock;
mod reader;
mod retention;
mod schema;
mod tables;
mod values;
mod wal;
mod writer;

#[cfg(test)]
mod tests;

pub use backup::{Restoring, back_up, restore};
pub use error::StoreError;
pub use reader::{BuildName, Reader};
pub use retention::{Rule, Surveyed};
pub use writer::Store;
