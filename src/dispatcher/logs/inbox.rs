//! The messages that the `logs` thread takes.

use crossbeam_channel::Sender;

use super::times::TimedOffset;
use crate::dispatcher::data_dir::LogPlace;
use crate::dispatcher::session::RunnerOutbox;
use crate::model::{AttemptId, ExecutionRecord, LogSummary, Outcome, SessionId, StepRecord, StreamId, StreamKind};

/// A message to the logs thread.
pub(crate) enum ToLogs {
    /// A piece of a stream, which belongs at `offset`, and when its bytes were written: offsets in the stream.
    Chunk {
        stream: StreamId,
        place: LogPlace,
        offset: u64,
        bytes: Vec<u8>,
        times: Vec<TimedOffset>,
        answer: RunnerOutbox,
    },
    /// A result whose streams should be whole by now.
    Seal(Seal),
    /// The attempt has an outcome: its files are closed, and followers are woken for the end.
    Ended { attempt: AttemptId },
    /// Asks for `wake` to be woken when the attempt's log grows or ends.
    Follow { attempt: AttemptId, wake: Sender<()> },
    /// Ends the thread: every session has ended, so nothing more comes.
    Stop,
}

/// A result that waits for its streams.
pub(crate) struct Seal {
    pub(crate) session: SessionId,
    pub(crate) attempt: AttemptId,
    /// The streams that must be whole before the result counts.
    pub(crate) streams: Vec<StreamSeal>,
    pub(crate) outcome: Outcome,
    pub(crate) duration_ms: Option<u64>,
    pub(crate) steps: Vec<StepRecord>,
    pub(crate) execution: Option<Box<ExecutionRecord>>,
    pub(crate) answer: RunnerOutbox,
}

/// A stream, and the length and checksum that it must have.
pub(crate) struct StreamSeal {
    pub(crate) kind: StreamKind,
    pub(crate) place: LogPlace,
    pub(crate) summary: LogSummary,
}
