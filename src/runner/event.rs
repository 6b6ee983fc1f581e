//! What the machine is told and what it wants done: facts in the past tense, commands in the imperative.

use super::assignment::{Assignment, AttemptResult, SourceAhead};
use crate::model::{AttemptId, CommitId, Moment, StreamId};

/// Something that happened, in life order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The dispatcher said welcome.
    Connected,
    /// It took the registration, which was sent at `since`. `gone` is not held any more.
    Registered {
        since: Moment,
        gone: Vec<AttemptId>,
        streams: Vec<(StreamId, u64)>,
    },
    Disconnected,
    /// The source of a lease to come was given.
    SourceCame(Box<SourceAhead>),
    /// A lease was given.
    Leased(Box<Assignment>),
    /// A lease was given that makes no sense.
    LeaseUnreadable {
        attempt: AttemptId,
        why: String,
    },
    /// A slot needs the source of its attempt's commit and has these commits.
    SourceWanted {
        attempt: AttemptId,
        haves: Vec<CommitId>,
    },
    /// The attempt's process runs.
    Started(AttemptId),
    /// The dispatcher wants the attempt cancelled.
    CancelAsked(AttemptId),
    /// The dispatcher answered the ping that was sent at `since`, and so renewed what is held and not in `gone`.
    Renewed {
        since: Moment,
        gone: Vec<AttemptId>,
    },
    /// A slot is free again; nothing of the attempt is left but its log.
    Ended {
        attempt: AttemptId,
        report: AttemptResult,
    },
    /// The dispatcher has the result.
    Recorded(AttemptId),
    /// The dispatcher says that the lease is not held any more.
    Fenced(AttemptId),
    /// Finish what is held, then end.
    DrainAsked,
    /// End now.
    StopAsked,
    /// Time has passed. The dispatcher last had more of a stream at `delivered`.
    Tick {
        delivered: Moment,
    },
}

/// Something to do. Their order counts.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Say what the runner offers and holds.
    Register { holding: Vec<AttemptId>, draining: bool },
    /// Let streams travel, from these offsets; those not named from 0.
    ResumeStreams(Vec<(StreamId, u64)>),
    /// Streams cannot travel.
    PauseStreams,
    /// Have a free slot take the source in.
    TakeAhead { slot: usize, ahead: Box<SourceAhead> },
    /// Write down that the attempt is held, then give it to the slot.
    Start { slot: usize, assignment: Box<Assignment> },
    /// Ask the dispatcher for the source.
    AskSource { attempt: AttemptId, haves: Vec<CommitId> },
    /// Tell the dispatcher that the process runs.
    SayStarted(AttemptId),
    /// Tell the slot to end the attempt.
    Cancel(AttemptId),
    /// Write down how the attempt ended.
    Keep { attempt: AttemptId, report: AttemptResult },
    /// Tell the dispatcher how the attempt ended, after its streams.
    Deliver { attempt: AttemptId, report: AttemptResult },
    /// Say no more of what the attempt prints.
    Mute(AttemptId),
    /// Delete what is kept of the attempt.
    Forget { attempt: AttemptId, has_spool: bool },
    /// Tell the dispatcher that the runner wants nothing new, and ping it at once.
    SayDraining,
    /// The runner's end.
    End,
    /// The runner's end, although the dispatcher has not taken everything: the next start delivers the rest.
    GiveUp(Undelivered),
}

/// What a runner leaves for its next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Undelivered {
    pub(super) results: usize,
    /// Bytes of the results' streams.
    pub(super) bytes: u64,
}
