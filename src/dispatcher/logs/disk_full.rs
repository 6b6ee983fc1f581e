//! Keeps track of logs for which the disk has no room: some wait for room, others have waited long enough and are cut.
//! Does no I/O; time is an argument.

use std::collections::{HashMap, HashSet};
use std::io;

use crate::dispatcher::limits::{LOG_PATIENCE_MS, LOG_RETRY};
use crate::dispatcher::session::{RunnerOutbox, WeakRunnerOutbox};
use crate::model::{AttemptId, Moment, StreamId};

/// The logs for which there was no room.
#[derive(Default)]
pub(super) struct Room {
    /// Those that wait for room: until a piece of them was written.
    pub(super) short: HashMap<StreamId, Short>,
    /// Those that end where their room ended.
    pub(super) cut: HashSet<StreamId>,
}

/// A log that waits for room.
pub(super) struct Short {
    since: Moment,
    /// When its output was last asked for again.
    asked: Moment,
    /// The number of bytes that are stored.
    have: u64,
    answer: WeakRunnerOutbox,
}

/// The consequence of a piece for which there was no room.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missed {
    First,
    Again,
    /// The log has waited long enough, and ends here.
    Cut,
}

/// Returns whether an error says that a disk, or a user's quota, is full.
pub(super) fn is_lacking(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Room {
    /// Notes that there was no room for a piece of a log, of which `have` bytes are stored.
    pub(super) fn missed(&mut self, now: Moment, stream: &StreamId, have: u64, answer: &RunnerOutbox) -> Missed {
        let Some(short) = self.short.get_mut(stream) else {
            self.short.insert(stream.clone(), Short { since: now, asked: now, have, answer: answer.downgrade() });
            return Missed::First;
        };
        (short.have, short.answer) = (have, answer.downgrade());
        if now.since(short.since) < LOG_PATIENCE_MS {
            return Missed::Again;
        }
        self.short.remove(stream);
        self.cut.insert(stream.clone());
        Missed::Cut
    }

    /// Notes that the attempt has its outcome.
    pub(super) fn ended(&mut self, attempt: AttemptId) {
        self.short.retain(|stream, _| stream.attempt != attempt);
        self.cut.retain(|stream| stream.attempt != attempt);
    }

    /// Returns the streams whose output is to be asked for again, with the offset and the way to the runner.
    pub(super) fn due(&mut self, now: Moment) -> Vec<(StreamId, u64, RunnerOutbox)> {
        let pause = u64::try_from(LOG_RETRY.as_millis()).unwrap_or(u64::MAX);
        let mut due = Vec::new();
        self.short.retain(|stream, short| {
            if now.since(short.asked) < pause {
                return true;
            }
            short.asked = now;
            // If the session has ended, the runner comes back with another one, and asks for the offset.
            let answer = short.answer.upgrade();
            due.extend(answer.map(|answer| (stream.clone(), short.have, answer)));
            short.answer.upgrade().is_some()
        });
        due
    }
}
