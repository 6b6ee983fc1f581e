//! Model values that several tables keep as columns, and back. A value that no version of this program wrote is damage,
//! never a default. Used by `tables/`; does no I/O.

use rusqlite::types::Type;

use crate::model::{CommitId, RepoName};

/// A value that no version of this program wrote.
pub(super) fn damaged(what: impl Into<String>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Null, what.into().into())
}

/// A number as SQLite keeps it, bit by bit: SQLite has no unsigned integers.
pub(super) fn signed(number: u64) -> i64 {
    number.cast_signed()
}

pub(super) fn commit_id(raw: &[u8]) -> rusqlite::Result<CommitId> {
    CommitId::from_bytes(raw).map_err(|e| damaged(e.to_string()))
}

pub(super) fn repo_name(text: &str) -> rusqlite::Result<RepoName> {
    RepoName::new(text).map_err(|e| damaged(e.to_string()))
}
