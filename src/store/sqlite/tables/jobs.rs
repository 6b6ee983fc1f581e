//! `jobs`: the jobs of all builds. A build's jobs have ascending numbers, so `builds.first_job` to `last_job` finds
//! them without an index. `attempt` is the job's newest attempt.
//!
//! A job's row is changed in place while a batch runs. Its checksum is therefore a sum, in which each column has a
//! factor of its own ([`FACTORS`]): a statement carries the sum on by the difference of old and new values
//! ([`carried_on`]), without reading the row first. A wrong old value stays visible in the sum.

use std::fmt::Display;
use std::sync::{Arc, LazyLock};

use rusqlite::{CachedStatement, Connection, Row, params};

use super::joined::jobs_of_build;
use super::read_one;
use super::specs::{self, Tasks};
use crate::model::reason::{LeftOutReason, StoredReason};
use crate::model::{Attempt, AttemptId, BuildId, Ending, EndingKind, Job, JobId, JobState, JobStateKind, TaskSpec};
use crate::store::sqlite::checksum::{self, Checksum};
use crate::store::sqlite::failure::{Fault, one_row};
use crate::store::sqlite::values::{damaged, reason, reason_columns, signed};

const WAITING: i64 = 0;
const QUEUED: i64 = 1;
const LEASED: i64 = 2;
const PASSED: i64 = 3;
const FAILED: i64 = 4;
const ERRORED: i64 = 5;
const CANCELLED: i64 = 6;
const SKIPPED: i64 = 7;
const LEFT_OUT: i64 = 8;
/// It came later than the endings before it, and is none.
const HELD: i64 = 9;
/// SQL for a job that has no ending.
const IS_OPEN: &str = "(state < 3 OR state = 9)";

/// The columns `detail` and `reason`: why a job is errored, cancelled, skipped or left out.
type Why = (Option<String>, Option<String>);

fn why(reason: &impl StoredReason) -> Why {
    let (detail, json) = reason_columns(reason);
    (Some(detail), json)
}

/// The columns `state`, and `detail` with `reason`.
fn ending_columns(ending: &Ending) -> (i64, Why) {
    match ending {
        Ending::Passed => (PASSED, Why::default()),
        Ending::Failed => (FAILED, Why::default()),
        Ending::Errored(reason) => (ERRORED, why(&**reason)),
        Ending::Cancelled(None) => (CANCELLED, Why::default()),
        Ending::Cancelled(Some(reason)) => (CANCELLED, why(&**reason)),
        Ending::Skipped(reason) => (SKIPPED, why(&**reason)),
        Ending::LeftOut(reason) => (LEFT_OUT, why(&**reason)),
    }
}

fn state_from(number: i64, attempt: i64, why: (Option<&str>, Option<&str>)) -> rusqlite::Result<JobState> {
    let (detail, json) = why;
    let maybe = detail.map(str::to_owned);
    let detail = || maybe.clone().ok_or_else(|| damaged("a job's ending lacks its reason"));
    Ok(match number {
        WAITING => JobState::Waiting,
        QUEUED => JobState::Queued,
        LEASED => JobState::Leased(AttemptId(attempt.cast_unsigned())),
        PASSED => JobState::Finished(Ending::Passed),
        FAILED => JobState::Finished(Ending::Failed),
        ERRORED => JobState::Finished(Ending::Errored(Box::new(reason(detail()?, json)))),
        CANCELLED => JobState::Finished(Ending::Cancelled(maybe.map(|detail| Box::new(reason(detail, json))))),
        SKIPPED => JobState::Finished(Ending::Skipped(Box::new(reason(detail()?, json)))),
        LEFT_OUT => JobState::Finished(Ending::LeftOut(Box::new(reason(detail()?, json)))),
        HELD => JobState::Held,
        other => return Err(damaged(format!("there is no state {other} of a job"))),
    })
}

/// The columns of a row: the numbers in the order of [`FACTORS`], and the two texts.
#[derive(Debug, Clone, Copy)]
struct Columns<'a> {
    numbers: [i64; FACTORS.len()],
    detail: Option<&'a str>,
    reason: Option<&'a str>,
}

