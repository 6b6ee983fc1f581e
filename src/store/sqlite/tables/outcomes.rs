//! `outcomes`: the one outcome of each attempt that has ended, under the attempt's number. A row is written once; the
//! key refuses a second one (S6).

use std::collections::BTreeSet;

use rusqlite::{CachedStatement, Connection, Row, params};

use super::specs::Tasks;
use super::{read_all, read_one};
use crate::model::reason::TimeoutReason;
use crate::model::{AttemptId, Line, LogSummary, Outcome, RepoName, RunnerId, Snapshot, WallTime};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::failure::{Fault, one_row};
use crate::store::sqlite::values::{damaged, reason, reason_columns, signed};

const PASSED: i64 = 0;
const FAILED: i64 = 1;
const KILLED: i64 = 2;
const TIMED_OUT: i64 = 3;
const CANCELLED: i64 = 4;
const COULD_NOT_START: i64 = 5;
const LOST: i64 = 6;

/// The columns that say how an attempt ended; `late_results` has them too.
pub(crate) struct Columns {
    pub number: i64,
    pub code: Option<i32>,
    pub detail: Option<String>,
    pub reason: Option<String>,
}

impl Columns {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let (number, code, detail) = match outcome {
            Outcome::Passed => (PASSED, None, None),
            Outcome::Failed(code) => (FAILED, Some(*code), None),
            Outcome::Killed(signal) => (KILLED, Some(*signal), None),
            // As it was written before there were others.
            Outcome::TimedOut(TimeoutReason::Whole) => (TIMED_OUT, None, None),
            Outcome::TimedOut(reason) => {
                let (detail, reason) = reason_columns(reason);
                return Self { number: TIMED_OUT, code: None, detail: Some(detail), reason };
            }
            Outcome::Cancelled => (CANCELLED, None, None),
            Outcome::CouldNotStart(why) => (COULD_NOT_START, None, Some(why.clone())),
            Outcome::Lost(reason) => {
                let (detail, reason) = reason_columns(reason);
                return Self { number: LOST, code: None, detail: Some(detail), reason };
            }
        };
        Self { number, code, detail, reason: None }
    }

    /// Reads the columns `outcome`, `code`, `detail` and `reason`, which stand one after the other from `at`.
    pub(crate) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Self { number: row.get(at)?, code: row.get(at + 1)?, detail: row.get(at + 2)?, reason: row.get(at + 3)? })
    }

    pub(crate) fn outcome(&self) -> rusqlite::Result<Outcome> {
        let code = || self.code.ok_or_else(|| damaged("an outcome lacks its code"));
        let why = || self.detail.clone().ok_or_else(|| damaged("an outcome lacks its reason"));
        Ok(match self.number {
            PASSED => Outcome::Passed,
            FAILED => Outcome::Failed(code()?),
            KILLED => Outcome::Killed(code()?),
            TIMED_OUT => Outcome::TimedOut(match &self.detail {
                None => TimeoutReason::Whole,
                Some(text) => reason(text.clone(), self.reason.as_deref()),
            }),
            CANCELLED => Outcome::Cancelled,
            COULD_NOT_START => Outcome::CouldNotStart(why()?),
            LOST => Outcome::Lost(reason(why()?, self.reason.as_deref())),
            other => return Err(damaged(format!("there is no outcome {other}"))),
        })
    }
}

/// Covers the columns as they are in the row, because the text of a code may be another one in a later version.
pub(crate) fn checksum(
    attempt: AttemptId,
    columns: &Columns,
    log: &LogSummary,
    duration_ms: Option<u64>,
    at: WallTime,
) -> Checksum {
    let checksum = Checksum::of("outcomes")
        .number(signed(attempt.0))
        .number(columns.number)
        .maybe_number(columns.code)
        .maybe_text(columns.detail.as_deref())
        .number(at.0)
        .maybe_number(duration_ms.map(signed))
        .number(signed(log.bytes))
        .number(log.crc32)
        .maybe_text(log.missing.as_deref());
    match &columns.reason {
        Some(json) => checksum.bytes(json.as_bytes()),
        None => checksum,
    }
}

