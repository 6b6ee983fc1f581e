//! The state with which a dispatcher starts: everything that the store knows of unfinished work, in the form in which
//! the scheduler takes it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Attempt, AttemptId, Build, BuildId, CommitId, Job, Line, RefName, RepoName, Runner, RunnerId, Schedule};

/// The head that was accepted last for a ref, and the move that brought it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedHead {
    pub commit: CommitId,
    /// The number of the move; 0 for a head from before moves were numbered.
    pub number: u64,
    /// The build of the move.
    pub build: Option<BuildId>,
    /// Whether the ref was there at the first look at it and has not moved since. Then it has no build, and the
    /// dispatcher does not have the commit's source.
    pub is_noted: bool,
}

/// A build with its jobs and with the attempts that the caller asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeBuild {
    pub build: Build,
    /// In the order of the task file.
    pub jobs: Vec<Job>,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
}

/// Everything with which a dispatcher continues after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Unfinished builds with their unfinished attempts, oldest first.
    pub builds: Vec<WholeBuild>,
    /// The accepted head of each ref.
    pub heads: Vec<(RepoName, RefName, AcceptedHead)>,
    /// The patterns for refs whose first look is over, by repository.
    pub patterns: Vec<(RepoName, Arc<str>)>,
    /// The number of the last move by which a ref of the repository ended, for repositories that have had one.
    pub ends: Vec<(RepoName, u64)>,
    /// All schedules, those that have ended included.
    pub schedules: Vec<Schedule>,
    pub runners: Vec<Runner>,
    /// The lines of which an attempt that was cancelled is among the newest [`Snapshot::RECORDED_MAX`] outcomes. It may
    /// not have ended.
    pub cancelled: BTreeSet<Line>,
    /// The highest numbers that were ever used, 0 for none.
    pub last_build: u64,
    pub last_job: u64,
    pub last_attempt: u64,
    pub last_runner: u64,
    /// The newest [`Snapshot::RECORDED_MAX`] attempts with a recorded outcome other than lost, oldest first, so that a
    /// result that is delivered again gets the same answer. Each with the runner that executed it.
    pub recorded: Vec<(AttemptId, RunnerId)>,
}

impl Snapshot {
    /// Number of recorded attempts that a dispatcher remembers. A crash leaves at most one transaction's results, which
    /// are half as many, without an answer. Each start reads so many rows of two tables.
    pub const RECORDED_MAX: usize = 4_096;
}
