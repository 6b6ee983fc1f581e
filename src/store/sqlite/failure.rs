//! Failures of SQLite and of files as errors of the store: the one place where SQLite's codes become ours.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_WRITE};

use crate::store::StoreError;

/// The remedy for a damaged file.
const REMEDY: &str =
    "keep a copy of it, then restore it from a backup and remove the files beside it that end in -wal and -shm";

/// The store's name in errors.
pub(super) fn name(path: &Path) -> String {
    path.display().to_string()
}

/// Names what SQLite reported while `doing`.
pub(super) fn failed(doing: &'static str, path: &Path, error: rusqlite::Error) -> StoreError {
    let (store, kind, source) = (name(path), Kind::of(&error), error.into());
    match kind {
        Kind::Full => StoreError::Full { store, source },
        Kind::Busy => StoreError::Busy { store, source },
        Kind::Corrupt => {
            let what = format!("seen while trying to {doing} it");
            StoreError::Corrupt { store, what, remedy: REMEDY, source: Some(source) }
        }
        Kind::Constraint | Kind::Other => StoreError::Failed { doing, store, source },
    }
}

/// Names what the operating system reported while `doing`.
pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |error| StoreError::Failed { doing, store: name(path), source: error.into() }
}

pub(super) fn corrupt(path: &Path, what: impl Into<String>) -> StoreError {
    StoreError::Corrupt { store: name(path), what: what.into(), remedy: REMEDY, source: None }
}

pub(super) fn foreign(path: &Path, why: &'static str) -> StoreError {
    StoreError::Foreign { store: name(path), why }
}

/// Whether SQLite could not write, for a reason that it does not tell from others.
pub(super) fn is_unexplained_write(error: &StoreError) -> bool {
    let StoreError::Failed { source, .. } = error else { return false };
    let Some(rusqlite::Error::SqliteFailure(failure, _)) = source.downcast_ref() else { return false };
    failure.extended_code == SQLITE_IOERR_WRITE
}

/// The kinds of errors of SQLite that the store tells apart.
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
