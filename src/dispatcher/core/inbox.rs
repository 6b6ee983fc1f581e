//! The messages that the core takes, in the order in which they arrive.

use std::collections::BTreeMap;

use crossbeam_channel::Sender;

use super::peers::Peer;
use super::watcher::Watcher;
use crate::dispatcher::data_dir::LogPlace;
use crate::dispatcher::metrics::Counters;
use crate::dispatcher::mirrors::TaskPlan;
use crate::model::reason::NamedJobs;
use crate::model::{AttemptId, BuildId, BuildSource, JobId, Moment, ObservedRefs, RepoName, ShortLog, WallTime};
use crate::scheduler::{Event, Reply, RequestId, RunnerJoined, Scheduler};
use crate::store::{Rule, Store, StoreError};

/// The core's state, for a closure that reads it on the core's thread.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) scheduler: &'a Scheduler,
    pub(crate) counters: &'a Counters,
    pub(crate) now: Moment,
}

/// A closure that reads the core's state. It must be quick, because everything else waits.
pub(crate) type Look = Box<dyn FnOnce(Seen<'_>) + Send>;

/// A closure that builds an event from the number that the core gives a request.
pub(crate) type MakeEvent = Box<dyn FnOnce(RequestId) -> Event + Send>;

/// A closure that writes to the store. An error ends the core, so one that passes by itself is no error here.
pub(crate) type ChangeStore = Box<dyn FnOnce(&mut dyn Store) -> Result<(), StoreError> + Send>;

/// A message to the core. The queue has its full length from the start, so variants that are large and rare are boxed.
pub(crate) enum ToCore {
    /// An event whose reply nobody waits for.
    Event(Event),
    /// An attempt has ended, and these are its streams that the store is to keep until their files are durable.
    Ended { event: Event, logs: Vec<ShortLog> },
    /// A runner has registered; the core reaches it through `peer` from now on.
    Join { peer: Peer, joined: Box<RunnerJoined> },
    /// Asks for the places of the logs of attempts that a runner says it holds. Attempts without a lease are left out.
    /// A runner knows only of durable leases, so nothing is committed first.
    LogsOf { holding: Vec<AttemptId>, answer: Sender<Vec<(AttemptId, LogPlace)>> },
    /// An event whose reply somebody waits for.
    Ask { make: MakeEvent, answer: Sender<Reply> },
    /// An observer has announced a commit.
    Commit { commit: Box<NewCommit>, answer: Sender<Reply> },
    /// An operator has asked for a build of a commit. The core looks in the store whether the same request has made one
    /// before, so that no repetition comes in between.
    Submit { order: Box<NewOrder>, answer: Sender<Reply> },
    /// An operator has ordered a rerun. The core reads the build itself, so that no other rerun comes in between.
    Rerun { order: Box<RerunOrder>, answer: Sender<Reply> },
    /// A person has ordered the start of a held job. The core reads the build itself.
    Start { order: Box<StartOrder>, answer: Sender<Reply> },
    /// A look at the core's state, for reports.
    Look(Look),
    /// An observer has said where the repository of that name is.
    SaveSource { repo: RepoName, source: String, refs: ObservedRefs },
    /// Builds that are to be removed. The answer names those that were, or says why none can be removed now.
    Forget { builds: Vec<BuildId>, rule: Rule, at: WallTime, answer: Sender<Result<Vec<BuildId>, String>> },
    /// A change of the store that is none of the scheduler's. It is durable, and answered, when the closure returns.
    Store(ChangeStore),
    /// A subscription to builds that change.
    Watch(Watcher),
    /// Asks the core to finish the batch, then to end.
    Stop,
}

/// An operator's request for a build of a commit whose source is durable in the mirror.
pub(crate) struct NewOrder {
    pub(crate) source: BuildSource,
    pub(crate) plan: TaskPlan,
    /// The place of the repository, which is kept if none is known.
    pub(crate) place: String,
}

/// The fields of [`Event::RerunAsked`], with the number of the build.
pub(crate) struct RerunOrder {
    pub(crate) build: BuildId,
    pub(crate) failed_only: bool,
    pub(crate) only: Option<NamedJobs>,
    pub(crate) by: Option<String>,
}

/// The fields of [`Event::StartAsked`], with the number of the build.
pub(crate) struct StartOrder {
    pub(crate) build: BuildId,
    pub(crate) job: JobId,
    pub(crate) by: String,
    pub(crate) force: bool,
    pub(crate) inputs: BTreeMap<String, String>,
}

/// A commit whose source is durable in the mirror.
pub(crate) struct NewCommit {
    pub(crate) source: BuildSource,
    /// The last move that the observer knew of.
    pub(crate) seen: Option<u64>,
    pub(crate) plan: TaskPlan,
    /// The pack that was received for the commit, if it is small.
    pub(crate) pack: Option<Vec<u8>>,
}
