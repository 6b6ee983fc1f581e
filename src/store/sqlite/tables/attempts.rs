//! `attempts`: the lease of each attempt. The row is written once; how the attempt ended is in `outcomes`. `previous`
//! is the job's attempt before this one, so that a chain from the job's newest attempt finds them all without an index.

use std::collections::HashMap;

use rusqlite::types::ToSqlOutput;
use rusqlite::{CachedStatement, Connection, Row, params};

use super::{outcomes, read_all, read_one, reasons};
use crate::model::{Attempt, AttemptId, BuildId, LogSummary};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::failure::Fault;
use crate::store::sqlite::values::{damaged, reason, signed, unsigned};

/// Covers the text of the reason as it is stored, wherever that is.
fn checksum(attempt: &Attempt, reason: &str, previous: Option<i64>) -> Checksum {
    Checksum::of("attempts")
        .number(signed(attempt.id.0))
        .number(signed(attempt.job.0))
        .number(attempt.number)
        .number(signed(attempt.runner.0))
        .bytes(reason.as_bytes())
        .number(attempt.leased_at.0)
        .maybe_number(previous)
}

/// The statement that [`insert`] executes.
pub(crate) const INSERT: &str = "INSERT INTO attempts (id, job, number, runner, reason, leased_at, previous, seal, seq)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

/// Adds an attempt, after `jobs` has leased its job; `previous` is the job's attempt before it.
pub(crate) fn insert(
    statement: &mut CachedStatement<'_>,
    (reasons, conn): (&mut reasons::Ids, &Connection),
    attempt: &Attempt,
    previous: Option<i64>,
    seq: i64,
) -> Result<(), Fault> {
    let text = attempt.reason.to_string();
    let reason = match reasons.get(conn, &text, &attempt.reason)? {
        Some(id) => ToSqlOutput::from(id),
        None => ToSqlOutput::from(text.as_str()),
    };
    let Attempt { id, job, number, runner, leased_at, .. } = attempt;
    let seal = checksum(attempt, &text, previous).value();
    statement.execute(params![id, job, number, runner, reason, leased_at, previous, seal, seq])?;
    Ok(())
}

/// The columns that [`from_row`] reads.
macro_rules! select {
    ($from:literal) => {
        concat!(
            "SELECT a.id, a.job, j.build, a.number, a.runner, ",
            "CASE typeof(a.reason) WHEN 'integer' THEN r.body ELSE a.reason END, r.reason, a.leased_at, ",
            "o.finished_at, o.duration_ms, o.outcome, o.code, o.detail, o.reason, o.log_bytes, o.log_crc32, ",
            "o.log_missing, a.previous, a.seal, o.seal, r.seal ",
            $from,
            " LEFT JOIN jobs j ON j.id = a.job LEFT JOIN outcomes o ON o.attempt = a.id ",
            "LEFT JOIN reasons r ON r.id = a.reason AND typeof(a.reason) = 'integer' "
        )
    };
}

/// The numbers of a build's attempts: from each job's newest along `previous` to its first.
macro_rules! with_attempts_of_build {
    () => {
        concat!(
            "WITH RECURSIVE chain (id) AS (SELECT j.attempt FROM ",
            "(SELECT first_job, last_job FROM builds WHERE id = ?1 ",
            "UNION ALL SELECT first_job, last_job FROM joined WHERE build = ?1) r ",
            "JOIN jobs j ON j.id BETWEEN r.first_job AND r.last_job AND j.build = ?1 AND j.attempt <> 0 ",
            "UNION SELECT a.previous FROM chain c JOIN attempts a ON a.id = c.id WHERE a.previous IS NOT NULL) "
        )
    };
}
pub(super) use with_attempts_of_build;

/// Oldest first.
pub(crate) fn of_build(conn: &Connection, build: BuildId) -> rusqlite::Result<Vec<Attempt>> {
    const OF_BUILD: &str = concat!(
        with_attempts_of_build!(),
        select!("FROM chain c LEFT JOIN attempts a ON a.id = c.id"),
        "ORDER BY a.id"
    );
    read_all(conn, OF_BUILD, [build], from_row)
}

/// Oldest first. Only a job's newest attempt can be without an outcome (S8).
pub(crate) fn unfinished_of_build(conn: &Connection, build: BuildId) -> rusqlite::Result<Vec<Attempt>> {
    const UNFINISHED: &str = concat!(
        select!(
            "FROM (SELECT first_job, last_job FROM builds WHERE id = ?1 \
             UNION ALL SELECT first_job, last_job FROM joined WHERE build = ?1) r \
             JOIN jobs k ON k.id BETWEEN r.first_job AND r.last_job AND k.build = ?1 AND k.attempt <> 0 \
             LEFT JOIN attempts a ON a.id = k.attempt"
        ),
        "WHERE o.attempt IS NULL ORDER BY a.id"
    );
    read_all(conn, UNFINISHED, [build], from_row)
}

pub(crate) fn read(conn: &Connection, id: AttemptId) -> rusqlite::Result<Option<Attempt>> {
    read_one(conn, concat!(select!("FROM attempts a"), "WHERE a.id = ?1"), [id], from_row)
}

/// The places of a build's attempts in the order of what happened: of the lease, and of the outcome. `None` in rows
/// from before there was one.
pub(crate) fn sequence(conn: &Connection, build: BuildId) -> rusqlite::Result<HashMap<AttemptId, [Option<u64>; 2]>> {
    const SEQUENCE: &str = concat!(
        with_attempts_of_build!(),
        "SELECT a.id, a.seq, o.seq FROM chain c JOIN attempts a ON a.id = c.id ",
        "LEFT JOIN outcomes o ON o.attempt = a.id"
    );
    let found = read_all(conn, SEQUENCE, [build], |row| Ok((row.get(0)?, [unsigned(row, 1)?, unsigned(row, 2)?])))?;
    Ok(found.into_iter().collect())
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let is_ended = row.get::<_, Option<i64>>(10)?.is_some();
    let ended = if is_ended { Some(outcomes::Columns::read(row, 10)?) } else { None };
    let log = match &ended {
        Some(_) => {
            LogSummary { bytes: unsigned(row, 14)?.unwrap_or_default(), crc32: row.get(15)?, missing: row.get(16)? }
        }
        None => LogSummary::default(),
    };
    let text: String = row.get::<_, Option<_>>(5)?.ok_or_else(|| damaged("an attempt's reason is missing"))?;
    let json = row.get_ref(6)?.as_str_or_null()?;
    // A row from before reasons had a checksum has none.
    if let Some(seal) = row.get::<_, Option<i64>>(20)? {
        reasons::checksum(&text, json).check(seal, || format!("the reason `{text}`"))?;
    }
    let attempt = Attempt {
        id: row.get(0)?,
        job: row.get(1)?,
        build: row.get(2)?,
        number: row.get(3)?,
        runner: row.get(4)?,
        reason: reason(text.clone(), json),
        leased_at: row.get(7)?,
        finished_at: row.get(8)?,
        duration_ms: unsigned(row, 9)?,
        outcome: ended.as_ref().map(outcomes::Columns::outcome).transpose()?,
        log,
    };
    let name = || format!("attempt {}", attempt.id.0);
    checksum(&attempt, &text, row.get(17)?).check(row.get(18)?, name)?;
    if let (Some(ended), Some(at)) = (&ended, attempt.finished_at) {
        outcomes::checksum(attempt.id, ended, &attempt.log, attempt.duration_ms, at).check(row.get(19)?, name)?;
    }
    Ok(attempt)
}
