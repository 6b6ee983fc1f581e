//! One record after another into the tables, inside the transaction that `writer.rs` holds.
//!
//! A statement changes exactly the row it means, or the record contradicts the store and the whole batch is refused:
//! an attempt has one outcome (S6) and a number used once, a job's attempts are counted without a gap and one at a
//! time (S8), what is finished stays so until it is queued or reopened (S10). Never reads the clock, never waits.

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::error::{Fault, Kind};
use super::names::Names;
use super::queries;
use super::rows::{self, signed};
use super::seal::{self, JobColumns, detail_seal};
use crate::model::{
    Attempt, AttemptId, BranchName, Build, BuildId, BuildSource, CommitId, Decision, Ending, Job, JobId, LogSummary,
    Outcome, Record, RepoName, Runner, Verdict, WallTime,
};

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
                "UPDATE jobs SET state = 2, attempt = ?2, attempts = ?3, seal = (seal + (2 - state) * 102030407
                   + ((?2 - attempt) & 4294967295) * 210987653 + (?3 - attempts) * 150094637) & 4294967295
                 WHERE id = ?1 AND state < 3 AND attempts = ?3 - 1",
            )?,
            add_attempt: conn.prepare_cached(
                "INSERT INTO attempts (id, job, number, runner, reason, leased_at, previous, seal)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?,
            add_outcome: conn.prepare_cached(
                "INSERT INTO outcomes
                   (attempt, outcome, code, detail, finished_at, duration_ms, log_bytes, log_crc32, log_missing,
                    seal)
                 SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 FROM attempts WHERE id = ?1",
            )?,
            finish_job: conn.prepare_cached(
                "UPDATE jobs SET state = ?2, detail = ?3, seal = (seal + (?2 - state) * 102030407 + ?4) & 4294967295
                 WHERE id = ?1 AND state < 3",
            )?,
            queue_job: conn.prepare_cached(
                "UPDATE jobs SET state = ?2, failures = ?3, losses = ?4, detail = NULL, seal = ?5 WHERE id = ?1",
            )?,
            add_job: conn.prepare_cached(
                "INSERT INTO jobs (id, build, spec, state, attempt, attempts, failures, losses, detail, seal)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
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
        let seal = seal::attempt_seal(attempt, previous).end();
        match self.names.reason_id(self.conn, &attempt.reason)? {
            Some(reason) => {
                self.add_attempt.execute(params![id, job, number, runner, reason, leased_at, previous, seal])?
            }
            None => {
                let reason = &attempt.reason;
                self.add_attempt.execute(params![id, job, number, runner, reason, leased_at, previous, seal])?
            }
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
            log.missing,
            seal::outcome_seal(attempt, outcome, log, duration_ms, at).end()
        ])?;
        one_row(added, || format!("{attempt} was never leased"))
    }

    fn finish_job(&mut self, job: JobId, ending: &Ending) -> Result<(), Fault> {
        let (number, detail) = (rows::ending_number(ending), ending.detail());
        let changed = self.finish_job.execute(params![signed(job.0), number, detail, detail_seal(detail)])?;
        one_row(changed, || format!("{job} is unknown or finished"))
    }

    fn queue(&mut self, job: JobId, state: i64, failures: u32, losses: u32) -> Result<(), Fault> {
        let id = signed(job.0);
        let sealed = queries::with_job_columns(self.conn, id, |columns| {
            JobColumns { state, failures, losses, detail: None, ..columns }.seal()
        });
        let seal = sealed?.ok_or_else(|| Fault::Contradiction(format!("{job} is unknown")))?;
        let changed = self.queue_job.execute(params![id, state, failures, losses, seal])?;
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
        let repo = self.names.repo_id(self.conn, repo)?;
        self.conn
            .prepare_cached(
                "INSERT INTO builds (id, repo, branch, commit_id, before, first_job, last_job, created_at, finished_at,
                   verdict, problem, subject, author, seal, end_seal)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
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
                author,
                seal::build_seal(build, first_job, last_job).end(),
                seal::end_seal(build.id, build.verdict, build.finished_at).end()
            ])?;
        if !range.is_empty() {
            self.conn
                .prepare_cached("INSERT INTO ranges (build, commits) VALUES (?1, ?2)")?
                .execute(params![id, rows::range_bytes(range)])?;
        }
        jobs.iter().try_for_each(|job| self.add_job(job))
    }

    fn add_job(&mut self, job: &Job) -> Result<(), Fault> {
        let spec = self.names.spec_id(self.conn, &job.task)?;
        let (state, attempt, detail) = rows::state_columns(&job.state);
        let Job { attempts, failures, losses, .. } = *job;
        let (id, build) = (signed(job.id.0), signed(job.build.0));
        let columns = JobColumns { id, build, spec, state, attempt, attempts, failures, losses, detail };
        self.add_job.execute(params![
            id,
            build,
            spec,
            state,
            attempt,
            attempts,
            failures,
            losses,
            detail,
            columns.seal()
        ])?;
        Ok(())
    }

    fn finish_build(&self, build: BuildId, verdict: Verdict, at: WallTime) -> Result<(), Fault> {
        let changed = self
            .conn
            .prepare_cached(
                "UPDATE builds SET verdict = ?2, finished_at = ?3, end_seal = ?4 WHERE id = ?1 AND verdict IS NULL",
            )?
            .execute(params![
                signed(build.0),
                rows::verdict_number(verdict),
                at.0,
                seal::end_seal(build, Some(verdict), Some(at)).end()
            ])?;
        one_row(changed, || format!("{build} is unknown or finished"))
    }

    fn reopen_build(&self, build: BuildId) -> Result<(), Fault> {
        let changed = self
            .conn
            .prepare_cached(
                "UPDATE builds SET verdict = NULL, finished_at = NULL, end_seal = ?2
                 WHERE id = ?1 AND verdict IS NOT NULL",
            )?
            .execute([signed(build.0), seal::end_seal(build, None, None).end()])?;
        one_row(changed, || format!("{build} is unknown or unfinished"))
    }

    fn move_head(&mut self, repo: &RepoName, branch: &BranchName, head: Option<&CommitId>) -> Result<(), Fault> {
        let name = repo;
        let repo = self.names.repo_id(self.conn, name)?;
        match head {
            Some(head) => self
                .conn
                .prepare_cached("INSERT OR REPLACE INTO heads (repo, branch, head, seal) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![repo, branch.as_str(), head.as_bytes(), seal::head_seal(name, branch, head).end()])?,
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
                "INSERT INTO runners (id, name, first_seen, seal) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, first_seen = excluded.first_seen,
                   seal = excluded.seal",
            )?
            .execute(params![signed(runner.id.0), runner.name, runner.first_seen.0, seal::runner_seal(runner).end()])?;
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
        kept @ (Fault::Sqlite(_) | Fault::Contradiction(_)) => kept,
    }
}
