//! The history of a world: facts in order. The checkers read nothing else.

use std::collections::BTreeSet;
use std::fmt;

use surveil::model::{
    AttemptId, BuildId, CommitId, Incarnation, JobId, Outcome, Record, RefName, RepoName, RunnerName, SessionId,
};
use surveil::scheduler::{Effect, Event, RunnerCommand};

/// The promises that are checked, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    S1,
    S2,
    S3,
    S5,
    S6,
    S7,
    S8,
    S9,
    S10,
    S11,
    S12,
    S13,
    S14,
    S15,
    S16,
    S19,
    S22,
    S27,
    S32,
    S33,
    S34,
    S35,
    S36,
    S37,
    S43,
    S44,
    S46,
    S47,
    S53,
    L1,
    /// The attempts on a runner take no more slots than it has.
    Slots,
    /// The tool cache fails no task, and keeps none waiting.
    ToolCache,
    /// A drain that an operator heard confirmed stays in force.
    Drain,
    /// A held task runs when a person starts it, and not before.
    Held,
    /// A build is cancelled if its settings, the end of its ref or an operator say so, and only then.
    Cancels,
    /// A task is tried again as its rule says.
    Retries,
    /// A task runs with the values that were given to its inputs last, and those are recorded before.
    Inputs,
    /// Artifacts and outputs count with the outcome of the attempt that left them, and with no other.
    Leavings,
    /// A task that asks for secrets goes to a runner that knows them, and may have them or ends with the rule.
    Secrets,
    /// The scheduler's own invariants.
    Invariant,
    /// The store refused a batch, or its state differs from the fold's.
    Store,
}

/// A broken promise, with the evidence.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    pub(crate) promise: Promise,
    pub(crate) text: String,
    /// The entry of the history that shows the breach.
    pub(crate) after: usize,
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    /// The dispatcher started, with what its store knew.
    Started,
    /// The dispatcher crashed at this point of its batch.
    Crashed(&'static str),
    /// The dispatcher stands still until this time: stopped, or waiting for its disk.
    HeldUp {
        until: u64,
    },
    /// The batch could not be made durable. It is committed again later.
    CommitFailed,
    /// The core handled this event.
    Arrived(Event),
    /// The scheduler returned this effect.
    Decided(Effect),
    /// This record is durable.
    Committed(Record),
    /// This effect left the dispatcher.
    Released(Effect),

    /// Somebody pushed, or deleted a branch.
    Pushed {
        repo: RepoName,
        reference: RefName,
        head: Option<CommitId>,
    },
    /// An observer sent this announcement, because it had found a branch at another head than the accepted one.
    Announced(Announcement),
    /// An observer heard that its announcement is accepted.
    Acknowledged {
        announcement: Announcement,
        build: BuildId,
    },

    Booted {
        name: RunnerName,
        incarnation: Incarnation,
    },
    /// A runner's process ended, whether killed or of its own accord.
    Died {
        name: RunnerName,
        incarnation: Incarnation,
    },
    /// A runner's whole machine stands still until then.
    Froze {
        name: RunnerName,
        until: u64,
    },
    /// It goes on. A world that tells this may have let it stand still for longer.
    Thawed {
        name: RunnerName,
    },
    /// The whole machine stood still from then until now, or nearly so.
    Stalled {
        since: u64,
    },
    /// The task's process of an attempt started.
    Began {
        attempt: AttemptId,
        job: JobId,
        name: RunnerName,
        incarnation: Incarnation,
    },
    /// It ended, by itself with an outcome or with its runner.
    Over {
        attempt: AttemptId,
        outcome: Option<Outcome>,
    },

    /// An exclusive attempt began and found another of its job that had not ended.
    Overlapped {
        attempt: AttemptId,
    },

    /// A runner got the answer to its result.
    Answered {
        session: SessionId,
        attempt: AttemptId,
        is_recorded: bool,
    },

    /// A stored log was compared with the output of the task.
    LogRead {
        attempt: AttemptId,
        bytes: u64,
        crc32: u32,
        /// The least that the task writes.
        is_true: bool,
        /// The most that the task writes.
        is_whole: bool,
    },
    /// The artifact of an attempt that has an outcome was read as an operator reads it.
    FilesRead {
        attempt: AttemptId,
        /// The attempt passed, and its task leaves an artifact.
        is_due: bool,
        found: FilesFound,
    },
    /// The task of an attempt asked its tool cache for an entry, or to store one.
    CacheAsked {
        attempt: AttemptId,
        /// When the request began, and when it ended.
        begun: u64,
        ended: u64,
        /// The attempt had read or stored this entry before.
        is_again: bool,
        answer: CacheAnswer,
    },
    /// The value of a secret was found at a place where it must not be.
    SecretSeen {
        place: String,
    },
    /// Some process of an attempt is still there although its runner says that the attempt has ended.
    Left {
        attempt: AttemptId,
    },
    /// Processes of a runner that was killed are still there, long after.
    Remained {
        name: RunnerName,
        processes: Vec<String>,
    },
    /// The state of the store at the end.
    Kept {
        builds: BTreeSet<BuildId>,
    },

    /// Faults have stopped.
    Calm,
    /// The world ends, with these heads in its repositories.
    Ended {
        heads: Vec<(RepoName, RefName, CommitId)>,
    },
}

