//! The tables, one file for each: its columns, their checksum, and every statement that writes or reads it. A statement
//! that joins tables lies with the table whose rows it returns. `schema.rs` has the definitions in SQL.
//!
//! A statement changes exactly the row that it means, or the record contradicts the store. Nothing here begins or
//! commits a transaction, reads the clock or waits. Called by `apply.rs`, `retention.rs`, the writer and the readers.

pub(super) mod attempts;
pub(super) mod builds;
pub(super) mod decisions;
pub(super) mod forgotten;
pub(super) mod heads;
pub(super) mod jobs;
pub(super) mod late_results;
pub(super) mod meta;
pub(super) mod outcomes;
pub(super) mod ranges;
pub(super) mod reasons;
pub(super) mod repos;
pub(super) mod runners;
pub(super) mod specs;

use rusqlite::{Connection, OptionalExtension};

/// Row numbers of texts that are stored once and named by other rows, remembered so that a record that repeats a text
/// costs no query. They are right as long as no transaction fails; then they are emptied.
#[derive(Debug, Default)]
pub(super) struct Interned {
    pub(super) repos: repos::Ids,
    pub(super) specs: specs::Ids,
    pub(super) reasons: reasons::Ids,
    pub(super) sequence: Sequence,
}

/// Numbers what happens, in the order in which it is written. A writer takes an epoch for itself with its first record,
/// in the same transaction, and counts within it: that costs no write per commit and no search at a start.
#[derive(Debug, Default)]
pub(super) struct Sequence(Option<i64>);

impl Sequence {
    /// Bits for the number within an epoch. With 2^20 epochs a number still fits the 53 bits that JSON readers keep.
    const EPOCH_BITS: u32 = 32;

    pub(super) fn next(&mut self, conn: &Connection) -> rusqlite::Result<i64> {
        let next = match self.0 {
            Some(next) => next,
            None => meta::next_epoch(conn)? << Self::EPOCH_BITS,
        };
        self.0 = Some(next + 1);
        Ok(next)
    }
}

fn id_of(conn: &Connection, query: &str, text: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached(query)?.query_row([text], |row| row.get(0)).optional()
}
