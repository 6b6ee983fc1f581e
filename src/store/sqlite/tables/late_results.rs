//! `late_results`: results that came for leases no longer held. They are evidence, which contradicts nothing, also of
//! an attempt that was forgotten since; they carry no checksum.

use rusqlite::{Connection, params};

use super::attempts::with_attempts_of_build;
use super::outcomes;
use crate::model::{AttemptId, BuildId, Outcome, WallTime};
use crate::store::LateResult;
use crate::store::sqlite::values::signed;

pub(crate) fn insert(
    conn: &Connection,
    attempt: AttemptId,
    outcome: &Outcome,
    (at, seq): (WallTime, i64),
) -> rusqlite::Result<()> {
    let outcomes::Columns { number, code, detail, reason } = outcomes::Columns::of(outcome);
    conn.prepare_cached(
        "INSERT INTO late_results (attempt, outcome, code, detail, at, reason, seq)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![signed(attempt.0), number, code, detail, at.0, reason, seq])
    .map(drop)
}

pub(crate) fn delete(conn: &Connection, attempt: AttemptId) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM late_results WHERE attempt = ?1")?.execute([signed(attempt.0)]).map(drop)
}

/// Oldest first.
pub(crate) fn of_build(conn: &Connection, build: BuildId) -> rusqlite::Result<Vec<LateResult>> {
    let mut statement = conn.prepare_cached(concat!(
        with_attempts_of_build!(),
        "SELECT l.attempt, l.outcome, l.code, l.detail, l.reason, l.at, l.seq ",
        "FROM chain c JOIN late_results l ON l.attempt = c.id ORDER BY l.id"
    ))?;
    let found = statement.query_map([signed(build.0)], |row| {
        Ok(LateResult {
            attempt: AttemptId(row.get::<_, i64>(0)?.cast_unsigned()),
            outcome: outcomes::Columns::read(row, 1)?.outcome()?,
            at: WallTime(row.get(5)?),
            seq: row.get::<_, Option<i64>>(6)?.map(i64::cast_unsigned),
        })
    })?;
    found.collect()
}
