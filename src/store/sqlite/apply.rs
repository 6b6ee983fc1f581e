//! Writes one record after the other into the tables, inside the transaction that `writer.rs` holds.
//!
//! A statement changes exactly the row that it means; else the record contradicts the store, and the whole batch is
//! refused. An attempt has one outcome (S6) and a number that is used once. A job's attempts are counted without a gap,
//! one at a time (S8). A finished job or build stays finished until it is queued or reopened (S10). Nothing here reads
//! the clock or waits.

use rusqlite::{CachedStatement, Connection};

use super::failure::{Fault, Kind};
use super::tables::{
    Interned, artifacts, attempts, builds, decisions, executions, heads, jobs, joined, late_results, outcomes, outputs,
    patterns, runners, schedules, steps,
};
use super::values::signed;
use crate::model::{Build, BuildId, BuildSource, Job, Record};

/// The statements of frequent records, prepared once for a batch, and the connection for all others.
pub(super) struct Batch<'a> {
    conn: &'a Connection,
    interned: &'a mut Interned,
    jobs: jobs::Writes<'a>,
    attempts: CachedStatement<'a>,
    outcomes: outcomes::Writes<'a>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(conn: &'a Connection, interned: &'a mut Interned) -> rusqlite::Result<Self> {
        let jobs = jobs::Writes::new(conn)?;
        let (attempts, outcomes) = (conn.prepare_cached(attempts::INSERT)?, outcomes::Writes::new(conn)?);
        Ok(Self { conn, interned, jobs, attempts, outcomes })
    }

    pub(super) fn apply(&mut self, record: &Record) -> Result<(), Fault> {
        match record {
            Record::BuildAdded { build, jobs } => self.add_build(build, jobs),
            Record::JobsJoined { build, jobs } => {
                check_jobs(*build, jobs)?;
                if let [first, ..] = jobs.as_slice() {
                    joined::insert(self.conn, *build, (first.id, jobs[jobs.len() - 1].id))?;
                }
                jobs.iter().try_for_each(|job| self.jobs.insert(&mut self.interned.specs, job))
            }
            Record::HeadMoved { repo, reference, head, number } => {
                Ok(heads::move_to(self.conn, &mut self.interned.repos, (repo, reference), head.as_ref(), *number)?)
            }
            Record::RefsNoted { repo, refs, patterns: looked_at, number } => {
                let repo_id = self.interned.repos.get(self.conn, repo)?;
                let place = (repo_id, repo);
                refs.iter().try_for_each(|noted| heads::note(self.conn, place, noted, *number))?;
                Ok(looked_at.iter().try_for_each(|pattern| patterns::insert(self.conn, place, pattern))?)
            }
            Record::RunnerSaved(runner) => Ok(runners::save(self.conn, runner)?),
            Record::ScheduleSaved(schedule) => Ok(schedules::save(self.conn, &mut self.interned.repos, schedule)?),
            Record::AttemptLeased(attempt) => {
                let previous = self.jobs.lease(attempt)?;
                let seq = self.interned.sequence.next(self.conn)?;
                attempts::insert(&mut self.attempts, (&mut self.interned.reasons, self.conn), attempt, previous, seq)
            }
            Record::AttemptFinished { attempt, outcome, log, duration_ms, at } => {
                let seq = self.interned.sequence.next(self.conn)?;
                self.outcomes.insert(*attempt, outcome, (log, *duration_ms), (*at, seq))
            }
            Record::StepsEnded { attempt, steps } => Ok(steps::insert(self.conn, *attempt, steps)?),
            Record::ArtifactsLeft { build, job, task, attempt, artifacts } => {
                Ok(artifacts::insert(self.conn, *attempt, (*build, *job, task), artifacts)?)
            }
            Record::AttemptExecuted { attempt, execution } => Ok(executions::insert(self.conn, *attempt, execution)?),
            Record::OutputsSet { build, job, task, attempt, outputs } => {
                Ok(outputs::insert(self.conn, *attempt, (*build, *job, task), outputs)?)
            }
            Record::LateResult { attempt, outcome, at } => {
                let seq = self.interned.sequence.next(self.conn)?;
                Ok(late_results::insert(self.conn, *attempt, outcome, (*at, seq))?)
            }
            Record::JobQueued { job, failures, losses } => self.jobs.queue(*job, *failures, *losses),
            Record::JobWaiting { job } => self.jobs.wait(*job),
            Record::JobHeld { job } => self.jobs.hold(*job),
            Record::TaskGiven { job, task } => self.jobs.give(&mut self.interned.specs, *job, task),
            Record::JobFinished { job, ending } => self.jobs.finish(*job, ending),
            Record::BuildFinished { build, verdict, at } => {
                let seq = self.interned.sequence.next(self.conn)?;
                builds::finish(self.conn, *build, *verdict, (*at, seq))
            }
            Record::BuildReopened { build } => builds::reopen(self.conn, *build),
            Record::Decided(decision) => {
                let seq = self.interned.sequence.next(self.conn)?;
                Ok(decisions::insert(self.conn, decision, seq)?)
            }
        }
    }

    fn add_build(&mut self, build: &Build, jobs: &[Job]) -> Result<(), Fault> {
        check_jobs(build.id, jobs)?;
        // Without jobs the range is empty: its last comes before its first.
        let first_job = jobs.first().map_or(1, |job| signed(job.id.0));
        let last_job = jobs.last().map_or(0, |job| signed(job.id.0));
        builds::insert(self.conn, &mut self.interned.repos, build, (first_job, last_job))?;
        jobs.iter().try_for_each(|job| self.jobs.insert(&mut self.interned.specs, job))
    }
}

