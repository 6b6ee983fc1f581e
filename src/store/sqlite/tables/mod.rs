//! The tables, one file for each: its columns, their checksum, and every statement that writes or reads it. A statement
//! that joins tables lies with the table whose rows it returns. `schema.rs` has the definitions in SQL, `retention.rs`
//! the removal of a build's rows from all tables.
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

use rusqlite::{Connection, OptionalExtension, Params, Row};

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
/// in the same transaction, and counts within it; after that many records it takes the next one. That costs no write
/// per commit and no search at a start.
#[derive(Debug, Default)]
pub(super) struct Sequence(i64);

impl Sequence {
    /// Bits for the number within an epoch. With few of them, a number takes two to four bytes of a row.
    const EPOCH_BITS: u32 = 16;

    pub(super) fn next(&mut self, conn: &Connection) -> rusqlite::Result<i64> {
        // The first number of an epoch comes up here only when the epoch before it is used up. Epochs begin with 1.
        if self.0.trailing_zeros() >= Self::EPOCH_BITS {
            self.0 = meta::next_epoch(conn)? << Self::EPOCH_BITS;
        }
        self.0 += 1;
        Ok(self.0 - 1)
    }
}

/// Runs a statement and returns the number of rows that it changed.
pub(super) fn execute(conn: &Connection, statement: &str, params: impl Params) -> rusqlite::Result<usize> {
    conn.prepare_cached(statement)?.execute(params)
}

/// Reads the one row of a query, if there is one.
fn read_one<T>(
    conn: &Connection,
    query: &str,
    params: impl Params,
    from_row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    conn.prepare_cached(query)?.query_row(params, from_row).optional()
}

/// Reads all rows of a query.
fn read_all<T>(
    conn: &Connection,
    query: &str,
    params: impl Params,
    from_row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    conn.prepare_cached(query)?.query_map(params, from_row)?.collect()
}
