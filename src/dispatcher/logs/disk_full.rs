//! Logs whose disk has no room: which of them wait for some, and which have waited long enough and are cut. Does no
//! I/O; time is an argument.

use std::collections::{HashMap, HashSet};
use std::io;

use crate::dispatcher::limits::{LOG_PATIENCE_MS, LOG_RETRY};
use crate::dispatcher::session::{RunnerOutbox, WeakRunnerOutbox};
use crate::model::{AttemptId, Moment, StreamId};

/// The logs that found no room.
#[derive(Default)]
pub(super) struct Room {
    short: HashMap<StreamId, Short>,
    cut: HashSet<StreamId>,
}

/// A log that waits.
struct Short {
    since: Moment,
    /// When its output was last asked for again.
    asked: Moment,
    /// Bytes that are written.
    have: u64,
    answer: WeakRunnerOutbox,
}

/// What a piece without room means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missed {
    First,
    Again,
    /// It is the end of this log.
    Cut,
}

/// Whether an error says that a disk, or somebody's share of it, is full.
pub(super) fn is_lacking(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Room {
    pub(super) fn is_short(&self) -> bool {
        !self.short.is_empty()
    }

    pub(super) fn is_cut(&self, stream: &StreamId) -> bool {
        self.cut.contains(stream)
    }

    /// A piece of a log found no room, `have` bytes of it are there.
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

    /// A piece was written.
    pub(super) fn found(&mut self, stream: &StreamId) {
        self.short.remove(stream);
    }

    /// The attempt has its outcome.
    pub(super) fn ended(&mut self, attempt: AttemptId) {
        self.short.retain(|stream, _| stream.attempt != attempt);
        self.cut.retain(|stream| stream.attempt != attempt);
    }

    /// Whose output is to be asked for again, from which offset.
    pub(super) fn due(&mut self, now: Moment) -> Vec<(StreamId, u64, RunnerOutbox)> {
        let pause = u64::try_from(LOG_RETRY.as_millis()).unwrap_or(u64::MAX);
        let mut due = Vec::new();
        self.short.retain(|stream, short| {
            if now.since(short.asked) < pause {
                return true;
            }
            short.asked = now;
            // Whose session has ended comes back with another, and asks where to go on.
            let answer = short.answer.upgrade();
            due.extend(answer.map(|answer| (stream.clone(), short.have, answer)));
            short.answer.upgrade().is_some()
        });
        due
    }
}
