//! What both the writer (at its start) and the readers ask: builds, jobs, attempts as model values. Reads only.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::rows::{self, damaged, signed};
use super::seal::{self, JobColumns};
use super::spec;
use crate::model::{
    Attempt, AttemptId, BranchName, Build, BuildId, BuildSource, CommitId, Decision, Job, JobId, LogSummary, Outcome,
    RepoName, Runner, RunnerId, TaskSpec, WallTime,
};

macro_rules! build_columns {
    ($hint:literal, $rest:literal) => {
        concat!(
            "SELECT b.id, r.name, b.branch, b.commit_id, b.before, b.created_at, b.finished_at, b.verdict, b.problem, ",
            "b.subject, b.author, g.commits, b.first_job, b.last_job, b.seal, b.end_seal ",
            "FROM builds b ",
            $hint,
            " LEFT JOIN repos r ON r.id = b.repo LEFT JOIN ranges g ON g.build = b.id ",
            $rest
        )
    };
}

macro_rules! attempt_columns {
    ($from:literal) => {
        concat!(
            "SELECT a.id, a.job, j.build, a.number, a.runner, ",
            "CASE typeof(a.reason) WHEN 'integer' THEN (SELECT body FROM reasons WHERE id = a.reason) ELSE a.reason END, ",
            "a.leased_at, o.finished_at, o.duration_ms, o.outcome, o.code, o.detail, o.log_bytes, o.log_crc32, ",
            "o.log_missing, a.previous, a.seal, o.seal ",
            $from,
            " LEFT JOIN jobs j ON j.id = a.job LEFT JOIN outcomes o ON o.attempt = a.id "
        )
    };
}

pub(super) const BUILD_BY_ID: &str = build_columns!("", "WHERE b.id = ?1");
/// Named, because SQLite would rather walk all builds, which are in the order that is asked for.
pub(super) const BUILDS_UNFINISHED: &str =
    build_columns!("INDEXED BY builds_unfinished", "WHERE b.verdict IS NULL ORDER BY b.id");
pub(super) const BUILDS_UNFINISHED_OF: &str = build_columns!(
    "INDEXED BY builds_unfinished",
    "WHERE b.verdict IS NULL AND b.repo = (SELECT id FROM repos WHERE name = ?1) ORDER BY b.id"
);
pub(super) const BUILDS_FINISHED: &str = build_columns!("", "WHERE b.verdict IS NOT NULL ORDER BY b.id DESC LIMIT ?1");
pub(super) const BUILDS_FINISHED_OF: &str = build_columns!(
    "INDEXED BY builds_by_repo",
    "WHERE b.verdict IS NOT NULL AND b.repo = (SELECT id FROM repos WHERE name = ?2) ORDER BY b.id DESC LIMIT ?1"
);

/// Also those between a build's first and last that are not its own, so that each is checked before it is passed over.
const JOBS: &str = "
    SELECT j.id, j.build, j.spec, j.state, j.attempt, j.attempts, j.failures, j.losses, j.detail, j.seal
    FROM builds b JOIN jobs j ON j.id BETWEEN b.first_job AND b.last_job
    WHERE b.id = ?1 ORDER BY j.id";

const JOB_BY_ID: &str =
    "SELECT id, build, spec, state, attempt, attempts, failures, losses, detail, seal FROM jobs WHERE id = ?1";

/// The numbers of a build's attempts: from each job's newest along `previous` to its first.
macro_rules! with_chain {
    () => {
        "WITH RECURSIVE chain (id) AS (
           SELECT j.attempt FROM builds b JOIN jobs j ON j.id BETWEEN b.first_job AND b.last_job AND j.build = b.id
           WHERE b.id = ?1 AND j.attempt <> 0
           UNION SELECT a.previous FROM chain c JOIN attempts a ON a.id = c.id WHERE a.previous IS NOT NULL) "
    };
}

const ATTEMPTS: &str =
    concat!(with_chain!(), attempt_columns!("FROM chain c LEFT JOIN attempts a ON a.id = c.id"), "ORDER BY a.id");

const LATE_RESULTS: &str = concat!(
    with_chain!(),
    "SELECT l.attempt, l.outcome, l.code, l.detail, l.at ",
    "FROM chain c JOIN late_results l ON l.attempt = c.id ORDER BY l.id"
);

/// Only a job's newest attempt can be without an outcome (S8).
const ATTEMPTS_UNFINISHED: &str = concat!(
    attempt_columns!(
        "FROM builds b JOIN jobs k ON k.id BETWEEN b.first_job AND b.last_job AND k.build = b.id AND k.attempt <> 0 \
         LEFT JOIN attempts a ON a.id = k.attempt"
    ),
    "WHERE b.id = ?1 AND o.attempt IS NULL ORDER BY a.id"
);

const ATTEMPT_BY_ID: &str = concat!(attempt_columns!("FROM attempts a"), "WHERE a.id = ?1");

