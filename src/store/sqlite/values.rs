//! Model values as columns, and back: one table of the types that stand in a column of their own. A value that no
//! version of this program wrote is damage, never a default. Used by `tables/`; does no I/O.

use rusqlite::Row;
use rusqlite::types::{FromSqlError, Type};

use crate::model::reason::{RecordedReason, StoredReason};
use crate::model::{AttemptId, BuildId, CommitId, JobId, RefName, RepoName, RunnerId, RunnerName, WallTime};

/// Lets types stand in columns: `type: value => what SQLite gets, how SQLite's value is taken => value`.
macro_rules! columns {
    ($($type:ident: $value:ident => $to:expr, $raw:ident.$take:ident => $from:expr;)+) => {$(
        impl rusqlite::types::ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                let $value = self;
                Ok($to.into())
            }
        }

        impl rusqlite::types::FromSql for $type {
            fn column_result($raw: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                let $raw = $raw.$take()?;
                $from
            }
        }
    )+};
}
pub(super) use columns;

columns! {
    BuildId: id => signed(id.0), raw.as_i64 => Ok(Self(raw.cast_unsigned()));
    JobId: id => signed(id.0), raw.as_i64 => Ok(Self(raw.cast_unsigned()));
    AttemptId: id => signed(id.0), raw.as_i64 => Ok(Self(raw.cast_unsigned()));
    RunnerId: id => signed(id.0), raw.as_i64 => Ok(Self(raw.cast_unsigned()));
    WallTime: at => at.0, raw.as_i64 => Ok(Self(raw));
    CommitId: commit => commit.as_bytes(), raw.as_blob => Self::from_bytes(raw).map_err(FromSqlError::other);
    RepoName: repo => repo.as_str(), raw.as_str => Self::new(raw).map_err(FromSqlError::other);
    RefName: reference => reference.as_str(), raw.as_str => Ok(Self::new(raw));
    RunnerName: runner => runner.as_str(), raw.as_str => Ok(Self::recorded(raw));
}

/// An enum that stands in a column as a number.
pub(super) trait Numbered {
    fn number(&self) -> i64;
}

/// Gives each variant of an enum its number; a number that stands for none is damage.
macro_rules! numbered {
    ($type:ident, $name:literal: $($variant:ident = $number:literal),+) => {
        impl $crate::store::sqlite::values::Numbered for $type {
            fn number(&self) -> i64 {
                match self {
                    $(Self::$variant => $number,)+
                }
            }
        }

        $crate::store::sqlite::values::columns! {
            $type: value => $crate::store::sqlite::values::Numbered::number(value), raw.as_i64 => match raw {
                $($number => Ok(Self::$variant),)+
                _ => Err(rusqlite::types::FromSqlError::Other(format!("there is no {} {raw}", $name).into())),
            };
        }
    };
}
pub(super) use numbered;

/// A value that no version of this program wrote.
pub(super) fn damaged(what: impl Into<String>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Null, what.into().into())
}

/// A number as SQLite keeps it, bit by bit: SQLite has no unsigned integers.
pub(super) fn signed(number: u64) -> i64 {
    number.cast_signed()
}

/// Reads a number that may be missing.
pub(super) fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(at)?.map(i64::cast_unsigned))
}

/// A reason as its two columns keep it: the text for people, and JSON with the code and what the code needs.
pub(super) fn reason_columns(reason: &impl StoredReason) -> (String, Option<String>) {
    (reason.to_string(), reason_json(reason))
}

/// The JSON of a reason; `None` if only its text is known.
pub(super) fn reason_json(reason: &impl StoredReason) -> Option<String> {
    serde_json::to_string(reason).ok()
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
