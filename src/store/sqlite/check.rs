//! The checks that a file passes each time a store opens, before it is trusted (S4). Nothing here mends a file, or
//! begins an empty store where another was.
//!
//! Checked at every start: the file is there if other parts of its data directory are; it is not empty; its header is
//! SQLite's and ours; the log holds every commit that was acknowledged (`wal.rs`); the version is known; every table is
//! as the migrations made it. A structural check of all pages (`quick_check`) is linear in the file's size, so a start
//! makes it up to [`WHOLE_CHECK_BYTES_MAX`]. Above, it covers only the small tables; all others are checked when they
//! are read: SQLite refuses a malformed page, `checksum.rs` a row that was changed, `tables/` a value that has no
//! meaning. `Reader::check` checks everything at any size, while the dispatcher works.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::tables::meta;
use super::{connection, failure, schema, wal};
use crate::store::StoreError;

/// Size of a file up to which a start checks all pages: about 0.2 s if they are in memory.
const WHOLE_CHECK_BYTES_MAX: u64 = 64 << 20;

/// Tables that stay small, however many builds there were.
const SMALL_TABLES: &[&str] = &["meta", "repos", "heads", "patterns", "runners", "specs", "reasons"];

/// Refuses to make a new store beside what is left of an older one.
pub(super) fn refuse_remains(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let log = wal::beside(path, "-wal");
    let remains = [log.exists().then_some(log), filled(directory.join("mirrors")), filled(directory.join("logs"))];
    match remains.into_iter().flatten().next() {
        Some(remains) => Err(StoreError::Missing { store: failure::name(path), remains: failure::name(&remains) }),
        None => Ok(()),
    }
}

fn filled(directory: PathBuf) -> Option<PathBuf> {
    let mut entries = directory.read_dir().ok()?;
    entries.next().map(|_| directory)
}

/// Checks the first bytes, before SQLite opens the file.
pub(super) fn check_header(path: &Path) -> Result<(), StoreError> {
    let mut header = Vec::with_capacity(100);
    File::open(path).and_then(|file| file.take(100).read_to_end(&mut header)).map_err(failure::io("read", path))?;
    if header.is_empty() {
        return Err(failure::foreign(path, "it is empty"));
    }
    if header.len() < 100 || !header.starts_with(b"SQLite format 3\0") {
        return Err(failure::foreign(path, "it does not begin as one"));
    }
    if header[68..72] != schema::APPLICATION_ID.to_be_bytes() {
        return Err(failure::foreign(path, "another program made it"));
    }
    Ok(())
}

/// Refuses a backup. A file that cannot be read passes here; the checks after this one judge it.
pub(super) fn refuse_backup(path: &Path) -> Result<(), StoreError> {
    let is_backup = connection::for_reading(path).and_then(|conn| meta::is_backup(&conn));
    if is_backup.unwrap_or(false) { Err(StoreError::IsBackup { store: failure::name(path) }) } else { Ok(()) }
}

/// Checks that the log still holds every commit that was acknowledged.
pub(super) fn check_log(path: &Path) -> Result<(), StoreError> {
    match wal::find_loss(path).map_err(failure::io("read the write-ahead log of", path))? {
        Some(what) => Err(failure::corrupt(path, what)),
        None => Ok(()),
    }
}

/// Checks the tables, as far as the time of a start allows.
pub(super) fn check_tables(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let differing = schema::find_difference(conn).map_err(|e| failure::failed("read the tables of", path, e))?;
    if let Some(name) = differing {
        return Err(failure::corrupt(path, format!("its {name} is not as it was made")));
    }
    let bytes = path.metadata().map_err(failure::io("read the size of", path))?.len();
    if bytes <= WHOLE_CHECK_BYTES_MAX {
        return check_pages(conn, path, None);
    }
    SMALL_TABLES.iter().try_for_each(|table| check_pages(conn, path, Some(table)))
}

/// Checks the structure of the pages of one table, or of all.
pub(super) fn check_pages(conn: &Connection, path: &Path, table: Option<&str>) -> Result<(), StoreError> {
    let pragma = match table {
        Some(table) => format!("PRAGMA quick_check('{table}')"),
        None => "PRAGMA quick_check(1)".to_owned(),
    };
    let said: String = conn.query_row(&pragma, [], |row| row.get(0)).map_err(|e| failure::failed("check", path, e))?;
    // SQLite answers in lines; an error is one sentence.
    if said == "ok" { Ok(()) } else { Err(failure::corrupt(path, said.replace('\n', " "))) }
}
