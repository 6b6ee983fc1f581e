//! Forgetting old builds, so that a store does not grow for ever. Their numbers stay taken: the highest ones are kept
//! in `meta`. Never forgets unfinished work, nor the build of a branch's present head. Called by the dispatcher's core,
//! a bounded number at a time, because each call is one transaction between others.

use rusqlite::{Connection, params};

use super::rows::signed;
use super::{Store, StoreError, WholeBuild, queries};
use crate::model::{Attempt, Build, BuildId, Job, WallTime};

/// Which builds may be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Those that finished before then.
    Before(WallTime),
    /// All but so many of the newest finished ones of each repository.
    Newest(u32),
}

/// A finished build that is nobody's present head.
const FORGETTABLE: &str = "b.verdict IS NOT NULL AND NOT EXISTS (SELECT 1 FROM heads h
    WHERE h.repo = b.repo AND h.branch = b.branch AND h.head = b.commit_id)";

/// Tables whose numbers are given out.
const NUMBERED: &[&str] = &["builds", "jobs", "attempts", "runners"];

impl Store {
    /// Forgets builds, oldest first, at most so many, and returns them with all that belonged to them, so that their
    /// logs can be deleted. An empty answer means that nothing is left to forget. Durable on return.
    pub fn forget_builds(&mut self, rule: Retention, at_most: u32) -> Result<Vec<WholeBuild>, StoreError> {
        forget(&self.conn, rule, at_most).map_err(self.failed("forget builds of"))
    }
}

fn forget(conn: &Connection, rule: Retention, at_most: u32) -> rusqlite::Result<Vec<WholeBuild>> {
    let tx = Store::begin(conn)?;
    let ids = match rule {
        Retention::Before(time) => finished_before(&tx, time, at_most)?,
        Retention::Newest(kept) => beyond_newest(&tx, kept, at_most)?,
    };
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    keep_numbers(&tx)?;
    let mut specs = queries::Specs::new();
    let mut forgotten = Vec::with_capacity(ids.len());
    for id in ids {
        let id = BuildId(id.cast_unsigned());
        let Some(build) = queries::build(&tx, id)? else { continue };
        let jobs = queries::jobs(&tx, id, &mut specs)?;
        let attempts = queries::attempts(&tx, id)?;
        delete(&tx, &build, &jobs, &attempts)?;
        forgotten.push((build, jobs, attempts));
    }
    tx.commit()?;
    Ok(forgotten)
}

/// Builds are created in the order of their numbers, so the search ends at the first that was created too late.
fn finished_before(conn: &Connection, time: WallTime, at_most: u32) -> rusqlite::Result<Vec<i64>> {
    let mut statement = conn.prepare_cached(&format!(
        "SELECT b.id, b.created_at, b.finished_at < ?1 AND {FORGETTABLE} FROM builds b ORDER BY b.id"
    ))?;
    let mut found = statement.query([time.0])?;
    let mut ids = Vec::new();
    while let Some(row) = found.next()? {
        if row.get::<_, i64>(1)? >= time.0 || ids.len() >= at_most as usize {
            break;
        }
        if row.get::<_, Option<bool>>(2)? == Some(true) {
            ids.push(row.get(0)?);
        }
    }
    Ok(ids)
}

fn beyond_newest(conn: &Connection, kept: u32, at_most: u32) -> rusqlite::Result<Vec<i64>> {
    let mut statement = conn.prepare_cached(&format!(
        "SELECT b.id FROM repos r JOIN builds b ON b.repo = r.id
         WHERE {FORGETTABLE} AND b.id <= (
           SELECT n.id FROM builds n WHERE n.repo = r.id AND n.verdict IS NOT NULL
           ORDER BY n.id DESC LIMIT 1 OFFSET ?1)
         ORDER BY b.id LIMIT ?2"
    ))?;
    statement.query_map([kept, at_most], |row| row.get(0))?.collect()
}

/// The highest numbers, before the rows that show them go.
fn keep_numbers(conn: &Connection) -> rusqlite::Result<()> {
    for table in NUMBERED {
        conn.prepare_cached(&format!(
            "INSERT INTO meta (name, value) SELECT ?1, coalesce(max(id), 0) FROM {table} WHERE true
             ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)"
        ))?
        .execute([table])?;
    }
    Ok(())
}

fn delete(conn: &Connection, build: &Build, jobs: &[Job], attempts: &[Attempt]) -> rusqlite::Result<()> {
    for attempt in attempts {
        let id = signed(attempt.id.0);
        conn.prepare_cached("DELETE FROM late_results WHERE attempt = ?1")?.execute([id])?;
        conn.prepare_cached("DELETE FROM outcomes WHERE attempt = ?1")?.execute([id])?;
        conn.prepare_cached("DELETE FROM attempts WHERE id = ?1")?.execute([id])?;
    }
    for job in jobs {
        conn.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([signed(job.id.0)])?;
    }
    let id = signed(build.id.0);
    conn.prepare_cached("DELETE FROM decisions WHERE build = ?1")?.execute(params![id])?;
    conn.prepare_cached("DELETE FROM ranges WHERE build = ?1")?.execute(params![id])?;
    conn.prepare_cached("DELETE FROM builds WHERE id = ?1")?.execute(params![id])?;
    Ok(())
}
