//! The nouns: what every other room talks about. Plain data without I/O, clock or serialization.

mod address;
mod attempt;
mod build;
mod commit;
mod id;
mod job;
mod moment;
mod name;
mod record;
mod runner;
mod task;

pub use address::{Address, AddressError};
pub use attempt::{Attempt, LogSummary, Outcome};
pub use build::{Build, BuildSource, Verdict};
pub use commit::{BranchName, CommitId, CommitIdError};
pub use id::{AttemptId, BuildId, Incarnation, JobId, RunnerId, SessionId};
pub use job::{Ending, Job, JobState};
pub use moment::{Moment, WallTime};
pub use name::{Label, LabelError, RepoName, RepoNameError, RunnerName, RunnerNameError, TaskName, TaskNameError};
pub use record::{Decision, Record};
pub use runner::{Isolation, Runner};
pub use task::{Script, TaskSpec};
