//! `steps`: the steps of each attempt at a task with steps, numbered from 1. A row is written once, in the transaction
//! of the attempt's outcome.

use rusqlite::{Connection, params};

use super::attempts::with_attempts_of_build;
use super::outcomes::Columns;
use super::{execute, read_all};
use crate::model::{AttemptId, BuildId, StepRecord};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::{damaged, signed, unsigned};

/// The outcome's number of a step that was left out.
const LEFT_OUT: i64 = -1;

fn checksum(attempt: AttemptId, number: i64, step: &StepRecord, columns: &Columns) -> Checksum {
    Checksum::of("steps")
        .number(signed(attempt.0))
        .number(number)
        .bytes(step.name.as_bytes())
        .number(columns.number)
        .maybe_number(columns.code)
        .maybe_text(columns.detail.as_deref())
        .maybe_text(columns.reason.as_deref())
        .maybe_number(step.duration_ms.map(signed))
        .number(signed(step.log.start))
        .number(signed(step.log.end))
}

fn columns_of(step: &StepRecord) -> Columns {
    let left_out = Columns { number: LEFT_OUT, code: None, detail: None, reason: None };
    step.outcome.as_ref().map_or(left_out, Columns::of)
}

/// Adds the steps of an attempt.
pub(crate) fn insert(conn: &Connection, attempt: AttemptId, steps: &[StepRecord]) -> rusqlite::Result<()> {
    const INSERT: &str = "INSERT INTO steps (attempt, number, name, outcome, code, detail, reason, duration_ms,
           log_start, log_end, seal)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    for (number, step) in (1i64..).zip(steps) {
        let columns = columns_of(step);
        let seal = checksum(attempt, number, step, &columns).value();
        let Columns { number: outcome, code, detail, reason } = columns;
        let (start, end, duration_ms) = (signed(step.log.start), signed(step.log.end), step.duration_ms.map(signed));
        let row = params![attempt, number, step.name, outcome, code, detail, reason, duration_ms, start, end, seal];
        execute(conn, INSERT, row)?;
    }
    Ok(())
}

/// The steps of a build's attempts: attempt by attempt, each in order.
pub(crate) fn of_build(conn: &Connection, build: BuildId) -> rusqlite::Result<Vec<(AttemptId, StepRecord)>> {
    const OF_BUILD: &str = concat!(
        with_attempts_of_build!(),
        "SELECT s.attempt, s.number, s.name, s.outcome, s.code, s.detail, s.reason, s.duration_ms, s.log_start, ",
        "s.log_end, s.seal FROM chain c JOIN steps s ON s.attempt = c.id ORDER BY s.attempt, s.number"
    );
    read_all(conn, OF_BUILD, [build], |row| {
        let (attempt, number, columns) = (row.get(0)?, row.get(1)?, Columns::read(row, 3)?);
        let outcome = if columns.number == LEFT_OUT { None } else { Some(columns.outcome()?) };
        let bytes = |at| unsigned(row, at)?.ok_or_else(|| damaged("a step has no section"));
        let step = StepRecord { name: row.get(2)?, outcome, duration_ms: unsigned(row, 7)?, log: bytes(8)?..bytes(9)? };
        let name = || format!("step {number} of {attempt}");
        checksum(attempt, number, &step, &columns).check(row.get(10)?, name)?;
        Ok((attempt, step))
    })
}
