//! `meta`: named numbers. The highest number ever given out, per table, which must outlive the rows that it comes from;
//! and the mark of a backup.

use rusqlite::{Connection, params};

use crate::store::sqlite::values::signed;

/// Tables whose numbers are given out.
const NUMBERED: &[&str] = &["builds", "jobs", "attempts", "runners"];

/// The name of the row that says that this is a backup.
const BACKUP: &str = "backup";

/// The name of the row that counts the starts of writers, for the order of what happens.
const EPOCH: &str = "epoch";

/// Begins a new epoch: all that is numbered in it comes after all that was numbered before.
pub(crate) fn next_epoch(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row(
        "INSERT INTO meta (name, value) VALUES (?1, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1
         RETURNING value",
        [EPOCH],
        |row| row.get(0),
    )
}

/// The highest number ever given out in that table, also if its row was forgotten since.
pub(crate) fn last_id(conn: &Connection, table: &str) -> rusqlite::Result<u64> {
    let query = format!(
        "SELECT max(coalesce((SELECT max(id) FROM {table}), 0),
           coalesce((SELECT value FROM meta WHERE name = ?1), 0))"
    );
    conn.prepare_cached(&query)?.query_row([table], |row| row.get(0)).map(i64::cast_unsigned)
}

/// Lets the numbers of a table go on above `last`.
pub(crate) fn set_last_id(conn: &Connection, table: &str, last: u64) -> rusqlite::Result<()> {
    conn.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", params![table, signed(last)]).map(drop)
}

/// Keeps the highest numbers, before the rows that show them go.
pub(crate) fn keep_last_ids(conn: &Connection) -> rusqlite::Result<()> {
    for table in NUMBERED {
        conn.prepare_cached(&format!(
            "INSERT INTO meta (name, value) SELECT ?1, coalesce(max(id), 0) FROM {table} WHERE true
             ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)"
        ))?
        .execute([table])?;
    }
    Ok(())
}

pub(crate) fn mark_backup(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, 1)", [BACKUP]).map(drop)
}

pub(crate) fn unmark_backup(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM meta WHERE name = ?1", [BACKUP]).map(drop)
}

pub(crate) fn is_backup(conn: &Connection) -> rusqlite::Result<bool> {
    conn.prepare("SELECT 1 FROM meta WHERE name = ?1")?.exists([BACKUP])
}
