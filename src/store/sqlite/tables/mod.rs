//! The tables, one file for each: its columns, their checksum, and every statement that writes or reads it. A statement
//! that joins tables lies with the table whose rows it returns. `schema.rs` has the definitions in SQL, `retention.rs`
//! the removal of a build's rows from all tables.
//!
//! A statement changes exactly the row that it means, or the record contradicts the store. Nothing here begins or
//! commits a transaction, reads the clock or waits. Called by `apply.rs`, `retention.rs`, the writer and the readers.

pub(super) mod artifacts;
pub(super) mod attempts;
pub(super) mod builds;
pub(super) mod caches;
pub(super) mod credentials;
pub(super) mod decisions;
pub(super) mod ends;
pub(super) mod executions;
pub(super) mod forgotten;
pub(super) mod heads;
mod interned;
pub(super) mod jobs;
pub(super) mod joined;
pub(super) mod late_results;
pub(super) mod meta;
pub(super) mod outcomes;
pub(super) mod outputs;
pub(super) mod passes;
pub(super) mod patterns;
pub(super) mod ranges;
pub(super) mod reasons;
pub(super) mod repos;
pub(super) mod runners;
pub(super) mod schedules;
pub(super) mod secrets;
pub(super) mod short_logs;
pub(super) mod specs;
pub(super) mod steps;
pub(super) mod tool_entries;

use rusqlite::{Connection, OptionalExtension, Params, Row};

pub(super) use interned::Interned;

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
