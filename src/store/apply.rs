//! One record after another into the tables, inside the transaction that `writer.rs` holds.
//!
//! A statement changes exactly the row it means, or the record contradicts the store and the whole batch is refused:
//! an attempt has one outcome (S6) and a number used once, a job's attempts are counted without a gap and one at a
//! time (S8), what is finished stays so until it is queued or reopened (S10). Never reads the clock, never waits.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::error::{Fault, Kind};
use super::rows::{self, signed};
use super::spec;
use crate::model::{
    Attempt, AttemptId, BranchName, Build, BuildId, BuildSource, CommitId, Decision, Ending, Job, JobId, LogSummary,
    Outcome, Record, RepoName, Runner, Verdict, WallTime,
};

/// Tasks remembered by their text; with more the memory starts anew, for the sake of its size.
const SPECS_REMEMBERED_MAX: usize = 4096;
/// Reasons kept once each. Later ones are written out in their attempts, because so many cannot be repeating.
const REASONS_MAX: usize = 1024;

/// Row numbers of texts that are stored once. Right as long as no transaction fails; then it is emptied.
#[derive(Debug, Default)]
pub(super) struct Names {
    repos: HashMap<RepoName, i64>,
    specs: HashMap<String, i64>,
    reasons: Option<HashMap<String, i64>>,
}

