//! A checksum in each row that a decision may rest on, so that a flipped bit is told from a value: SQLite notices a
//! malformed page, but not a number that became another one. Covers the rows' ids and, where a row names a text that is
//! kept elsewhere, the text. Made by `apply.rs`, checked by `queries.rs` on every read; does no I/O.
//!
//! A job's row is changed in place while a batch runs, so its seal is a sum that a statement can carry on by the
//! difference of old and new, without reading the row first. A wrong old value stays visible in it.

use super::rows::{before_bytes, damaged, outcome_columns, range_bytes, signed, verdict_number};
use crate::model::{
    Attempt, AttemptId, BranchName, Build, BuildId, CommitId, LogSummary, Outcome, RepoName, Runner, Verdict, WallTime,
};

/// Collects what a row holds.
pub(super) struct Seal(crc32fast::Hasher);

impl Seal {
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

    /// With its length, so that what follows cannot be taken for its end.
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let mut seal = self.number(bytes.len() as i64);
        seal.0.update(bytes);
        seal
    }

    pub(super) fn maybe_text(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.bytes(text.as_bytes()),
            None => self.number(-1),
        }
    }

    pub(super) fn end(self) -> i64 {
        self.0.finalize().into()
    }

    /// Refuses a row that holds something else than what was sealed.
    pub(super) fn check(self, found: i64, row: impl FnOnce() -> String) -> rusqlite::Result<()> {
        compare(self.end(), found, row)
    }
}

/// What never changes in a build's row, with its range and the name of its repository.
pub(super) fn build_seal(build: &Build, first_job: i64, last_job: i64) -> Seal {
    let source = &build.source;
    Seal::of("builds")
        .number(signed(build.id.0))
        .bytes(source.repo.as_str().as_bytes())
        .bytes(source.branch.as_str().as_bytes())
        .bytes(source.commit.as_bytes())
        .bytes(before_bytes(source.before.as_ref()))
        .bytes(&range_bytes(&source.range))
        .bytes(source.subject.as_bytes())
        .bytes(source.author.as_bytes())
        .number(build.created_at.0)
        .maybe_text(build.problem.as_deref())
        .number(first_job)
        .number(last_job)
}

/// What changes in a build's row.
pub(super) fn end_seal(build: BuildId, verdict: Option<Verdict>, finished_at: Option<WallTime>) -> Seal {
    Seal::of("ends")
        .number(signed(build.0))
        .maybe_number(verdict.map(verdict_number))
        .maybe_number(finished_at.map(|at| at.0))
}

/// The lease of an attempt, with the text of its reason.
pub(super) fn attempt_seal(attempt: &Attempt, previous: Option<i64>) -> Seal {
    Seal::of("attempts")
        .number(signed(attempt.id.0))
        .number(signed(attempt.job.0))
        .number(attempt.number)
        .number(signed(attempt.runner.0))
        .bytes(attempt.reason.as_bytes())
        .number(attempt.leased_at.0)
        .maybe_number(previous)
}

pub(super) fn outcome_seal(
    attempt: AttemptId,
    outcome: &Outcome,
    log: &LogSummary,
    duration_ms: Option<u64>,
    at: WallTime,
) -> Seal {
    let (number, code, detail) = outcome_columns(outcome);
    Seal::of("outcomes")
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

pub(super) fn head_seal(repo: &RepoName, branch: &BranchName, head: &CommitId) -> Seal {
    Seal::of("heads").bytes(repo.as_str().as_bytes()).bytes(branch.as_str().as_bytes()).bytes(head.as_bytes())
}

pub(super) fn runner_seal(runner: &Runner) -> Seal {
    Seal::of("runners").number(signed(runner.id.0)).bytes(runner.name.as_bytes()).number(runner.first_seen.0)
}

pub(super) fn spec_seal(body: &str) -> Seal {
    Seal::of("specs").bytes(body.as_bytes())
}

/// The columns of a job's row.
#[derive(Debug, Clone, Copy)]
pub(super) struct JobColumns<'a> {
    pub(super) id: i64,
    pub(super) build: i64,
    pub(super) spec: i64,
    pub(super) state: i64,
    pub(super) attempt: i64,
    pub(super) attempts: u32,
    pub(super) failures: u32,
    pub(super) losses: u32,
    pub(super) detail: Option<&'a str>,
}

impl JobColumns<'_> {
    /// Each column times a factor of its own. The factors are odd, so that no change of one column is lost modulo 2^32,
    /// and below 2^28, so that SQLite's sums of differences stay integers; a difference of attempts, which may be
    /// larger than that allows, is taken modulo 2^32 first. Those of `state`, `attempt` and `attempts`
    /// are written out in the statements of `apply.rs` too.
    pub(super) fn seal(&self) -> i64 {
        let terms = [
            (self.id, 0x0b5_1d3d),
            (self.build, 0xc2b_2ae3),
            (self.spec, 0x9e3_779b),
            (self.state, 102_030_407),
            (self.attempt, 210_987_653),
            (self.attempts.into(), 150_094_637),
            (self.failures.into(), 0x85e_bca7),
            (self.losses.into(), 0x27d_4eb3),
            (detail_seal(self.detail), 1),
        ];
        terms.into_iter().fold(0i64, |sum, (value, factor)| sum.wrapping_add(value.wrapping_mul(factor))) & 0xffff_ffff
    }

    /// Refuses a row that holds something else than what was sealed.
    pub(super) fn check(&self, found: i64) -> rusqlite::Result<()> {
        compare(self.seal(), found, || format!("job {}", self.id))
    }
}

/// What a job's detail adds to its seal.
pub(super) fn detail_seal(detail: Option<&str>) -> i64 {
    detail.map_or(0, |text| Seal::of("detail").bytes(text.as_bytes()).end())
}

fn compare(expected: i64, found: i64, row: impl FnOnce() -> String) -> rusqlite::Result<()> {
    if expected == found { Ok(()) } else { Err(damaged(format!("the row of {} does not match its checksum", row()))) }
}
