//! Removal of old builds and artifacts, so that a data directory does not grow for ever. The numbers of builds stay
//! taken: `meta` keeps the highest number of each kind, and `forgotten` the rule by which each of the newest removed
//! builds went. Unfinished builds and the build of a branch's present head are never removed. The caller decides what
//! goes, from what `Reader::survey` returns, and passes little at a time, because each call is one transaction between
//! others.

use rusqlite::{Connection, ToSql, Transaction};

use super::tables::specs::Tasks;
use super::tables::{artifacts, attempts, builds, execute, forgotten, jobs, meta, short_logs};
use crate::model::{ArtifactRemoval, AttemptId, BuildId, WallTime};
use crate::store::Rule;

/// Forgets those of these builds that may be forgotten, and commits.
pub(super) fn forget(
    tx: Transaction<'_>,
    wanted: &[BuildId],
    rule: Rule,
    at: WallTime,
) -> rusqlite::Result<Vec<BuildId>> {
    meta::keep_last_ids(&tx)?;
    let mut gone = Vec::with_capacity(wanted.len());
    for id in wanted {
        if builds::may_be_removed(&tx, *id)? {
            delete(&tx, *id)?;
            forgotten::insert(&tx, *id, rule, at)?;
            gone.push(*id);
        }
    }
    if gone.is_empty() {
        return Ok(gone);
    }
    forgotten::prune(&tx)?;
    tx.commit()?;
    Ok(gone)
}

/// Notes the removal of those of these artifacts that may be removed, and commits.
pub(super) fn remove_artifacts(
    tx: Transaction<'_>,
    wanted: &[(AttemptId, String)],
    removal: ArtifactRemoval,
) -> rusqlite::Result<Vec<(AttemptId, String)>> {
    let mut gone = Vec::with_capacity(wanted.len());
    for (attempt, name) in wanted {
        if artifacts::remove(&tx, *attempt, name, removal)? {
            gone.push((*attempt, name.clone()));
        }
    }
    tx.commit()?;
    Ok(gone)
}

fn delete(conn: &Connection, build: BuildId) -> rusqlite::Result<()> {
    let delete_from = |what: &str, id: &dyn ToSql| execute(conn, &format!("DELETE FROM {what} = ?1"), [id]);
    for attempt in attempts::of_build(conn, build)? {
        for what in [
            "late_results WHERE attempt",
            "steps WHERE attempt",
            "artifacts WHERE attempt",
            "executions WHERE attempt",
            "outputs WHERE attempt",
            "outcomes WHERE attempt",
            "attempts WHERE id",
        ] {
            delete_from(what, &attempt.id)?;
        }
    }
    for job in jobs::of_build(conn, build, &mut Tasks::default())? {
        delete_from("jobs WHERE id", &job.id)?;
    }
    short_logs::delete_of(conn, build)?;
    for what in ["decisions WHERE build", "ranges WHERE build", "joined WHERE build", "builds WHERE id"] {
        delete_from(what, &build)?;
    }
    Ok(())
}