fn check_jobs(build: BuildId, jobs: &[Job]) -> Result<(), Fault> {
    if !jobs.is_sorted_by(|a, b| a.id < b.id) || jobs.iter().any(|job| job.build != build) {
        return Err(Fault::Contradiction("its jobs are not its own, or their numbers do not ascend".into()));
    }
    Ok(())
}

/// Names a record in an error.
pub(super) fn describe(record: &Record) -> String {
    match record {
        Record::BuildAdded { build, .. } => {
            let BuildSource { repo, commit, trigger, .. } = &build.source;
            format!("{} for commit {} of {} in {repo}", build.id, commit.short(), trigger.reference.short())
        }
        Record::JobsJoined { build, jobs } => format!("{} more jobs of {build}", jobs.len()),
        Record::HeadMoved { repo, reference, .. } => format!("the head of {} in {repo}", reference.short()),
        Record::RefsNoted { repo, refs, .. } => format!("{} refs of {repo} at the first look", refs.len()),
        Record::RunnerSaved(runner) => format!("runner {}, {}", runner.name, runner.id),
        Record::ScheduleSaved(schedule) => format!("the schedule {} of {}", schedule.name, schedule.repo),
        Record::AttemptLeased(attempt) => format!("the lease of {} for {}", attempt.id, attempt.job),
        Record::AttemptFinished { attempt, outcome, .. } => format!("the outcome {} of {attempt}", outcome.word()),
        Record::StepsEnded { attempt, .. } => format!("the steps of {attempt}"),
        Record::ArtifactsLeft { attempt, .. } => format!("the artifacts of {attempt}"),
        Record::AttemptExecuted { attempt, .. } => format!("how {attempt} was executed"),
        Record::OutputsSet { attempt, .. } => format!("the outputs of {attempt}"),
        Record::LateResult { attempt, .. } => format!("a late result of {attempt}"),
        Record::JobQueued { job, .. } => format!("{job} queued"),
        Record::JobWaiting { job } => format!("{job} waiting"),
        Record::JobHeld { job } => format!("{job} held"),
        Record::TaskGiven { job, .. } => format!("the inputs of {job}"),
        Record::JobFinished { job, ending } => format!("{job} {}", ending.word()),
        Record::BuildFinished { build, verdict, .. } => format!("{build} {}", verdict.word()),
        Record::BuildReopened { build } => format!("{build} reopened"),
        Record::Decided(decision) => format!("a decision about {}", decision.build),
    }
}

/// Makes a contradiction of a key that is there already; other failures of SQLite stay what they are.
pub(super) fn judge(fault: Fault) -> Fault {
    match fault {
        Fault::Sqlite(e) if Kind::of(&e) == Kind::Constraint => {
            Fault::Contradiction("which has one of that number or name already".into())
        }
        kept @ (Fault::Sqlite(_) | Fault::Contradiction(_)) => kept,
    }
}
