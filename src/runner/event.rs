//! The input and output of the machine: events are facts in the past tense, actions are imperatives.

use super::assignment::{Assignment, AttemptResult, HeldSource, SourceAhead};
use crate::model::{AttemptId, Moment, StreamId};

/// A fact that the machine is told, in life order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The dispatcher answered `hello` with `welcome`.
    Connected,
    /// The dispatcher accepted the registration that was sent at `since`. The attempts in `gone` are not held any more.
    Registered { since: Moment, gone: Vec<AttemptId>, streams: Offsets },
    /// The session has ended.
    Disconnected,
    /// The source of a commit came ahead of its lease.
    SourceCame(Box<SourceAhead>),
    /// The dispatcher sent a lease.
    Leased(Box<Assignment>),
    /// The dispatcher sent a lease that cannot be executed.
    LeaseUnreadable { attempt: AttemptId, why: String },
    /// A slot needs the source of its attempt's commit, and has `haves`.
    SourceWanted { attempt: AttemptId, haves: HeldSource },
    /// A slot needs the secrets of its attempt.
    SecretsWanted(AttemptId),
    /// The attempt's process has started.
    Started(AttemptId),
    /// The dispatcher asked to cancel the attempt.
    CancelAsked(AttemptId),
    /// The dispatcher answered the ping that was sent at `since`. That renewed all held leases but those in `gone`.
    Renewed { since: Moment, gone: Vec<AttemptId> },
    /// The attempt has ended and its slot is free: nothing of it is left but its streams.
    Ended { attempt: AttemptId, report: Box<AttemptResult> },
    /// The dispatcher has recorded the result.
    Recorded(AttemptId),
    /// The dispatcher says that this runner does not hold the lease any more.
    Fenced(AttemptId),
    /// The runner is to finish its attempts, then end.
    DrainAsked,
    /// The runner is to end now.
    StopAsked,
    /// Time has passed. The dispatcher last had more of a stream at `delivered`.
    Tick { delivered: Moment },
}

/// Something to do. The order of actions counts.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Send the registration.
    Register { holding: Vec<AttemptId>, draining: bool },
    /// Send streams, from these offsets; a stream without one from 0.
    ResumeStreams(Offsets),
    /// Send nothing of streams: there is no session.
    PauseStreams,
    /// Give the source to a free slot.
    TakeAhead { slot: usize, ahead: Box<SourceAhead> },
    /// Write the attempt into the journal, then give it to the slot.
    Start { slot: usize, assignment: Box<Assignment> },
    /// Ask the dispatcher for the source.
    AskSource { attempt: AttemptId, haves: HeldSource },
    /// Ask the dispatcher for the secrets.
    AskSecrets(AttemptId),
    /// Tell the dispatcher that the attempt's process has started.
    SayStarted(AttemptId),
    /// Tell the slot to end the attempt.
    Cancel(AttemptId),
    /// Write the result into the journal.
    Keep { attempt: AttemptId, report: AttemptResult },
    /// Tell the dispatcher the result, after the attempt's streams.
    Deliver { attempt: AttemptId, report: AttemptResult },
    /// Send nothing more of the attempt's streams.
    Mute(AttemptId),
    /// Delete the attempt's journal entry and spools.
    Forget { attempt: AttemptId, has_spool: bool },
    /// Tell the dispatcher that the runner takes no new attempts, and ping it at once.
    SayDraining,
    /// End the runner.
    End,
    /// End the runner although the dispatcher has not taken all results. The next start delivers the rest.
    GiveUp(Undelivered),
}

/// Streams, each with the offset from which the dispatcher wants it.
pub(super) type Offsets = Vec<(StreamId, u64)>;

/// The results that a runner leaves for its next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Undelivered {
    pub(super) results: usize,
    /// The length of the results' streams together.
    pub(super) bytes: u64,
}
