//! What can go wrong with the store. The caller branches on variants and shows the text; SQLite's own words stay in
//! the source. Owns the one place where SQLite's codes become ours; called by every other file of this room.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_WRITE};

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing of the batch was stored, and the store is as usable as before: wait, then try the same batch again.
    #[error("no room is left on the disk of {}", path.display())]
    Full { path: PathBuf, source: rusqlite::Error },
    /// Another program holds the file locked, such as a shell in the midst of a transaction. Nothing was stored.
    #[error("{} is held locked by another program", path.display())]
    Busy { path: PathBuf, source: rusqlite::Error },
    /// Another process is the writer of this directory.
    #[error("another dispatcher{} uses the data directory {}", holder_text(*.holder), directory.display())]
    InUse { directory: PathBuf, holder: Option<u32> },
    /// A later version of the program wrote it.
    #[error(
        "{} has schema version {found}, and this surveil knows versions up to {known}: start the newer surveil, or \
         restore a backup from before it was upgraded", path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    /// It was a store once, and is damaged now.
    #[error(
        "{} is damaged, {what}: keep a copy of it, then restore it from a backup and remove the files beside it \
         that end in -wal and -shm", path.display()
    )]
    Corrupt { path: PathBuf, what: String, source: Option<rusqlite::Error> },
    /// There is a file of that name that never was a store.
    #[error("{} is not a store of surveil, {why}: name another data directory, or restore it from a backup", path.display())]
    Foreign { path: PathBuf, why: &'static str },
    /// It is a backup, and numbers given out since it was made would be given out again.
    #[error("{} is a backup, not a store to go on with: bring it into use with `surveil restore`", path.display())]
    IsBackup { path: PathBuf },
    /// The file is gone while other parts of its data directory are there.
    #[error(
        "{} is missing although {} remains: restore it from a backup, or move what remains away to begin anew",
        path.display(), remains.display()
    )]
    Missing { path: PathBuf, remains: PathBuf },
    /// The caller's view and the store's disagree. Nothing of the batch was stored; going on would spread the error.
    #[error("{record} contradicts the store, {why}")]
    Contradiction { record: String, why: String },
    /// SQLite failed, such as by an error from sync. What reached the disk is unknown: end the process.
    #[error("could not {doing} {}", path.display())]
    Failed { doing: &'static str, path: PathBuf, source: rusqlite::Error },
    /// The operating system failed.
    #[error("could not {doing} {}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

impl StoreError {
    /// Whether the same call may succeed later without anyone mending the store: the caller waits and tries again.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Busy { .. })
    }

    /// Whether SQLite could not write for a reason that it does not tell from others.
    pub(super) fn is_unexplained_write(&self) -> bool {
        let Self::Failed { source: rusqlite::Error::SqliteFailure(failure, _), .. } = self else { return false };
        failure.extended_code == SQLITE_IOERR_WRITE
    }

    /// Names what SQLite reported.
    pub(super) fn from_sqlite(doing: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match Kind::of(&source) {
            Kind::Full => Self::Full { path, source },
            Kind::Busy => Self::Busy { path, source },
            Kind::Corrupt => {
                Self::Corrupt { path, what: format!("seen while trying to {doing} it"), source: Some(source) }
            }
            Kind::Constraint | Kind::Other => Self::Failed { doing, path, source },
        }
    }

    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    pub(super) fn corrupt(path: &Path, what: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), what: what.into(), source: None }
    }
}

fn holder_text(holder: Option<u32>) -> String {
    holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// What SQLite's codes amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Full,
    Busy,
    Corrupt,
    Constraint,
    Other,
}

impl Kind {
    #[expect(clippy::wildcard_enum_match_arm, reason = "SQLite's list is long, and only these are told apart")]
    pub(super) fn of(error: &rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        if let E::SqliteFailure(failure, _) = error {
            return match failure.code {
                ErrorCode::DiskFull => Self::Full,
                // The index of the write-ahead log could not grow, which is what a full disk does to it.
                ErrorCode::SystemIoFailure if failure.extended_code == SQLITE_IOERR_SHMSIZE => Self::Full,
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt,
                ErrorCode::ConstraintViolation => Self::Constraint,
                _ => Self::Other,
            };
        }
        // A value that is none of ours was not written by us.
        if matches!(
            error,
            E::FromSqlConversionFailure(..)
                | E::InvalidColumnType(..)
                | E::IntegralValueOutOfRange(..)
                | E::Utf8Error(..)
        ) {
            return Self::Corrupt;
        }
        Self::Other
    }
}

/// Why one record could not be applied, before the path and the record are known.
#[derive(Debug)]
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    Contradiction(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Refuses a statement that did not change the one row that it means.
pub(super) fn one_row(changed: usize, why: impl FnOnce() -> String) -> Result<(), Fault> {
    if changed == 1 { Ok(()) } else { Err(Fault::Contradiction(why())) }
}