/// The statements of the records that come in masses, prepared once for a batch, and the connection for the rest.
pub(super) struct Batch<'a> {
    conn: &'a Connection,
    names: &'a mut Names,
    lease_job: CachedStatement<'a>,
    add_attempt: CachedStatement<'a>,
    add_outcome: CachedStatement<'a>,
    finish_job: CachedStatement<'a>,
    queue_job: CachedStatement<'a>,
    add_job: CachedStatement<'a>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(conn: &'a Connection, names: &'a mut Names) -> rusqlite::Result<Self> {
        Ok(Self {
            lease_job: conn.prepare_cached(
                "UPDATE jobs SET state = 2, attempt = ?2, attempts = ?3
                 WHERE id = ?1 AND state < 3 AND attempts = ?3 - 1",
            )?,
            add_attempt: conn.prepare_cached(
                "INSERT INTO attempts (id, job, number, runner, reason, leased_at, previous)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?,
            add_outcome: conn.prepare_cached(
                "INSERT INTO outcomes
                   (attempt, outcome, code, detail, finished_at, duration_ms, log_bytes, log_crc32, log_missing)
                 SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM attempts WHERE id = ?1",
            )?,
            finish_job: conn.prepare_cached("UPDATE jobs SET state = ?2, detail = ?3 WHERE id = ?1 AND state < 3")?,
            queue_job: conn.prepare_cached(
                "UPDATE jobs SET state = ?2, failures = ?3, losses = ?4, detail = NULL WHERE id = ?1",
            )?,
            add_job: conn.prepare_cached(
                "INSERT INTO jobs (id, build, spec, state, attempt, attempts, failures, losses, detail)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?,
            conn,
            names,
        })
    }

    pub(super) fn apply(&mut self, record: &Record) -> Result<(), Fault> {
        match record {
            Record::BuildAdded { build, jobs } => self.add_build(build, jobs),
            Record::HeadMoved { repo, branch, head } => self.move_head(repo, branch, head.as_ref()),
            Record::RunnerSaved(runner) => self.save_runner(runner),
            Record::AttemptLeased(attempt) => self.lease(attempt),
            Record::AttemptFinished { attempt, outcome, log, duration_ms, at } => {
                self.finish_attempt(*attempt, outcome, log, *duration_ms, *at)
            }
            Record::LateResult { attempt, outcome, at } => self.add_late_result(*attempt, outcome, *at),
            Record::JobQueued { job, failures, losses } => self.queue(*job, 1, *failures, *losses),
            // Only a rerun makes a job wait again, and with it the counts begin anew.
            Record::JobWaiting { job } => self.queue(*job, 0, 0, 0),
            Record::JobFinished { job, ending } => self.finish_job(*job, ending),
            Record::BuildFinished { build, verdict, at } => self.finish_build(*build, *verdict, *at),
            Record::BuildReopened { build } => self.reopen_build(*build),
            Record::Decided(decision) => self.add_decision(decision),
        }
    }

    fn lease(&mut self, attempt: &Attempt) -> Result<(), Fault> {
        let (id, job) = (signed(attempt.id.0), signed(attempt.job.0));
        let previous = if attempt.number > 1 { Some(self.finished_attempt_of(attempt.job)?) } else { None };
        one_row(self.lease_job.execute(params![job, id, attempt.number])?, || {
            format!("{} cannot be leased for the attempt numbered {}", attempt.job, attempt.number)
        })?;
        let leased_at = attempt.leased_at.0;
        let (number, runner) = (attempt.number, signed(attempt.runner.0));
        match self.reason_id(&attempt.reason)? {
            Some(reason) => self.add_attempt.execute(params![id, job, number, runner, reason, leased_at, previous])?,
            None => self.add_attempt.execute(params![id, job, number, runner, attempt.reason, leased_at, previous])?,
        };
        Ok(())
    }

    /// The job's newest attempt, which has to have ended before there is another.
    fn finished_attempt_of(&self, job: JobId) -> Result<i64, Fault> {
        self.conn
            .prepare_cached("SELECT o.attempt FROM jobs j JOIN outcomes o ON o.attempt = j.attempt WHERE j.id = ?1")?
            .query_row([signed(job.0)], |row| row.get(0))
            .optional()?
            .ok_or_else(|| Fault::Contradiction(format!("{job} has no attempt before it that is finished")))
    }

    fn finish_attempt(
        &mut self,
        attempt: AttemptId,
        outcome: &Outcome,
        log: &LogSummary,
        duration_ms: Option<u64>,
        at: WallTime,
    ) -> Result<(), Fault> {
        let (number, code, detail) = rows::outcome_columns(outcome);
        let added = self.add_outcome.execute(params![
            signed(attempt.0),
            number,
            code,
            detail,
            at.0,
            duration_ms.map(signed),
            signed(log.bytes),
            log.crc32,
            log.missing
        ])?;
        one_row(added, || format!("{attempt} was never leased"))
    }

    fn finish_job(&mut self, job: JobId, ending: &Ending) -> Result<(), Fault> {
        let changed = self.finish_job.execute(params![signed(job.0), rows::ending_number(ending), ending.detail()])?;
        one_row(changed, || format!("{job} is unknown or finished"))
    }

    fn queue(&mut self, job: JobId, state: i64, failures: u32, losses: u32) -> Result<(), Fault> {
        let changed = self.queue_job.execute(params![signed(job.0), state, failures, losses])?;
        one_row(changed, || format!("{job} is unknown"))
    }

    fn add_build(&mut self, build: &Build, jobs: &[Job]) -> Result<(), Fault> {
        let BuildSource { repo, branch, commit, before, range, subject, author } = &build.source;
        if !jobs.is_sorted_by(|a, b| a.id < b.id) || jobs.iter().any(|job| job.build != build.id) {
            return Err(Fault::Contradiction("its jobs are not its own, or their numbers do not ascend".into()));
        }
        let id = signed(build.id.0);
        // Without jobs the range is empty: its last comes before its first.
        let first_job = jobs.first().map_or(1, |job| signed(job.id.0));
        let last_job = jobs.last().map_or(0, |job| signed(job.id.0));
        let repo = self.repo_id(repo)?;
        self.conn
            .prepare_cached(
                "INSERT INTO builds (id, repo, branch, commit_id, before, first_job, last_job, created_at, finished_at,
                   verdict, problem, subject, author) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute(params![
                id,
                repo,
                branch.as_str(),
                commit.as_bytes(),
                rows::before_bytes(before.as_ref()),
                first_job,
                last_job,
                build.created_at.0,
                build.finished_at.map(|at| at.0),
                build.verdict.map(rows::verdict_number),
                build.problem,
                subject,
                author
            ])?;
        if !range.is_empty() {
            self.conn
                .prepare_cached("INSERT INTO ranges (build, commits) VALUES (?1, ?2)")?
                .execute(params![id, rows::range_bytes(range)])?;
        }
        jobs.iter().try_for_each(|job| self.add_job(job))
    }

    fn add_job(&mut self, job: &Job) -> Result<(), Fault> {
        let spec = self.spec_id(job)?;
        let (state, attempt, detail) = rows::state_columns(&job.state);
        self.add_job.execute(params![
            signed(job.id.0),
            signed(job.build.0),
            spec,
            state,
            attempt,
            job.attempts,
            job.failures,
            job.losses,
            detail
        ])?;
        Ok(())
    }

    fn finish_build(&self, build: BuildId, verdict: Verdict, at: WallTime) -> Result<(), Fault> {
        let changed = self
            .conn
            .prepare_cached("UPDATE builds SET verdict = ?2, finished_at = ?3 WHERE id = ?1 AND verdict IS NULL")?
            .execute(params![signed(build.0), rows::verdict_number(verdict), at.0])?;
        one_row(changed, || format!("{build} is unknown or finished"))
    }

    fn reopen_build(&self, build: BuildId) -> Result<(), Fault> {
        let changed = self
            .conn
            .prepare_cached(
                "UPDATE builds SET verdict = NULL, finished_at = NULL WHERE id = ?1 AND verdict IS NOT NULL",
            )?
            .execute([signed(build.0)])?;
        one_row(changed, || format!("{build} is unknown or unfinished"))
    }

    fn move_head(&mut self, repo: &RepoName, branch: &BranchName, head: Option<&CommitId>) -> Result<(), Fault> {
        let repo = self.repo_id(repo)?;
        match head {
            Some(head) => self
                .conn
                .prepare_cached("INSERT OR REPLACE INTO heads (repo, branch, head) VALUES (?1, ?2, ?3)")?
                .execute(params![repo, branch.as_str(), head.as_bytes()])?,
            None => self
                .conn
                .prepare_cached("DELETE FROM heads WHERE repo = ?1 AND branch = ?2")?
                .execute(params![repo, branch.as_str()])?,
        };
        Ok(())
    }

    fn save_runner(&self, runner: &Runner) -> Result<(), Fault> {
        self.conn
            .prepare_cached(
                "INSERT INTO runners (id, name, first_seen, drained) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id)
                 DO UPDATE SET name = excluded.name, first_seen = excluded.first_seen, drained = excluded.drained",
            )?
            .execute(params![signed(runner.id.0), runner.name, runner.first_seen.0, runner.drained])?;
        Ok(())
    }

    /// Evidence, which contradicts nothing: also of an attempt that was forgotten since.
    fn add_late_result(&self, attempt: AttemptId, outcome: &Outcome, at: WallTime) -> Result<(), Fault> {
        let (number, code, detail) = rows::outcome_columns(outcome);
        self.conn
            .prepare_cached(
                "INSERT INTO late_results (attempt, outcome, code, detail, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![signed(attempt.0), number, code, detail, at.0])?;
        Ok(())
    }

    fn add_decision(&self, decision: &Decision) -> Result<(), Fault> {
        self.conn
            .prepare_cached(
                "INSERT INTO decisions (at, build, job, attempt, runner, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                decision.at.0,
                signed(decision.build.0),
                decision.job.map(|id| signed(id.0)),
                decision.attempt.map(|id| signed(id.0)),
                decision.runner.map(|id| signed(id.0)),
                decision.text
            ])?;
        Ok(())
    }

    fn repo_id(&mut self, repo: &RepoName) -> rusqlite::Result<i64> {
        if let Some(id) = self.names.repos.get(repo) {
            return Ok(*id);
        }
        let id = intern(self.conn, "repos", "name", repo.as_str())?;
        self.names.repos.insert(repo.clone(), id);
        Ok(id)
    }

    fn spec_id(&mut self, job: &Job) -> rusqlite::Result<i64> {
        let body = spec::to_json(&job.task);
        if let Some(id) = self.names.specs.get(&body) {
            return Ok(*id);
        }
        let id = intern(self.conn, "specs", "body", &body)?;
        if self.names.specs.len() >= SPECS_REMEMBERED_MAX {
            self.names.specs.clear();
        }
        self.names.specs.insert(body, id);
        Ok(id)
    }

    /// The row of a reason that is stored once; `None` if it is to be written out.
    fn reason_id(&mut self, reason: &str) -> rusqlite::Result<Option<i64>> {
        let reasons = match &mut self.names.reasons {
            Some(reasons) => reasons,
            none => none.insert(known_reasons(self.conn)?),
        };
        if let Some(id) = reasons.get(reason) {
            return Ok(Some(*id));
        }
        if reasons.len() >= REASONS_MAX {
            return Ok(None);
        }
        let id = intern(self.conn, "reasons", "body", reason)?;
        reasons.insert(reason.to_owned(), id);
        Ok(Some(id))
    }
}

