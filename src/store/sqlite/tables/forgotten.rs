//! `forgotten`: the newest of the builds that retention removed, and by which rule.

use rusqlite::{Connection, Row, params};

use super::{execute, read_one};
use crate::model::{BuildId, WallTime};
use crate::store::Rule;
use crate::store::sqlite::values::numbered;

numbered!(Rule, "rule of removal": Age = 0, Count = 1, Size = 2);

/// Number of builds of which it is remembered why they were removed.
const REMEMBERED_MAX: u32 = 20_000;

pub(crate) fn insert(conn: &Connection, build: BuildId, rule: Rule, at: WallTime) -> rusqlite::Result<()> {
    const INSERT: &str = "INSERT OR REPLACE INTO forgotten (build, rule, at) VALUES (?1, ?2, ?3)";
    execute(conn, INSERT, params![build, rule, at]).map(drop)
}

/// Deletes the oldest rows beyond [`REMEMBERED_MAX`].
pub(crate) fn prune(conn: &Connection) -> rusqlite::Result<()> {
    const PRUNE: &str = "DELETE FROM forgotten WHERE build IN
         (SELECT build FROM forgotten ORDER BY build DESC LIMIT -1 OFFSET ?1)";
    execute(conn, PRUNE, [REMEMBERED_MAX]).map(drop)
}

pub(crate) fn read(conn: &Connection, build: BuildId) -> rusqlite::Result<Option<(Rule, WallTime)>> {
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    read_one(conn, "SELECT rule, at FROM forgotten WHERE build = ?1", [build], read)
}
