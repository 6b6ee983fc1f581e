//! `outputs`: the outputs of each attempt that has some, as JSON. A row is written once, in the transaction of the
//! attempt's outcome.

use rusqlite::{Connection, params};

use super::{execute, read_all, read_one};
use crate::model::{AttemptId, BuildId, JobId, Outputs, TaskName};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::{damaged, signed};

fn checksum(attempt: AttemptId, body: &str) -> Checksum {
    Checksum::of("outputs").number(signed(attempt.0)).bytes(body.as_bytes())
}

/// Adds the outputs of an attempt.
pub(crate) fn insert(
    conn: &Connection,
    attempt: AttemptId,
    (build, job, task): (BuildId, JobId, &TaskName),
    outputs: &Outputs,
) -> rusqlite::Result<()> {
    let body = serde_json::to_string(outputs).expect("a list of texts is always JSON");
    let seal = checksum(attempt, &body).value();
    const INSERT: &str = "INSERT INTO outputs (attempt, build, job, task, body, seal) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    execute(conn, INSERT, params![attempt, build, job, &**task, body, seal])?;
    Ok(())
}

/// Returns the outputs of a build's attempts.
pub(crate) fn of_build(conn: &Connection, build: BuildId) -> rusqlite::Result<Vec<(AttemptId, Outputs)>> {
    const OF_BUILD: &str = "SELECT attempt, body, seal FROM outputs WHERE build = ?1 ORDER BY attempt";
    read_all(conn, OF_BUILD, [build], |row| {
        let (attempt, body): (AttemptId, String) = (row.get(0)?, row.get(1)?);
        Ok((attempt, read(attempt, &body, row.get(2)?)?))
    })
}

/// Returns the outputs of a task of a build: those of the newest attempt of its job, if that has any.
pub(crate) fn of_task(conn: &Connection, build: BuildId, task: &TaskName) -> rusqlite::Result<Outputs> {
    const OF_TASK: &str = "SELECT o.attempt, o.body, o.seal FROM outputs o JOIN jobs j ON j.id = o.job \
                           WHERE o.build = ?1 AND o.task = ?2 AND j.attempt = o.attempt";
    let found = read_one(conn, OF_TASK, params![build, &**task], |row| {
        let (attempt, body): (AttemptId, String) = (row.get(0)?, row.get(1)?);
        read(attempt, &body, row.get(2)?)
    })?;
    Ok(found.unwrap_or_default())
}

fn read(attempt: AttemptId, body: &str, seal: i64) -> rusqlite::Result<Outputs> {
    checksum(attempt, body).check(seal, || format!("the outputs of {attempt}"))?;
    serde_json::from_str(body).map_err(|error| damaged(error.to_string()))
}