fn known_reasons(conn: &Connection) -> rusqlite::Result<HashMap<String, i64>> {
    let mut statement = conn.prepare_cached("SELECT body, id FROM reasons")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The row of a text that its table holds once, added if it is new.
pub(super) fn intern(conn: &Connection, table: &str, column: &str, text: &str) -> rusqlite::Result<i64> {
    let known = conn
        .prepare_cached(&format!("SELECT id FROM {table} WHERE {column} = ?1"))?
        .query_row([text], |row| row.get(0))
        .optional()?;
    match known {
        Some(id) => Ok(id),
        None => conn.prepare_cached(&format!("INSERT INTO {table} ({column}) VALUES (?1)"))?.insert([text]),
    }
}

fn one_row(changed: usize, why: impl FnOnce() -> String) -> Result<(), Fault> {
    if changed == 1 { Ok(()) } else { Err(Fault::Contradiction(why())) }
}

/// What a record is called in an error.
pub(super) fn describe(record: &Record) -> String {
    match record {
        Record::BuildAdded { build, .. } => {
            let BuildSource { repo, branch, commit, .. } = &build.source;
            format!("{} for commit {} of {branch} in {repo}", build.id, commit.short())
        }
        Record::HeadMoved { repo, branch, .. } => format!("the head of {branch} in {repo}"),
        Record::RunnerSaved(runner) => format!("runner {}, {}", runner.name, runner.id),
        Record::AttemptLeased(attempt) => format!("the lease of {} for {}", attempt.id, attempt.job),
        Record::AttemptFinished { attempt, outcome, .. } => format!("the outcome {} of {attempt}", outcome.word()),
        Record::LateResult { attempt, .. } => format!("a late result of {attempt}"),
        Record::JobQueued { job, .. } => format!("{job} queued"),
        Record::JobWaiting { job } => format!("{job} waiting"),
        Record::JobFinished { job, ending } => format!("{job} {}", ending.word()),
        Record::BuildFinished { build, verdict, .. } => format!("{build} {}", verdict.word()),
        Record::BuildReopened { build } => format!("{build} reopened"),
        Record::Decided(decision) => format!("a decision about {}", decision.build),
    }
}

/// A key that is there already is a contradiction; anything else SQLite says is its own.
pub(super) fn judge(fault: Fault) -> Fault {
    match fault {
        Fault::Sqlite(e) if Kind::of(&e) == Kind::Constraint => {
            Fault::Contradiction("which has one of that number or name already".into())
        }
        other => other,
    }
}
