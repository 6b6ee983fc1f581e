//! One task for one commit: the unit that is queued.

use std::sync::Arc;

use super::{AttemptId, BuildId, JobId, TaskSpec};

/// Where a job stands, in life order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Some of the tasks it needs have not passed yet.
    Waiting,
    /// Ready for the next runner that fits.
    Queued,
    /// Promised to a runner.
    Leased(AttemptId),
    Finished(Ending),
}

/// How a job ended, by the outcomes of its attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Passed,
    Failed,
    /// It could not be judged: it killed its runners, no runner fitted, it could not be started. Says why.
    Errored(String),
    Cancelled,
    /// A task it needs did not pass. Names it.
    Skipped(String),
}

impl Ending {
    /// The ending's name on the wire, in the store and for people.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Errored(_) => "errored",
            Self::Cancelled => "cancelled",
            Self::Skipped(_) => "skipped",
        }
    }

    /// The sentence that goes with it, if there is one.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Errored(why) | Self::Skipped(why) => Some(why),
            Self::Passed | Self::Failed | Self::Cancelled => None,
        }
    }
}

impl JobState {
    /// The state's name on the wire, in the store and for people; a finished job is called by its ending.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Leased(_) => "running",
            Self::Finished(ending) => ending.word(),
        }
    }
}

/// A job as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: JobId,
    pub build: BuildId,
    pub task: Arc<TaskSpec>,
    pub state: JobState,
    /// Attempts leased so far; the next is numbered one more.
    pub attempts: u32,
    /// Attempts that failed by the task's own doing since the job was last queued by hand.
    pub failures: u32,
    /// Attempts lost to infrastructure since the job was last queued by hand.
    pub losses: u32,
}
