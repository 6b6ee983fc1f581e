//! `late_results`: results that came for leases no longer held. They are evidence, which contradicts nothing, also of
//! an attempt that was forgotten since; they carry no checksum.

use rusqlite::{Connection, params};

use super::attempts::with_attempts_of_build;
use super::{execute, outcomes, read_all};
use crate::model::{AttemptId, BuildId, Outcome, WallTime};
use crate::store::LateResult;
use crate::store::sqlite::values::unsigned;

pub(crate) fn insert(
    conn: &Connection,
    attempt: AttemptId,
    outcome: &Outcome,
    (at, seq): (WallTime, i64),
) -> rusqlite::Result<()> {
    const INSERT: &str = "INSERT INTO late_results (attempt, outcome, code, detail, at, reason, seq)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let outcomes::Columns { number, code, detail, reason } = outcomes::Columns::of(outcome);
    execute(conn, INSERT, params![attempt, number, code, detail, at, reason, seq]).map(drop)
}

/// Oldest first.
pub(crate) fn of_build(conn: &Connection, build: BuildId) -> rusqlite::Result<Vec<LateResult>> {
    const OF_BUILD: &str = concat!(
        with_attempts_of_build!(),
        "SELECT l.attempt, l.outcome, l.code, l.detail, l.reason, l.at, l.seq ",
        "FROM chain c JOIN late_results l ON l.attempt = c.id ORDER BY l.id"
    );
    read_all(conn, OF_BUILD, [build], |row| {
        let outcome = outcomes::Columns::read(row, 1)?.outcome()?;
        Ok(LateResult { attempt: row.get(0)?, outcome, at: row.get(5)?, seq: unsigned(row, 6)? })
    })
}
