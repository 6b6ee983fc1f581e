//! The messages that the core takes, in the order in which they arrive.

use crossbeam_channel::Sender;

use super::peers::Peer;
use super::watcher::Watcher;
use crate::dispatcher::data_dir::LogPlace;
use crate::dispatcher::mirrors::TaskPlan;
use crate::model::{AttemptId, BranchName, BuildId, BuildSource, CommitId, JobId, Moment, RepoName, WallTime};
use crate::scheduler::{Event, Reply, RunnerJoined, Scheduler};
use crate::store::Rule;

/// Something that reads the scheduler on the core's thread; quick, because everything else waits.
pub(crate) type Look = Box<dyn FnOnce(&Scheduler, Moment) + Send>;

/// What the core is told. The queue of these has its full length from the start, so what is large and rare is boxed.
pub(crate) enum ToCore {
    Event(Event),
    /// A runner registered; from now on it is spoken to through `peer`.
    Join {
        peer: Peer,
        joined: Box<RunnerJoined>,
    },
    /// Asks where the logs of attempts lie that a runner says it holds, if they are leased. What a runner has heard of
    /// is durable, so this commits nothing first.
    LogsOf {
        holding: Vec<AttemptId>,
        answer: Sender<Vec<(AttemptId, LogPlace)>>,
    },
    /// Something that wants an answer.
    Ask {
        question: Box<Question>,
        answer: Sender<Reply>,
    },
    /// A look at the scheduler, for reports.
    Look(Look),
    /// An observer said where the repository of that name is.
    SaveSource {
        repo: RepoName,
        source: String,
    },
    /// Builds that are to be removed; the answer names those that were, or says why none can be now.
    Forget {
        builds: Vec<BuildId>,
        rule: Rule,
        at: WallTime,
        answer: Sender<Result<Vec<BuildId>, String>>,
    },
    /// Wants to hear of builds that change.
    Watch(Watcher),
    /// Finish the batch, then end.
    Stop,
}

/// Requests that become events once the core has numbered them.
pub(crate) enum Question {
    Commit {
        source: BuildSource,
        plan: TaskPlan,
        /// The pack that was received for it, if it is small.
        pack: Option<Vec<u8>>,
    },
    Gone {
        repo: RepoName,
        branch: BranchName,
        before: CommitId,
    },
    Cancel {
        build: BuildId,
        job: Option<JobId>,
    },
    Rerun {
        build: BuildId,
        failed_only: bool,
    },
    Drain {
        runner: String,
    },
}
