//! Connections to the file, and the settings that each kind has.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::wal;

/// How long another program's lock on the file is waited for. A reader meets one only while a writer recovers the log
/// after a crash.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages in the write-ahead log after which a commit also moves them to the main file: 16 MiB. SQLite's 1,000 would
/// have every busy batch wait for that; many more would make the wait long and the file beside the store large.
const CHECKPOINT_PAGES: i64 = 4000;
/// Size to which the log shrinks after a large transaction or a slow reader made it larger.
const LOG_BYTES_MAX: i64 = 64 << 20;
/// SQLite's cache of pages, in KiB (which it counts as negative): enough for the newest part of every table, where
/// nearly all writes go.
const CACHE_KIB: i64 = -8192;
/// Prepared statements that a writer keeps; there are some forty.
const WRITER_STATEMENTS_MAX: usize = 64;
/// Prepared statements that a reader keeps; there are some fifteen.
const READER_STATEMENTS_MAX: usize = 32;

pub(super) fn for_writing(path: &Path) -> rusqlite::Result<Connection> {
    let conn = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE, WRITER_STATEMENTS_MAX)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // An answer to every commit is a promise, so every commit is synced.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "cache_size", CACHE_KIB)?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    conn.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_MAX, |_| Ok(()))?;
    // It is so since the file was made; whoever switched it off with another program is overruled.
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    Ok(conn)
}

pub(super) fn for_reading(path: &Path) -> rusqlite::Result<Connection> {
    let conn = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY, READER_STATEMENTS_MAX)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

/// For reading a store that no writer has. SQLite would make the log's index beside it, or write it anew; here it keeps
/// an index of its own in memory. A log without an index cannot be read so. Without a log, the main file is complete.
pub(super) fn for_reading_unattended(path: &Path) -> rusqlite::Result<Connection> {
    let is_filled = |suffix| wal::beside(path, suffix).metadata().is_ok_and(|meta| meta.len() > 0);
    let how = if is_filled("-wal") || wal::beside(path, "-shm").exists() { "readonly_shm=1" } else { "immutable=1" };
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            uri.push_str(&format!("%{byte:02x}"));
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let conn = open(Path::new(&format!("{uri}?mode=ro&{how}")), flags, READER_STATEMENTS_MAX)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

fn open(path: &Path, flags: OpenFlags, statements_max: usize) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(statements_max);
    conn.pragma_update(None, "trusted_schema", false)?;
    // Plans do not depend on bound values. Else SQLite prepares many a cached statement anew at each use, which was
    // more than half of the time of reading all builds.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // A page is looked at when it is read, not only when it breaks something.
    conn.pragma_update(None, "cell_size_check", true)?;
    Ok(conn)
}
