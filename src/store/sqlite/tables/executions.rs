//! `executions`: how each attempt was executed, as JSON. A row is written once, in the transaction of the attempt's
//! outcome.

use rusqlite::{Connection, params};

use super::attempts::with_attempts_of_build;
use super::{execute, read_all};
use crate::model::{AttemptId, BuildId, ExecutionRecord};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::{damaged, signed};

fn checksum(attempt: AttemptId, body: &str) -> Checksum {
    Checksum::of("executions").number(signed(attempt.0)).bytes(body.as_bytes())
}

/// Adds the record of an attempt.
pub(crate) fn insert(conn: &Connection, attempt: AttemptId, execution: &ExecutionRecord) -> rusqlite::Result<()> {
    let body = serde_json::to_string(execution).expect("a struct of texts and numbers is always JSON");
    let seal = checksum(attempt, &body).value();
    const INSERT: &str = "INSERT INTO executions (attempt, body, seal) VALUES (?1, ?2, ?3)";
    execute(conn, INSERT, params![attempt, body, seal])?;
    Ok(())
}

/// Returns the records of a build's attempts.
pub(crate) fn of_build(conn: &Connection, build: BuildId) -> rusqlite::Result<Vec<(AttemptId, ExecutionRecord)>> {
    const OF_BUILD: &str = concat!(
        with_attempts_of_build!(),
        "SELECT e.attempt, e.body, e.seal FROM chain c JOIN executions e ON e.attempt = c.id ORDER BY e.attempt"
    );
    read_all(conn, OF_BUILD, [build], |row| {
        let (attempt, body): (AttemptId, String) = (row.get(0)?, row.get(1)?);
        checksum(attempt, &body).check(row.get(2)?, || format!("the execution of {attempt}"))?;
        let execution = serde_json::from_str(&body).map_err(|error| damaged(error.to_string()))?;
        Ok((attempt, execution))
    })
}
