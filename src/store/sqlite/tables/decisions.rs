//! `decisions`: the lines of `surveil why`. Nothing is decided from them, so they carry no checksum.

use rusqlite::{Connection, params};

use super::{execute, read_all};
use crate::model::{BuildId, Decision};
use crate::store::sqlite::values::{reason, reason_columns, unsigned};

pub(crate) fn insert(conn: &Connection, decision: &Decision, seq: i64) -> rusqlite::Result<()> {
    const INSERT: &str = "INSERT INTO decisions (at, build, job, attempt, runner, text, reason, seq)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let Decision { at, build, job, attempt, runner, kind } = decision;
    let (text, reason) = reason_columns(kind);
    execute(conn, INSERT, params![at, build, job, attempt, runner, text, reason, seq]).map(drop)
}

/// Oldest first, each with its place in the order of what happened; `None` in a row from before there was one.
pub(crate) fn of_build(conn: &Connection, build: BuildId) -> rusqlite::Result<Vec<(Option<u64>, Decision)>> {
    const OF_BUILD: &str =
        "SELECT at, job, attempt, runner, text, reason, seq FROM decisions WHERE build = ?1 ORDER BY id";
    read_all(conn, OF_BUILD, [build], |row| {
        let kind = reason(row.get(4)?, row.get_ref(5)?.as_str_or_null()?);
        let (at, job, attempt, runner) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        Ok((unsigned(row, 6)?, Decision { at, build, job, attempt, runner, kind }))
    })
}