pub(super) fn builds(conn: &Connection, query: &str, params: impl Params) -> rusqlite::Result<Vec<Build>> {
    conn.prepare_cached(query)?.query_map(params, build_from)?.collect()
}

pub(super) fn build(conn: &Connection, id: BuildId) -> rusqlite::Result<Option<Build>> {
    conn.prepare_cached(BUILD_BY_ID)?.query_row([signed(id.0)], build_from).optional()
}

fn build_from(row: &Row<'_>) -> rusqlite::Result<Build> {
    let text = |at: usize| row.get_ref(at).and_then(|value| Ok(value.as_str()?));
    let repo: Option<RepoName> = row.get_ref(1)?.as_str_or_null()?.map(rows::repo_name).transpose()?;
    let build = Build {
        id: BuildId(row.get::<_, i64>(0)?.cast_unsigned()),
        source: BuildSource {
            repo: repo.ok_or_else(|| damaged("a build's repository is unknown"))?,
            branch: BranchName::new(text(2)?),
            commit: rows::commit_id(row.get_ref(3)?.as_blob()?)?,
            before: rows::before(row.get_ref(4)?.as_blob()?)?,
            range: row.get_ref(11)?.as_blob_or_null()?.map_or(Ok(Vec::new()), rows::range)?,
            subject: text(9)?.to_owned(),
            author: text(10)?.to_owned(),
        },
        created_at: WallTime(row.get(5)?),
        finished_at: row.get::<_, Option<i64>>(6)?.map(WallTime),
        verdict: row.get::<_, Option<i64>>(7)?.map(rows::verdict).transpose()?,
        problem: row.get(8)?,
    };
    let name = || format!("build {}", build.id.0);
    seal::build_seal(&build, row.get(12)?, row.get(13)?).check(row.get(14)?, name)?;
    seal::end_seal(build.id, build.verdict, build.finished_at).check(row.get(15)?, name)?;
    Ok(build)
}

/// Tasks read so far, so that jobs of one content share it.
pub(super) type Specs = HashMap<i64, Arc<TaskSpec>>;

pub(super) fn jobs(conn: &Connection, build: BuildId, specs: &mut Specs) -> rusqlite::Result<Vec<Job>> {
    let mut statement = conn.prepare_cached(JOBS)?;
    let mut found = statement.query([signed(build.0)])?;
    let mut jobs = Vec::new();
    while let Some(row) = found.next()? {
        let columns = job_columns(row)?;
        if columns.build != signed(build.0) {
            continue;
        }
        jobs.push(Job {
            id: JobId(columns.id.cast_unsigned()),
            build,
            task: task(conn, columns.spec, specs)?,
            state: rows::job_state(columns.state, columns.attempt, columns.detail)?,
            attempts: columns.attempts,
            failures: columns.failures,
            losses: columns.losses,
        });
    }
    Ok(jobs)
}

