//! A copy of the store in one file, by SQLite's online backup: a state that was committed, whatever is written
//! meanwhile. Comes into being whole, by a rename, and never replaces a file. Called by the writer and by readers.

use std::fs;
use std::io;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::{StoreError, schema, wal};

/// Copies what `conn` sees now to a new file at `path`.
pub(super) fn copy(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    if path.try_exists().map_err(StoreError::io("look for", path))? {
        return Err(StoreError::io("write a backup to", path)(io::ErrorKind::AlreadyExists.into()));
    }
    let part = wal::beside(path, ".part");
    let copied = copy_pages(conn, &part).map_err(|e| StoreError::from_sqlite("write a backup to", path, e));
    copied.and_then(|()| schema::put_in_place(&part, path)).inspect_err(|_| {
        // The error that is returned says why there is no backup; a part of one is of no use.
        drop(fs::remove_file(&part));
    })
}

fn copy_pages(conn: &Connection, part: &Path) -> rusqlite::Result<()> {
    let mut target = Connection::open(part)?;
    // In one step, because in many it begins anew with each commit of the writer.
    let step = Backup::new(conn, &mut target)?.step(-1)?;
    if step != StepResult::Done {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(rusqlite::Error::SqliteFailure(busy, None));
    }
    target.close().map_err(|(_, e)| e)
}
