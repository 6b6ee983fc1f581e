//! The messages that the core takes, in the order in which they arrive.

use crossbeam_channel::Sender;

use super::peers::Peer;
use super::watcher::Watcher;
use crate::dispatcher::data_dir::LogPlace;
use crate::dispatcher::metrics::Counters;
use crate::dispatcher::mirrors::TaskPlan;
use crate::model::{AttemptId, BuildId, BuildSource, Moment, RepoName, WallTime};
use crate::scheduler::{Event, Reply, RequestId, RunnerJoined, Scheduler};
use crate::store::Rule;

/// The core's state, for one who reads it on the core's thread.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) scheduler: &'a Scheduler,
    pub(crate) counters: &'a Counters,
    pub(crate) now: Moment,
}

/// Something that reads the core's state. Everything else waits meanwhile, so it must be quick.
pub(crate) type Look = Box<dyn FnOnce(Seen<'_>) + Send>;

/// Builds an event around the number that the core gives a request.
pub(crate) type MakeEvent = Box<dyn FnOnce(RequestId) -> Event + Send>;

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
    /// An event that wants an answer.
    Ask {
        make: MakeEvent,
        answer: Sender<Reply>,
    },
    /// An observer has announced a commit.
    Commit {
        commit: Box<NewCommit>,
        answer: Sender<Reply>,
    },
    /// An operator wants jobs of a finished build to be run again. The core reads the build itself, so that no other
    /// rerun comes in between.
    Rerun {
        build: BuildId,
        failed_only: bool,
        answer: Sender<Reply>,
    },
    /// A look at the core's state, for reports.
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

/// A commit whose source is durable in the mirror.
pub(crate) struct NewCommit {
    pub(crate) source: BuildSource,
    pub(crate) plan: TaskPlan,
    /// The pack that was received for it, if it is small.
    pub(crate) pack: Option<Vec<u8>>,
}