/// The factor of each column that is a number. The factors are odd, so that no change of one column is lost modulo
/// 2^32, and below 2^28, so that SQLite's sums of differences stay integers.
const FACTORS: [(&str, i64); 8] = [
    ("id", 0x0b5_1d3d),
    ("build", 0xc2b_2ae3),
    ("spec", 0x9e3_779b),
    ("state", 102_030_407),
    ("attempt", 210_987_653),
    ("attempts", 150_094_637),
    ("failures", 0x85e_bca7),
    ("losses", 0x27d_4eb3),
];
/// Checksums are sums modulo 2^32.
const MODULUS_MASK: i64 = 0xffff_ffff;

/// The part of the sum that `detail` and `reason` add.
fn why_checksum(detail: Option<&str>, reason: Option<&str>) -> i64 {
    if detail.is_none() && reason.is_none() {
        return 0;
    }
    let checksum = Checksum::of("detail").bytes(detail.unwrap_or_default().as_bytes());
    if let Some(json) = reason { checksum.bytes(json.as_bytes()).value() } else { checksum.value() }
}

/// SQL for the checksum after these columns got these values; `more` is added to it. Each difference is taken modulo
/// 2^32 before it is multiplied, so that the sum of up to seven products stays below 2^63.
fn carried_on(changes: &[(&str, &dyn Display)], more: &dyn Display) -> String {
    let term = |(column, new): &(&str, &dyn Display)| {
        let (_, factor) = FACTORS.iter().find(|(name, _)| name == column).expect("the column is in the table");
        format!(" + (({new} - {column}) & {MODULUS_MASK}) * {factor}")
    };
    let terms: String = changes.iter().map(term).collect();
    format!("(seal + {more}{terms}) & {MODULUS_MASK}")
}

impl<'a> Columns<'a> {
    fn checksum(&self) -> i64 {
        let terms = FACTORS.iter().zip(self.numbers).map(|((_, factor), number)| number.wrapping_mul(*factor));
        terms.fold(why_checksum(self.detail, self.reason), i64::wrapping_add) & MODULUS_MASK
    }

    /// Reads the columns that [`select`] names, and refuses a row that does not match its checksum.
    fn read(row: &'a Row<'_>) -> rusqlite::Result<Self> {
        let mut numbers = [0; FACTORS.len()];
        for (at, number) in numbers.iter_mut().enumerate() {
            *number = row.get(at)?;
        }
        let (detail, reason) = (row.get_ref(8)?.as_str_or_null()?, row.get_ref(9)?.as_str_or_null()?);
        let columns = Self { numbers, detail, reason };
        checksum::compare(columns.checksum(), row.get(10)?, || format!("job {}", numbers[0]))?;
        Ok(columns)
    }
}

/// The columns of a row and its checksum.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT j.id, j.build, j.spec, j.state, j.attempt, j.attempts, j.failures, j.losses, j.detail, j.reason, ",
            "j.seal ",
            $rest
        )
    };
}

static LEASE: LazyLock<String> = LazyLock::new(|| {
    let seal = carried_on(&[("state", &LEASED), ("attempt", &"?2"), ("attempts", &"?3")], &0);
    format!(
        "UPDATE jobs SET state = {LEASED}, attempt = ?2, attempts = ?3, seal = {seal}
         WHERE id = ?1 AND {IS_OPEN} AND attempts = ?3 - 1"
    )
});

static FINISH: LazyLock<String> = LazyLock::new(|| {
    // A job that is not finished has no detail, so the detail's checksum is added, not a difference.
    let seal = carried_on(&[("state", &"?2")], &"?5");
    format!("UPDATE jobs SET state = ?2, detail = ?3, reason = ?4, seal = {seal} WHERE id = ?1 AND {IS_OPEN}")
});

static GIVE: LazyLock<String> = LazyLock::new(|| {
    let seal = carried_on(&[("spec", &"?2")], &0);
    format!("UPDATE jobs SET spec = ?2, seal = {seal} WHERE id = ?1 AND {IS_OPEN}")
});

/// The statements that change jobs, prepared once for a batch.
pub(crate) struct Writes<'a> {
    conn: &'a Connection,
    insert: CachedStatement<'a>,
    lease: CachedStatement<'a>,
    finish: CachedStatement<'a>,
    queue: CachedStatement<'a>,
}

