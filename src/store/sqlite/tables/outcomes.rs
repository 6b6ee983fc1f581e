//! `outcomes`: the one outcome of each attempt that has ended, under the attempt's number. A row is written once; the
//! key refuses a second one (S6).

use rusqlite::{CachedStatement, Connection, params};

use crate::model::{AttemptId, LogSummary, Outcome, Snapshot, WallTime};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::failure::{Fault, one_row};
use crate::store::sqlite::values::{damaged, signed};

const PASSED: i64 = 0;
const FAILED: i64 = 1;
const KILLED: i64 = 2;
const TIMED_OUT: i64 = 3;
const CANCELLED: i64 = 4;
const COULD_NOT_START: i64 = 5;
const LOST: i64 = 6;

/// The columns `outcome`, `code` and `detail`.
pub(crate) fn to_columns(outcome: &Outcome) -> (i64, Option<i32>, Option<&str>) {
    match outcome {
        Outcome::Passed => (PASSED, None, None),
        Outcome::Failed(code) => (FAILED, Some(*code), None),
        Outcome::Killed(signal) => (KILLED, Some(*signal), None),
        Outcome::TimedOut => (TIMED_OUT, None, None),
        Outcome::Cancelled => (CANCELLED, None, None),
        Outcome::CouldNotStart(why) => (COULD_NOT_START, None, Some(why)),
        Outcome::Lost(why) => (LOST, None, Some(why)),
    }
}

/// Reads the columns `outcome`, `code` and `detail`.
pub(crate) fn from_columns(number: i64, code: Option<i32>, detail: Option<String>) -> rusqlite::Result<Outcome> {
    let code = code.ok_or_else(|| damaged("an outcome lacks its code"));
    let why = detail.ok_or_else(|| damaged("an outcome lacks its reason"));
    Ok(match number {
        PASSED => Outcome::Passed,
        FAILED => Outcome::Failed(code?),
        KILLED => Outcome::Killed(code?),
        TIMED_OUT => Outcome::TimedOut,
        CANCELLED => Outcome::Cancelled,
        COULD_NOT_START => Outcome::CouldNotStart(why?),
        LOST => Outcome::Lost(why?),
        other => return Err(damaged(format!("there is no outcome {other}"))),
    })
}

pub(crate) fn checksum(
    attempt: AttemptId,
    outcome: &Outcome,
    log: &LogSummary,
    duration_ms: Option<u64>,
    at: WallTime,
) -> Checksum {
    let (number, code, detail) = to_columns(outcome);
    Checksum::of("outcomes")
        .number(signed(attempt.0))
        .number(number)
        .maybe_number(code)
        .maybe_text(detail)
        .number(at.0)
        .maybe_number(duration_ms.map(signed))
        .number(signed(log.bytes))
        .number(log.crc32)
        .maybe_text(log.missing.as_deref())
}

/// The statement that adds an outcome, prepared once for a batch.
pub(crate) struct Insert<'a>(CachedStatement<'a>);

impl<'a> Insert<'a> {
    pub(crate) fn new(conn: &'a Connection) -> rusqlite::Result<Self> {
        // The row comes from `attempts`, so that an attempt that was never leased gets none.
        let statement = conn.prepare_cached(
            "INSERT INTO outcomes
               (attempt, outcome, code, detail, finished_at, duration_ms, log_bytes, log_crc32, log_missing, seal)
             SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 FROM attempts WHERE id = ?1",
        )?;
        Ok(Self(statement))
    }

    pub(crate) fn insert(
        &mut self,
        attempt: AttemptId,
        outcome: &Outcome,
        log: &LogSummary,
        duration_ms: Option<u64>,
        at: WallTime,
    ) -> Result<(), Fault> {
        let (number, code, detail) = to_columns(outcome);
        let added = self.0.execute(params![
            signed(attempt.0),
            number,
            code,
            detail,
            at.0,
            duration_ms.map(signed),
            signed(log.bytes),
            log.crc32,
            log.missing,
            checksum(attempt, outcome, log, duration_ms, at).value()
        ])?;
        one_row(added, || format!("{attempt} was never leased"))
    }
}

pub(crate) fn delete(conn: &Connection, attempt: AttemptId) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM outcomes WHERE attempt = ?1")?.execute([signed(attempt.0)]).map(drop)
}

/// The attempts that [`Snapshot::recorded`] names.
pub(crate) fn recorded(conn: &Connection) -> rusqlite::Result<Vec<AttemptId>> {
    let mut statement =
        conn.prepare_cached("SELECT attempt FROM outcomes WHERE outcome <> ?1 ORDER BY attempt DESC LIMIT ?2")?;
    let rows = statement.query_map([LOST, Snapshot::RECORDED_MAX as i64], |row| row.get::<_, i64>(0))?;
    let mut attempts = rows.map(|id| Ok(AttemptId(id?.cast_unsigned()))).collect::<rusqlite::Result<Vec<_>>>()?;
    attempts.reverse();
    Ok(attempts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_stands_for_no_outcome_is_damage() {
        assert!(from_columns(7, None, None).is_err());
        assert!(from_columns(FAILED, None, None).is_err());
    }
}
