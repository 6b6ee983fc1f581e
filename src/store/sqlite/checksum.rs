//! The checksum in each row that a decision may rest on, column `seal`. It tells a flipped bit from a value: SQLite
//! notices a malformed page, but not a number that became another one. It covers the row's id and, if the row names a
//! text that is kept elsewhere, that text. Each file of `tables/` makes and checks its own on every write and read.
//!
//! A column that a migration adds enters the checksum only when it is not NULL, so that older rows keep theirs.
//!
//! The checksum of a job's row is a sum instead, see `tables/jobs.rs`. Does no I/O.

use super::values::damaged;

/// A CRC-32 over what a row holds.
pub(super) struct Checksum(crc32fast::Hasher);

impl Checksum {
    /// For a row of the table of that name, so that rows of two tables never pass for each other.
    pub(super) fn of(table: &str) -> Self {
        Self(crc32fast::Hasher::new()).bytes(table.as_bytes())
    }

    pub(super) fn number(mut self, number: impl Into<i64>) -> Self {
        self.0.update(&number.into().to_le_bytes());
        self
    }

    pub(super) fn maybe_number(self, number: Option<impl Into<i64>>) -> Self {
        match number {
            Some(number) => self.number(1).number(number),
            None => self.number(0),
        }
    }

    /// Adds the bytes after their length, so that what follows cannot be taken for their end.
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let mut checksum = self.number(bytes.len() as i64);
        checksum.0.update(bytes);
        checksum
    }

    pub(super) fn maybe_text(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.bytes(text.as_bytes()),
            None => self.number(-1),
        }
    }

    /// The column's value.
    pub(super) fn value(self) -> i64 {
        self.0.finalize().into()
    }

    /// Refuses a row whose checksum, as found, is another one.
    pub(super) fn check(self, found: i64, row: impl FnOnce() -> String) -> rusqlite::Result<()> {
        compare(self.value(), found, row)
    }
}

pub(super) fn compare(expected: i64, found: i64, row: impl FnOnce() -> String) -> rusqlite::Result<()> {
    if expected == found { Ok(()) } else { Err(damaged(format!("the row of {} does not match its checksum", row()))) }
}