/// The statements that add outcomes, prepared once for a batch. They are two, because one that copies from `attempts`
/// would keep a journal of its own, to be undone alone.
pub(crate) struct Writes<'a> {
    find: CachedStatement<'a>,
    insert: CachedStatement<'a>,
}

impl<'a> Writes<'a> {
    pub(crate) fn new(conn: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            find: conn.prepare_cached("SELECT 1 FROM attempts WHERE id = ?1")?,
            insert: conn.prepare_cached(
                "INSERT INTO outcomes (attempt, outcome, code, detail, finished_at, duration_ms, log_bytes, log_crc32,
                   log_missing, seal, reason, seq)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?,
        })
    }

    /// Adds an outcome. An attempt that was never leased gets none.
    pub(crate) fn insert(
        &mut self,
        attempt: AttemptId,
        outcome: &Outcome,
        (log, duration_ms): (&LogSummary, Option<u64>),
        (at, seq): (WallTime, i64),
    ) -> Result<(), Fault> {
        one_row(usize::from(self.find.exists([attempt])?), || format!("{attempt} was never leased"))?;
        let columns = Columns::of(outcome);
        let seal = checksum(attempt, &columns, log, duration_ms, at).value();
        let Columns { number, code, detail, reason } = columns;
        let (duration_ms, log_bytes) = (duration_ms.map(signed), signed(log.bytes));
        self.insert.execute(params![
            attempt,
            number,
            code,
            detail,
            at,
            duration_ms,
            log_bytes,
            log.crc32,
            log.missing,
            seal,
            reason,
            seq
        ])?;
        Ok(())
    }
}

/// Returns the attempts that [`Snapshot::recorded`] names, and the lines that [`Snapshot::cancelled`] names.
pub(crate) fn newest(conn: &Connection, tasks: &mut Tasks) -> rusqlite::Result<(Vec<Recorded>, BTreeSet<Line>)> {
    const NEWEST: &str = "SELECT attempt, outcome FROM outcomes WHERE outcome <> ?1 ORDER BY attempt DESC LIMIT ?2";
    let columns = |row: &Row<'_>| Ok((row.get::<_, AttemptId>(0)?, row.get::<_, i64>(1)?));
    let mut newest = read_all(conn, NEWEST, [LOST, Snapshot::RECORDED_MAX as i64], columns)?;
    newest.reverse();
    let Some((first, _)) = newest.first().copied() else { return Ok(Default::default()) };
    // Both lists ascend, and to read on in a table is far quicker than to look up each row.
    const RUNNERS: &str = "SELECT id, runner FROM attempts WHERE id >= ?1 ORDER BY id";
    let mut runners = read_all(conn, RUNNERS, [first], |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().peekable();
    let (mut recorded, mut lines) = (Vec::with_capacity(newest.len()), BTreeSet::new());
    for (attempt, outcome) in newest {
        while runners.next_if(|(id, _)| *id < attempt).is_some() {}
        recorded.extend(runners.next_if(|(id, _)| *id == attempt));
        if outcome == CANCELLED {
            lines.extend(lines_of(conn, attempt, tasks)?);
        }
    }
    Ok((recorded, lines))
}

/// An attempt whose outcome is recorded, and its runner.
type Recorded = (AttemptId, RunnerId);

/// Returns the lines in which an attempt had a place.
fn lines_of(conn: &Connection, attempt: AttemptId, tasks: &mut Tasks) -> rusqlite::Result<Vec<Line>> {
    const PLACE: &str = "SELECT r.name, j.spec FROM attempts a JOIN jobs j ON j.id = a.job
         JOIN builds b ON b.id = j.build JOIN repos r ON r.id = b.repo WHERE a.id = ?1";
    let place = |row: &Row<'_>| Ok((row.get::<_, RepoName>(0)?, row.get::<_, i64>(1)?));
    let Some((repo, spec)) = read_one(conn, PLACE, [attempt], place)? else { return Ok(Vec::new()) };
    Ok(tasks.get(conn, spec)?.lines(&repo).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_stands_for_no_outcome_is_damage() {
        for number in [7, FAILED, LOST] {
            assert!(Columns { number, code: None, detail: None, reason: None }.outcome().is_err());
        }
    }
}