impl<'a> Writes<'a> {
    pub(crate) fn new(conn: &'a Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            conn,
            insert: conn.prepare_cached(
                "INSERT INTO jobs (id, build, spec, state, attempt, attempts, failures, losses, detail, reason, seal)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?,
            lease: conn.prepare_cached(&LEASE)?,
            finish: conn.prepare_cached(&FINISH)?,
            queue: conn.prepare_cached(
                "UPDATE jobs SET state = ?2, failures = ?3, losses = ?4, detail = NULL, reason = NULL, seal = ?5
                 WHERE id = ?1",
            )?,
        })
    }

    pub(crate) fn insert(&mut self, specs: &mut specs::Ids, job: &Job) -> Result<(), Fault> {
        let (state, attempt, (detail, reason)) = match &job.state {
            JobState::Waiting => (WAITING, 0, Why::default()),
            JobState::Held => (HELD, 0, Why::default()),
            JobState::Queued => (QUEUED, 0, Why::default()),
            JobState::Leased(attempt) => (LEASED, signed(attempt.0), Why::default()),
            JobState::Finished(ending) => {
                let (state, why) = ending_columns(ending);
                (state, 0, why)
            }
        };
        let Job { id, build, attempts, failures, losses, .. } = *job;
        let spec = specs.get(self.conn, &job.task)?;
        let numbers =
            [signed(id.0), signed(build.0), spec, state, attempt, attempts.into(), failures.into(), losses.into()];
        let seal = Columns { numbers, detail: detail.as_deref(), reason: reason.as_deref() }.checksum();
        self.insert
            .execute(params![id, build, spec, state, attempt, attempts, failures, losses, detail, reason, seal])?;
        Ok(())
    }

    /// Leases the attempt's job. Returns the job's attempt before it, which has to have ended.
    pub(crate) fn lease(&mut self, attempt: &Attempt) -> Result<Option<i64>, Fault> {
        let previous = if attempt.number > 1 { Some(self.finished_attempt(attempt.job)?) } else { None };
        let changed = self.lease.execute(params![attempt.job, attempt.id, attempt.number])?;
        one_row(changed, || format!("{} cannot be leased for the attempt numbered {}", attempt.job, attempt.number))?;
        Ok(previous)
    }

    fn finished_attempt(&self, job: JobId) -> Result<i64, Fault> {
        const NEWEST: &str = "SELECT o.attempt FROM jobs j JOIN outcomes o ON o.attempt = j.attempt WHERE j.id = ?1";
        read_one(self.conn, NEWEST, [job], |row| row.get(0))?
            .ok_or_else(|| Fault::Contradiction(format!("{job} has no attempt before it that is finished")))
    }

    pub(crate) fn finish(&mut self, job: JobId, ending: &Ending) -> Result<(), Fault> {
        let (state, (detail, reason)) = ending_columns(ending);
        let seal = why_checksum(detail.as_deref(), reason.as_deref());
        let changed = self.finish.execute(params![job, state, detail, reason, seal])?;
        one_row(changed, || format!("{job} is unknown or finished"))
    }

    pub(crate) fn queue(&mut self, job: JobId, failures: u32, losses: u32) -> Result<(), Fault> {
        self.begin_again(job, QUEUED, failures, losses)
    }

    /// Lets a job wait for others. A rerun and the start of a held job do, and with them the counts begin anew.
    pub(crate) fn wait(&mut self, job: JobId) -> Result<(), Fault> {
        self.begin_again(job, WAITING, 0, 0)
    }

    /// Lets a job wait for a person again, likewise.
    pub(crate) fn hold(&mut self, job: JobId) -> Result<(), Fault> {
        self.begin_again(job, HELD, 0, 0)
    }

    /// Gives another task to a job that has not begun.
    pub(crate) fn give(&mut self, specs: &mut specs::Ids, job: JobId, task: &Arc<TaskSpec>) -> Result<(), Fault> {
        let spec = specs.get(self.conn, task)?;
        let changed = self.conn.prepare_cached(&GIVE)?.execute(params![job, spec])?;
        one_row(changed, || format!("{job} is unknown or finished"))
    }

    /// A detail may be taken away, so the row is read and its checksum made anew.
    fn begin_again(&mut self, job: JobId, state: i64, failures: u32, losses: u32) -> Result<(), Fault> {
        let unknown = || Fault::Contradiction(format!("{job} is unknown"));
        let mut statement = self.conn.prepare_cached(select!("FROM jobs j WHERE j.id = ?1"))?;
        let mut found = statement.query([job])?;
        let columns = Columns::read(found.next()?.ok_or_else(unknown)?)?;
        let [id, build, spec, _, attempt, attempts, ..] = columns.numbers;
        let numbers = [id, build, spec, state, attempt, attempts, failures.into(), losses.into()];
        let seal = Columns { numbers, detail: None, reason: None }.checksum();
        drop(found);
        let changed = self.queue.execute(params![job, state, failures, losses, seal])?;
        one_row(changed, || format!("{job} is unknown"))
    }
}

