//! One task for one commit: the unit that is queued.

use std::sync::Arc;

use super::reason::{CancelReason, ErrorReason, LeftOutReason, SkipReason, StoredReason};
use super::{AttemptId, BuildId, EndingKind, JobId, TaskSpec};

/// The state of a job, in life order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Some of the tasks that it needs have not passed yet.
    Waiting,
    /// Its task is manual and nobody has started it, or it needs one for which that is true. It does not hold up the
    /// verdict.
    Held,
    /// Ready for the next runner that fits.
    Queued,
    /// A runner has a lease of it.
    Leased(AttemptId),
    Finished(Ending),
}

/// How a job ended, which follows from the outcomes of its attempts. The reasons are boxed, because they are rare and
/// every job of every unfinished build has room for an ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Passed,
    Failed,
    /// It could not be judged: it killed its runners, no runner fitted, or it could not be started.
    Errored(Box<ErrorReason>),
    /// Without a reason, an operator cancelled it.
    Cancelled(Option<Box<CancelReason>>),
    /// A task that it needs did not pass.
    Skipped(Box<SkipReason>),
    /// Its conditions do not choose it in this build. It counts as passed for the tasks that need it, and does not
    /// count for the verdict.
    LeftOut(Box<LeftOutReason>),
}

impl Ending {
    /// The ending without its reason.
    #[must_use]
    pub fn kind(&self) -> EndingKind {
        match self {
            Self::Passed => EndingKind::Passed,
            Self::Failed => EndingKind::Failed,
            Self::Errored(_) => EndingKind::Errored,
            Self::Cancelled(_) => EndingKind::Cancelled,
            Self::Skipped(_) => EndingKind::Skipped,
            Self::LeftOut(_) => EndingKind::LeftOut,
        }
    }

    /// The ending's name on the wire, in the store and for people.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.kind().word()
    }

    /// The text of the reason, if the ending has one.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Errored(reason) => Some(reason.to_string()),
            Self::Cancelled(reason) => reason.as_ref().map(ToString::to_string),
            Self::Skipped(reason) => Some(reason.to_string()),
            Self::LeftOut(reason) => Some(reason.to_string()),
            Self::Passed | Self::Failed => None,
        }
    }

    /// The code of the reason, if the ending has one.
    #[must_use]
    pub fn reason_code(&self) -> Option<&str> {
        match self {
            Self::Errored(reason) => reason.code(),
            Self::Cancelled(reason) => reason.as_ref()?.code(),
            Self::Skipped(reason) => reason.code(),
            Self::LeftOut(reason) => reason.code(),
            Self::Passed | Self::Failed => None,
        }
    }
}

impl JobState {
    /// The state without its content.
    #[must_use]
    pub fn kind(&self) -> JobStateKind {
        match self {
            Self::Waiting => JobStateKind::Waiting,
            Self::Held => JobStateKind::Held,
            Self::Queued => JobStateKind::Queued,
            Self::Leased(_) => JobStateKind::Running,
            Self::Finished(ending) => JobStateKind::Finished(ending.kind()),
        }
    }

    /// The state's name on the wire, in the store and for people. That of a finished job is its ending.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.kind().word()
    }

    /// Whether the verdict over the build waits for the job.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        match self {
            Self::Waiting | Self::Queued | Self::Leased(_) => true,
            Self::Held | Self::Finished(_) => false,
        }
    }
}

/// The state of a job in reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStateKind {
    Waiting,
    Held,
    Queued,
    Running,
    Finished(EndingKind),
}

impl JobStateKind {
    /// The state's name on the wire and for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished(ending) => ending.word(),
        }
    }

    /// Returns the state of a name; `None` for a name of a newer program.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        use EndingKind::{Cancelled, Errored, Failed, LeftOut, Passed, Skipped};
        let endings = [Passed, Failed, Errored, Cancelled, Skipped, LeftOut].map(Self::Finished);
        let states = [Self::Waiting, Self::Held, Self::Queued, Self::Running].into_iter().chain(endings);
        states.into_iter().find(|state| state.word() == word)
    }

    /// Whether the job failed or is errored.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Finished(EndingKind::Failed | EndingKind::Errored))
    }
}

/// A job, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: JobId,
    pub build: BuildId,
    pub task: Arc<TaskSpec>,
    pub state: JobState,
    /// The number of attempts leased so far. The next attempt gets the next number.
    pub attempts: u32,
    /// Attempts that failed by the task's own fault since the last rerun.
    pub failures: u32,
    /// Attempts lost to infrastructure since the last rerun.
    pub losses: u32,
}
