//! `decisions`: the lines of `surveil why`. Nothing is decided from them, so they carry no checksum.

use rusqlite::{Connection, params};

use crate::model::{AttemptId, BuildId, Decision, JobId, RunnerId, WallTime};
use crate::store::sqlite::values::{reason, reason_columns, signed};

pub(crate) fn insert(conn: &Connection, decision: &Decision, seq: i64) -> rusqlite::Result<()> {
    let (text, reason) = reason_columns(&decision.kind);
    conn.prepare_cached(
        "INSERT INTO decisions (at, build, job, attempt, runner, text, reason, seq)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        decision.at.0,
        signed(decision.build.0),
        decision.job.map(|id| signed(id.0)),
        decision.attempt.map(|id| signed(id.0)),
        decision.runner.map(|id| signed(id.0)),
        text,
        reason,
        seq
    ])
    .map(drop)
}

pub(crate) fn delete(conn: &Connection, build: BuildId) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM decisions WHERE build = ?1")?.execute([signed(build.0)]).map(drop)
}

/// Oldest first, each with its place in the order of what happened; `None` in a row from before there was one.
pub(crate) fn of_build(conn: &Connection, build: BuildId) -> rusqlite::Result<Vec<(Option<u64>, Decision)>> {
    let mut statement = conn.prepare_cached(
        "SELECT at, job, attempt, runner, text, reason, seq FROM decisions WHERE build = ?1 ORDER BY id",
    )?;
    let found = statement.query_map([signed(build.0)], |row| {
        let number = |at: usize| row.get::<_, Option<i64>>(at).map(|id| id.map(i64::cast_unsigned));
        let decision = Decision {
            at: WallTime(row.get(0)?),
            build,
            job: number(1)?.map(JobId),
            attempt: number(2)?.map(AttemptId),
            runner: number(3)?.map(RunnerId),
            kind: reason(row.get(4)?, row.get_ref(5)?.as_str_or_null()?),
        };
        Ok((number(6)?, decision))
    })?;
    found.collect()
}