/// In the order of the task file.
pub(crate) fn of_build(conn: &Connection, build: BuildId, tasks: &mut Tasks) -> rusqlite::Result<Vec<Job>> {
    // Rows between a build's first and last job that are not its own are read too, so that each is checked before it is
    // passed over.
    let mut statement = conn.prepare_cached(concat!(select!("FROM "), jobs_of_build!(), " ORDER BY j.id"))?;
    let mut found = statement.query([build])?;
    let mut jobs = Vec::new();
    while let Some(row) = found.next()? {
        let Columns { numbers: [_, of, spec, state, attempt, ..], detail, reason } = Columns::read(row)?;
        if of != signed(build.0) {
            continue;
        }
        jobs.push(Job {
            id: row.get(0)?,
            build,
            task: tasks.get(conn, spec)?,
            state: state_from(state, attempt, (detail, reason))?,
            attempts: row.get(5)?,
            failures: row.get(6)?,
            losses: row.get(7)?,
        });
    }
    Ok(jobs)
}

/// The number of a build's jobs in each state. Rows are counted where they lie, so their checksums are not compared.
pub(crate) fn counts(conn: &Connection, build: BuildId) -> rusqlite::Result<Vec<(JobStateKind, u64)>> {
    const COUNT: &str = "SELECT j.state, COUNT(*) FROM builds b
         JOIN jobs j ON j.id BETWEEN b.first_job AND b.last_job AND j.build = b.id WHERE b.id = ?1 GROUP BY j.state";
    let count = |row: &Row<'_>| Ok((kind_from(row.get(0)?)?, row.get::<_, i64>(1)?.unsigned_abs()));
    let mut statement = conn.prepare_cached(COUNT)?;
    statement.query_map([build], count)?.collect()
}

fn kind_from(state: i64) -> rusqlite::Result<JobStateKind> {
    use EndingKind::{Cancelled, Errored, Failed, LeftOut, Passed, Skipped};
    Ok(match state {
        WAITING => JobStateKind::Waiting,
        QUEUED => JobStateKind::Queued,
        LEASED => JobStateKind::Running,
        PASSED => JobStateKind::Finished(Passed),
        FAILED => JobStateKind::Finished(Failed),
        ERRORED => JobStateKind::Finished(Errored),
        CANCELLED => JobStateKind::Finished(Cancelled),
        SKIPPED => JobStateKind::Finished(Skipped),
        LEFT_OUT => JobStateKind::Finished(LeftOut),
        HELD => JobStateKind::Held,
        other => return Err(damaged(format!("there is no state {other} of a job"))),
    })
}

/// The jobs of a build that passed or were left out: the task, and the reason of one that was left out.
pub(crate) fn passed_or_left_out(
    conn: &Connection,
    build: BuildId,
    tasks: &mut Tasks,
) -> rusqlite::Result<Vec<(Arc<TaskSpec>, Option<LeftOutReason>)>> {
    let mut statement = conn.prepare_cached(concat!(select!("FROM "), jobs_of_build!(), " WHERE j.state IN (3, 8)"))?;
    let mut found = statement.query([build])?;
    let mut jobs = Vec::new();
    while let Some(row) = found.next()? {
        let Columns { numbers: [_, of, spec, state, attempt, ..], detail, reason } = Columns::read(row)?;
        if of != signed(build.0) {
            continue;
        }
        match state_from(state, attempt, (detail, reason))? {
            JobState::Finished(Ending::Passed) => jobs.push((tasks.get(conn, spec)?, None)),
            JobState::Finished(Ending::LeftOut(why)) => jobs.push((tasks.get(conn, spec)?, Some(*why))),
            JobState::Waiting | JobState::Held | JobState::Queued | JobState::Leased(_) | JobState::Finished(_) => {}
        }
    }
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_stands_for_no_state_is_damage() {
        assert!(state_from(10, 0, (None, None)).is_err());
        assert!(state_from(ERRORED, 0, (None, None)).is_err());
        assert!(kind_from(10).is_err());
    }
}
