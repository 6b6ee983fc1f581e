//! Why a job ended without a judgement of its task: errored or skipped.

use serde::{Deserialize, Serialize};

use super::{LossReason, RecordedReason, StoredReason};
use crate::model::{EndingKind, Label, RunnerName, TaskName};

/// Why a job is errored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum ErrorReason {
    /// The job was lost as many times as a job may be, each time after its process had started.
    GivenUp {
        losses: u32,
        /// The losses since the dispatcher started, oldest first.
        with: Vec<LostWith>,
    },
    /// The job was leased again and again, and its process never started.
    NeverStarted { attempts: u32, last: LostWith },
    /// No connected runner fitted the job for the whole queue timeout.
    NoRunnerFits { waited_ms: u64, fit: MissingFit },
    /// The task's process could not be started.
    CouldNotStart { text: String },
    #[serde(skip)]
    Recorded(RecordedReason),
}

/// A loss that counts against a job, and the runner on which it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostWith {
    pub runner: RunnerName,
    pub reason: LossReason,
}

/// Why no connected runner fits a job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum MissingFit {
    /// No runner is connected that takes jobs.
    NoRunner,
    /// No connected runner offers any of these labels.
    Labels { labels: Vec<Label> },
    /// Each label is offered by some runner, but no runner offers all of them.
    Combination { labels: Vec<Label> },
}

/// Why a job is skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum SkipReason {
    /// A task that the job needs ended in another way than passed.
    NeedNotPassed { task: TaskName, how: EndingKind },
    #[serde(skip)]
    Recorded(RecordedReason),
}

/// How a task's process failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum TaskFailure {
    ExitCode { exit_code: i32 },
    Signal { signal: i32 },
    TimedOut,
}

impl StoredReason for ErrorReason {
    fn code(&self) -> Option<&str> {
        Some(match self {
            Self::GivenUp { .. } => "given_up",
            Self::NeverStarted { .. } => "never_started",
            Self::NoRunnerFits { .. } => "no_runner_fits",
            Self::CouldNotStart { .. } => "could_not_start",
            Self::Recorded(it) => return it.code.as_deref(),
        })
    }
}

impl From<RecordedReason> for ErrorReason {
    fn from(recorded: RecordedReason) -> Self {
        Self::Recorded(recorded)
    }
}

impl StoredReason for SkipReason {
    fn code(&self) -> Option<&str> {
        Some(match self {
            Self::NeedNotPassed { .. } => "need_not_passed",
            Self::Recorded(it) => return it.code.as_deref(),
        })
    }
}

impl From<RecordedReason> for SkipReason {
    fn from(recorded: RecordedReason) -> Self {
        Self::Recorded(recorded)
    }
}

impl MissingFit {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoRunner => "no_runner",
            Self::Labels { .. } => "labels",
            Self::Combination { .. } => "combination",
        }
    }
}

impl TaskFailure {
    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::ExitCode { .. } => "exit_code",
            Self::Signal { .. } => "signal",
            Self::TimedOut => "timed_out",
        }
    }
}
