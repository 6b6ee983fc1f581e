//! Copies of the store in one file, by SQLite's online backup. A copy is a state that was committed, whatever is
//! written meanwhile. It appears whole, by a rename, and never replaces a file.
//!
//! A backup is marked as one, and [`super::open`] refuses it. A dispatcher that went on from a backup would give out
//! numbers a second time that were given out after the backup was made, and runners tell attempts apart by their
//! numbers (S6, S7). [`restore`] removes the mark and lets the numbers go on far above. Called for operators' commands;
//! never by a dispatcher.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::lock::Lock;
use super::tables::{builds, meta};
use super::{check, connection, failure, schema, wal};
use crate::model::{BuildId, WallTime};
use crate::store::StoreError;

/// After a restoration, numbers of builds skip so many for each second since the last build in the copy. No dispatcher
/// makes a build a second for long. So no build after the backup, and none after an earlier restoration of it, has such
/// a number; and it stays short enough to be typed.
const BUILDS_PER_SECOND: u64 = 1;
/// Numbers of builds that are skipped besides: for many branches that were pushed at once right after the backup.
const BUILDS_AT_ONCE: u64 = 1000;
/// Numbers of jobs and attempts for each second: there may be many of them in a second. The numbers stay below 2^53,
/// which readers of JSON take for integers.
const OTHERS_PER_SECOND: u64 = 1 << 20;

/// Makes a backup of the store at `from`: a new file at `to`, checked to the last page, and marked. A dispatcher may
/// be at work on it or not. A store that is not sound is refused, as a dispatcher would refuse it.
pub fn back_up(from: &Path, to: &Path) -> Result<(), StoreError> {
    check::check_header(from)?;
    // If nobody writes, the log that a killed dispatcher left has to be checked before SQLite removes it. The lock is
    // held no longer than the copy takes.
    let idle = match Lock::hold(from) {
        Ok(lock) => Some(lock),
        Err(StoreError::InUse { .. }) => None,
        Err(error) => return Err(error),
    };
    if idle.as_ref().is_some_and(|lock| lock.same_boot) {
        check::check_log(from)?;
    }
    let conn = connection::for_reading(from).map_err(|e| failure::failed("open", from, e))?;
    schema::known_version(&conn, from)?;
    copy_and(&conn, to, |part| {
        let conn = Connection::open(part).map_err(failed_on(part))?;
        meta::mark_backup(&conn).map_err(failed_on(part))?;
        // Without WAL the backup is one file, and can be read from a disk that cannot be written.
        conn.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).map_err(failed_on(part))?;
        check::check_pages(&conn, part, None)?;
        conn.close().map_err(|(_, e)| failed_on(part)(e))
    })
}

/// A store that is restored, but does not have its name yet.
#[derive(Debug)]
pub struct Restoring {
    part: PathBuf,
    path: PathBuf,
    /// New builds get numbers above this.
    pub last_build: BuildId,
    _lock: Lock,
}

/// Makes a store for `to` from a copy at `from`, which is a backup, or a store with the files beside it. The store is
/// checked to the last page. Its numbers go on from `at`, above all that were given out since the copy was made.
pub fn restore(from: &Path, to: &Path, at: WallTime) -> Result<Restoring, StoreError> {
    let lock = Lock::hold(to)?;
    check::check_header(from)?;
    if to.try_exists().map_err(failure::io("look for", to))? {
        return Err(failure::io("restore over", to)(io::ErrorKind::AlreadyExists.into()));
    }
    check::refuse_remains(to)?;
    let part = wal::beside(to, ".part");
    for suffix in ["", "-wal"] {
        let source = wal::beside(from, suffix);
        if suffix.is_empty() || source.exists() {
            fs::copy(&source, wal::beside(&part, suffix)).map_err(failure::io("copy", &source))?;
        }
    }
    let last_build = renumber(&part, at)?;
    Ok(Restoring { part, path: to.to_owned(), last_build, _lock: lock })
}

impl Restoring {
    /// Gives the store its name, durably. From then on a dispatcher can start on it.
    pub fn put_in_place(self) -> Result<(), StoreError> {
        schema::put_in_place(&self.part, &self.path)
    }
}

fn renumber(part: &Path, at: WallTime) -> Result<BuildId, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(part, flags).map_err(failed_on(part))?;
    schema::known_version(&conn, part)?;
    check::check_pages(&conn, part, None)?;
    let seconds = u64::try_from(at.0).unwrap_or(0) / 1000;
    let change = |conn: &mut Connection| {
        let tx = conn.transaction()?;
        meta::unmark_backup(&tx)?;
        let newest = builds::newest_at(&tx)?.map_or(seconds, |at| u64::try_from(at.0).unwrap_or(0) / 1000);
        let last_build = meta::last_id(&tx, "builds")?
            .saturating_add(BUILDS_AT_ONCE)
            .saturating_add(seconds.saturating_sub(newest).saturating_mul(BUILDS_PER_SECOND));
        meta::set_last_id(&tx, "builds", last_build)?;
        for table in ["jobs", "attempts"] {
            // If the clock is behind the clock of an earlier restoration, the numbers still skip one second.
            let next = meta::last_id(&tx, table)?.saturating_add(OTHERS_PER_SECOND);
            meta::set_last_id(&tx, table, next.max(seconds.saturating_mul(OTHERS_PER_SECOND)))?;
        }
        tx.commit()?;
        // Moves what is in the log into the one file that is put in place.
        conn.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
        Ok(last_build)
    };
    let last_build = change(&mut conn).map_err(failed_on(part))?;
    conn.close().map_err(|(_, e)| failed_on(part)(e))?;
    Ok(BuildId(last_build))
}

fn failed_on(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError + use<'_> {
    |e| failure::failed("write", path, e)
}

fn copy_and(
    conn: &Connection,
    path: &Path,
    complete: impl FnOnce(&Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    if path.try_exists().map_err(failure::io("look for", path))? {
        return Err(failure::io("write a backup to", path)(io::ErrorKind::AlreadyExists.into()));
    }
    let part = wal::beside(path, ".part");
    let copied = copy_pages(conn, &part).map_err(|e| failure::failed("write a backup to", path, e));
    copied.and_then(|()| complete(&part)).and_then(|()| schema::put_in_place(&part, path)).inspect_err(|_| {
        // The error is ignored: the one that is returned says why there is no backup.
        drop(fs::remove_file(&part));
    })
}

fn copy_pages(conn: &Connection, part: &Path) -> rusqlite::Result<()> {
    let mut target = Connection::open(part)?;
    // In one step: in several, SQLite would begin again with each commit of the writer.
    let step = Backup::new(conn, &mut target)?.step(-1)?;
    if step != StepResult::Done {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(rusqlite::Error::SqliteFailure(busy, None));
    }
    target.close().map_err(|(_, e)| e)
}