/// What `ask` makes of a job's columns; `None` if there is no such job.
pub(super) fn with_job_columns<T>(
    conn: &Connection,
    id: i64,
    ask: impl FnOnce(JobColumns<'_>) -> T,
) -> rusqlite::Result<Option<T>> {
    let mut statement = conn.prepare_cached(JOB_BY_ID)?;
    let mut found = statement.query([id])?;
    found.next()?.map(|row| job_columns(row).map(ask)).transpose()
}

fn job_columns<'a>(row: &'a Row<'_>) -> rusqlite::Result<JobColumns<'a>> {
    let columns = JobColumns {
        id: row.get(0)?,
        build: row.get(1)?,
        spec: row.get(2)?,
        state: row.get(3)?,
        attempt: row.get(4)?,
        attempts: row.get(5)?,
        failures: row.get(6)?,
        losses: row.get(7)?,
        detail: row.get_ref(8)?.as_str_or_null()?,
    };
    columns.check(row.get(9)?)?;
    Ok(columns)
}

fn task(conn: &Connection, id: i64, specs: &mut Specs) -> rusqlite::Result<Arc<TaskSpec>> {
    if let Some(task) = specs.get(&id) {
        return Ok(Arc::clone(task));
    }
    let found: Option<(String, i64)> = conn
        .prepare_cached("SELECT body, seal FROM specs WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (body, sealed) = found.ok_or_else(|| damaged("a job's task is missing"))?;
    seal::spec_seal(&body).check(sealed, || format!("task {id}"))?;
    let task = Arc::new(spec::from_json(&body).map_err(|e| damaged(format!("a job's task is unreadable: {e}")))?);
    specs.insert(id, Arc::clone(&task));
    Ok(task)
}

pub(super) fn attempts(conn: &Connection, build: BuildId) -> rusqlite::Result<Vec<Attempt>> {
    conn.prepare_cached(ATTEMPTS)?.query_map([signed(build.0)], attempt_from)?.collect()
}

pub(super) fn unfinished_attempts(conn: &Connection, build: BuildId) -> rusqlite::Result<Vec<Attempt>> {
    conn.prepare_cached(ATTEMPTS_UNFINISHED)?.query_map([signed(build.0)], attempt_from)?.collect()
}

pub(super) fn attempt(conn: &Connection, id: AttemptId) -> rusqlite::Result<Option<Attempt>> {
    conn.prepare_cached(ATTEMPT_BY_ID)?.query_row([signed(id.0)], attempt_from).optional()
}

fn attempt_from(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let outcome = match row.get::<_, Option<i64>>(9)? {
        Some(number) => Some(rows::outcome(number, row.get(10)?, row.get(11)?)?),
        None => None,
    };
    let log = match &outcome {
        Some(_) => {
            LogSummary { bytes: row.get::<_, i64>(12)?.cast_unsigned(), crc32: row.get(13)?, missing: row.get(14)? }
        }
        None => LogSummary::default(),
    };
    let attempt = Attempt {
        id: AttemptId(row.get::<_, i64>(0)?.cast_unsigned()),
        job: JobId(row.get::<_, i64>(1)?.cast_unsigned()),
        build: BuildId(row.get::<_, i64>(2)?.cast_unsigned()),
        number: row.get(3)?,
        runner: RunnerId(row.get::<_, i64>(4)?.cast_unsigned()),
        reason: row.get::<_, Option<String>>(5)?.ok_or_else(|| damaged("an attempt's reason is missing"))?,
        leased_at: WallTime(row.get(6)?),
        finished_at: row.get::<_, Option<i64>>(7)?.map(WallTime),
        duration_ms: row.get::<_, Option<i64>>(8)?.map(i64::cast_unsigned),
        outcome,
        log,
    };
    let name = || format!("attempt {}", attempt.id.0);
    seal::attempt_seal(&attempt, row.get(15)?).check(row.get(16)?, name)?;
    if let (Some(outcome), Some(at)) = (&attempt.outcome, attempt.finished_at) {
        seal::outcome_seal(attempt.id, outcome, &attempt.log, attempt.duration_ms, at).check(row.get(17)?, name)?;
    }
    Ok(attempt)
}

pub(super) fn late_results(conn: &Connection, build: BuildId) -> rusqlite::Result<Vec<(AttemptId, Outcome, WallTime)>> {
    let mut statement = conn.prepare_cached(LATE_RESULTS)?;
    let found = statement.query_map([signed(build.0)], |row| {
        let outcome = rows::outcome(row.get(1)?, row.get(2)?, row.get(3)?)?;
        Ok((AttemptId(row.get::<_, i64>(0)?.cast_unsigned()), outcome, WallTime(row.get(4)?)))
    })?;
    found.collect()
}

/// Oldest first.
pub(super) fn decisions(conn: &Connection, build: BuildId) -> rusqlite::Result<Vec<Decision>> {
    let mut statement =
        conn.prepare_cached("SELECT at, job, attempt, runner, text FROM decisions WHERE build = ?1 ORDER BY id")?;
    let found = statement.query_map([signed(build.0)], |row| {
        let number = |at: usize| row.get::<_, Option<i64>>(at).map(|id| id.map(i64::cast_unsigned));
        Ok(Decision {
            at: WallTime(row.get(0)?),
            build,
            job: number(1)?.map(JobId),
            attempt: number(2)?.map(AttemptId),
            runner: number(3)?.map(RunnerId),
            text: row.get(4)?,
        })
    })?;
    found.collect()
}

pub(super) fn runners(conn: &Connection) -> rusqlite::Result<Vec<Runner>> {
    let mut statement = conn.prepare_cached("SELECT id, name, first_seen, seal FROM runners ORDER BY id")?;
    let found = statement.query_map([], |row| {
        let runner = Runner {
            id: RunnerId(row.get::<_, i64>(0)?.cast_unsigned()),
            name: row.get(1)?,
            first_seen: WallTime(row.get(2)?),
        };
        seal::runner_seal(&runner).check(row.get(3)?, || format!("runner {}", runner.name))?;
        Ok(runner)
    })?;
    found.collect()
}

pub(super) fn heads(conn: &Connection) -> rusqlite::Result<Vec<(RepoName, BranchName, CommitId)>> {
    let mut statement = conn.prepare_cached(
        "SELECT r.name, h.branch, h.head, h.seal FROM heads h LEFT JOIN repos r ON r.id = h.repo ORDER BY r.name, h.branch",
    )?;
    let found = statement.query_map([], |row| {
        let repo = rows::repo_name(row.get_ref(0)?.as_str()?)?;
        let branch = BranchName::new(row.get_ref(1)?.as_str()?);
        let head = rows::commit_id(row.get_ref(2)?.as_blob()?)?;
        seal::head_seal(&repo, &branch, &head).check(row.get(3)?, || format!("the head of {branch} in {repo}"))?;
        Ok((repo, branch, head))
    })?;
    found.collect()
}
