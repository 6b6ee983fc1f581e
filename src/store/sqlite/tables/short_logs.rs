//! `short_logs`: the bytes of short streams, from the commit of their outcome until their files are durable.

use rusqlite::{Connection, params};

use super::{execute, read_all, read_one};
use crate::model::{BuildId, ShortLog};
use crate::store::sqlite::checksum::Checksum;

fn checksum(log: &ShortLog) -> Checksum {
    let ShortLog { build, path, bytes } = log;
    Checksum::of("short_logs").number(build.0.cast_signed()).bytes(path.as_bytes()).bytes(bytes)
}

/// Adds one under this number.
pub(crate) fn insert(conn: &Connection, id: i64, log: &ShortLog) -> rusqlite::Result<()> {
    const INSERT: &str = "INSERT INTO short_logs (id, build, path, bytes, seal) VALUES (?1, ?2, ?3, ?4, ?5)";
    execute(conn, INSERT, params![id, log.build, log.path, log.bytes, checksum(log).value()]).map(drop)
}

/// Returns the number of the newest; 0 if there is none.
pub(crate) fn last(conn: &Connection) -> rusqlite::Result<i64> {
    let last = read_one(conn, "SELECT max(id) FROM short_logs", [], |row| row.get::<_, Option<i64>>(0))?;
    Ok(last.flatten().unwrap_or(0))
}

/// Returns at most `count` with a number above `after`, in ascending order.
pub(crate) fn after(conn: &Connection, after: i64, count: u32) -> rusqlite::Result<Vec<(i64, ShortLog)>> {
    const AFTER: &str = "SELECT id, build, path, bytes, seal FROM short_logs WHERE id > ?1 ORDER BY id LIMIT ?2";
    read_all(conn, AFTER, params![after, count], |row| {
        let log = ShortLog { build: row.get(1)?, path: row.get(2)?, bytes: row.get(3)? };
        checksum(&log).check(row.get(4)?, || format!("the short log {}", log.path))?;
        Ok((row.get(0)?, log))
    })
}

/// Removes at most `count` with a number up to `up_to`. Returns how many there were.
pub(crate) fn delete(conn: &Connection, up_to: i64, count: u32) -> rusqlite::Result<usize> {
    const DELETE: &str =
        "DELETE FROM short_logs WHERE id IN (SELECT id FROM short_logs WHERE id <= ?1 ORDER BY id LIMIT ?2)";
    execute(conn, DELETE, params![up_to, count])
}

/// Removes those of a build.
pub(crate) fn delete_of(conn: &Connection, build: BuildId) -> rusqlite::Result<()> {
    execute(conn, "DELETE FROM short_logs WHERE build = ?1", [build]).map(drop)
}
