//! Memory of a writer between two records: row numbers of texts, and the number of the next record.

use rusqlite::Connection;

use super::{meta, reasons, repos, specs};

/// Row numbers of texts that are stored once and named by other rows, remembered so that a record that repeats a text
/// costs no query. They are right as long as no transaction fails; then they are emptied.
#[derive(Debug, Default)]
pub(crate) struct Interned {
    pub repos: repos::Ids,
    pub specs: specs::Ids,
    pub reasons: reasons::Ids,
    pub sequence: Sequence,
}

/// Numbers what happens, in the order in which it is written. A writer takes an epoch for itself with its first record,
/// in the same transaction, and counts within it; after that many records it takes the next one. That costs no write
/// per commit and no search at a start.
#[derive(Debug, Default)]
pub(crate) struct Sequence(i64);

impl Sequence {
    /// Bits for the number within an epoch. With few of them, a number takes two to four bytes of a row.
    const EPOCH_BITS: u32 = 16;

    pub(crate) fn next(&mut self, conn: &Connection) -> rusqlite::Result<i64> {
        // The first number of an epoch comes up here only when the epoch before it is used up. Epochs begin with 1.
        if self.0.trailing_zeros() >= Self::EPOCH_BITS {
            self.0 = meta::next_epoch(conn)? << Self::EPOCH_BITS;
        }
        self.0 += 1;
        Ok(self.0 - 1)
    }
}
