//! `artifacts`: what each attempt left, as JSON. A row is added in the transaction of the attempt's outcome, when the
//! manifests and their blobs are durable. Later only retention changes it: it notes of each artifact that it removes
//! when and why.

use rusqlite::{Connection, params};

use super::attempts::with_attempts_of_build;
use super::{execute, read_all, read_one};
use crate::model::{ArtifactRecord, ArtifactRemoval, AttemptId, BuildId, JobId, TaskName};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::{damaged, signed};

fn checksum(attempt: AttemptId, body: &str) -> Checksum {
    Checksum::of("artifacts").number(signed(attempt.0)).bytes(body.as_bytes())
}

/// Adds the artifacts of an attempt.
pub(crate) fn insert(
    conn: &Connection,
    attempt: AttemptId,
    (build, job, task): (BuildId, JobId, &TaskName),
    artifacts: &[ArtifactRecord],
) -> rusqlite::Result<()> {
    const INSERT: &str =
        "INSERT INTO artifacts (attempt, body, seal, build, job, task) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (body, seal) = sealed(attempt, artifacts);
    execute(conn, INSERT, params![attempt, body, seal, build, job, &**task]).map(drop)
}

/// Notes that an artifact of a finished build was removed. Returns false, and changes nothing, if it was removed
/// before, if its build is unfinished, or if there is no such artifact.
pub(crate) fn remove(
    conn: &Connection,
    attempt: AttemptId,
    name: &str,
    removal: ArtifactRemoval,
) -> rusqlite::Result<bool> {
    const FINISHED: &str = "SELECT r.attempt, r.body, r.seal FROM artifacts r JOIN attempts a ON a.id = r.attempt
        JOIN jobs j ON j.id = a.job JOIN builds b ON b.id = j.build WHERE r.attempt = ?1 AND b.verdict IS NOT NULL";
    let Some((_, mut artifacts)) = read_one(conn, FINISHED, [attempt], read)? else { return Ok(false) };
    let Some(artifact) = artifacts.iter_mut().find(|artifact| artifact.name == name && artifact.removed.is_none())
    else {
        return Ok(false);
    };
    artifact.removed = Some(removal);
    let (body, seal) = sealed(attempt, &artifacts);
    execute(conn, "UPDATE artifacts SET body = ?2, seal = ?3 WHERE attempt = ?1", params![attempt, body, seal])?;
    Ok(true)
}

/// Returns the body of a row, and its checksum.
fn sealed(attempt: AttemptId, artifacts: &[ArtifactRecord]) -> (String, i64) {
    let body = serde_json::to_string(artifacts).expect("a list of texts and numbers is always JSON");
    let seal = checksum(attempt, &body).value();
    (body, seal)
}

/// Returns the artifacts of a build's attempts, oldest attempt first.
pub(crate) fn of_build(conn: &Connection, build: BuildId) -> rusqlite::Result<Vec<(AttemptId, Vec<ArtifactRecord>)>> {
    const OF_BUILD: &str = concat!(
        with_attempts_of_build!(),
        "SELECT a.attempt, a.body, a.seal FROM chain c JOIN artifacts a ON a.attempt = c.id ORDER BY a.attempt"
    );
    read_all(conn, OF_BUILD, [build], read)
}

/// Returns the artifacts of a task of a build: those of the newest attempt of its job, if that left any.
pub(crate) fn of_task(conn: &Connection, build: BuildId, task: &TaskName) -> rusqlite::Result<Vec<ArtifactRecord>> {
    const OF_TASK: &str = "SELECT a.attempt, a.body, a.seal FROM artifacts a JOIN jobs j ON j.id = a.job \
                           WHERE a.build = ?1 AND a.task = ?2 AND j.attempt = a.attempt";
    Ok(read_one(conn, OF_TASK, params![build, &**task], read)?.map(|(_, artifacts)| artifacts).unwrap_or_default())
}

/// Returns the artifacts of all attempts.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<(AttemptId, Vec<ArtifactRecord>)>> {
    read_all(conn, "SELECT attempt, body, seal FROM artifacts ORDER BY attempt", [], read)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<(AttemptId, Vec<ArtifactRecord>)> {
    let (attempt, body): (AttemptId, String) = (row.get(0)?, row.get(1)?);
    checksum(attempt, &body).check(row.get(2)?, || format!("the artifacts of {attempt}"))?;
    let artifacts = serde_json::from_str(&body).map_err(|error| damaged(error.to_string()))?;
    Ok((attempt, artifacts))
}
