//! Model values that several tables keep as columns, and back. A value that no version of this program wrote is damage,
//! never a default. Used by `tables/`; does no I/O.

use rusqlite::types::Type;

use crate::model::reason::{RecordedReason, StoredReason};
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

/// A reason as its two columns keep it: the text for people, and JSON with the code and what the code needs. A reason
/// of which only the text is known has no JSON.
pub(super) fn reason_columns(reason: &impl StoredReason) -> (String, Option<String>) {
    (reason.to_string(), serde_json::to_string(reason).ok())
}

/// Reads the two columns. A row from before there were codes, and a code of a newer program, leave the text.
pub(super) fn reason<T: StoredReason>(text: String, json: Option<&str>) -> T {
    let known = json.and_then(|json| serde_json::from_str(json).ok());
    known.unwrap_or_else(|| {
        let found = json.and_then(|json| serde_json::from_str::<serde_json::Value>(json).ok());
        let code = found.and_then(|found| found.get("code")?.as_str().map(str::to_owned));
        T::from(RecordedReason { code, text })
    })
}