/// The answer of a tool cache to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheAnswer {
    /// The bytes of the entry that this attempt wrote.
    Entry { by: AttemptId },
    /// Bytes that no attempt wrote under this name.
    Damaged,
    /// There is no such entry.
    Missing,
    /// The entry is stored.
    Stored,
    /// No answer, a part of one, or an error.
    Nothing,
}

/// The state in which the artifact of an attempt was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilesFound {
    /// The attempt has no artifact.
    Nothing,
    /// All files as the task left them.
    Same,
    /// Something else.
    Other,
    /// Retention has removed it, and says so.
    Removed,
}

impl Fact {
    /// Whether a peer of the dispatcher can have noticed the fact.
    pub(crate) fn is_released(&self) -> bool {
        matches!(self, Self::Released(_))
    }
}

/// An announcement. A branch that moves to and fro makes equal ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Announcement {
    pub(crate) repo: RepoName,
    pub(crate) reference: RefName,
    pub(crate) before: Option<CommitId>,
    pub(crate) after: CommitId,
}

impl Announcement {
    pub(crate) fn of(source: &surveil::model::BuildSource) -> Self {
        let trigger = &source.trigger;
        Self {
            repo: source.repo.clone(),
            reference: trigger.reference.clone(),
            before: trigger.before(),
            after: source.commit,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Milliseconds of real, virtual time.
    pub(crate) at: u64,
    pub(crate) fact: Fact,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) entries: Vec<Entry>,
}

impl History {
    pub(crate) fn note(&mut self, at: u64, fact: Fact) {
        self.entries.push(Entry { at, fact });
    }

    /// The last lines of the story up to an entry, for finding the cause.
    pub(crate) fn tail(&self, until: usize, lines: usize) -> String {
        let told: Vec<String> = self.entries.iter().take(until.saturating_add(1)).filter_map(line).collect();
        told[told.len().saturating_sub(lines)..].join("\n")
    }
}

/// An entry on one line; `None` for frequent entries that would bury the others.
fn line(entry: &Entry) -> Option<String> {
    let text = match &entry.fact {
        Fact::Arrived(Event::HeartbeatCheck | Event::LeaseCheck | Event::RunnerHeard { .. }) => return None,
        Fact::Decided(Effect::Send { .. } | Effect::Reply { .. }) => return None,
        Fact::Released(Effect::Send { message: RunnerCommand::Ack { gone }, .. }) if gone.is_empty() => return None,
        Fact::Decided(Effect::Persist(Record::Decided(_))) | Fact::Committed(Record::Decided(_)) => return None,
        Fact::Decided(effect) => format!("    decides {}", clip(effect)),
        Fact::Committed(record) => format!("    commits {}", clip(record)),
        Fact::Released(effect) => format!("    says {}", clip(effect)),
        Fact::Arrived(event) => format!("  hears {}", clip(event)),
        other => clip(other),
    };
    Some(format!("{:>4}.{:03} {text}", entry.at / 1000, entry.at % 1000))
}

fn clip(value: &impl fmt::Debug) -> String {
    let text = format!("{value:?}");
    if text.chars().count() <= 220 { text } else { text.chars().take(220).chain("…".chars()).collect() }
}
