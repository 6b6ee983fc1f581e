//! The way to the `logs` thread. Most attempts of a busy dispatcher print nothing and have no followers: waking the
//! thread at the end of each attempt cost a twentieth of the throughput of jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::Sender;

use super::inbox::ToLogs;
use super::kept::KeptLogs;
use crate::model::{AttemptId, LogSummary, Outcome, ShortLog};

/// A sender to the `logs` thread. The thread ends when all senders are gone.
#[derive(Clone)]
pub(crate) struct LogSender {
    sender: Sender<ToLogs>,
    followers: Arc<AtomicUsize>,
    kept: KeptLogs,
}

/// A follower of a log, until it is dropped.
pub(crate) struct Following(Arc<AtomicUsize>);

impl LogSender {
    /// `kept` learns of the short logs that the store keeps.
    pub(crate) fn new(sender: Sender<ToLogs>, kept: KeptLogs) -> Self {
        Self { sender, followers: Arc::default(), kept }
    }

    /// Notes that the store keeps these short logs from now on.
    pub(crate) fn kept(&self, logs: &[ShortLog]) {
        self.kept.note(logs);
    }

    /// Sends a message, and waits for room. Returns false if the thread has ended.
    pub(crate) fn send(&self, message: ToLogs) -> bool {
        self.sender.send(message).is_ok()
    }

    /// Subscribes `wake` to the attempt's log: it is woken when the log grows or ends. A follower must check after this
    /// call whether the attempt has ended.
    pub(crate) fn follow(&self, attempt: AttemptId, wake: Sender<()>) -> Following {
        self.followers.fetch_add(1, Ordering::SeqCst);
        drop(self.sender.send(ToLogs::Follow { attempt, wake }));
        Following(self.followers.clone())
    }

    /// Notes that the end of an attempt is recorded. Never waits: the thread may be busy writing, and a follower that
    /// is not woken looks again by itself.
    pub(crate) fn ended(&self, attempt: AttemptId, outcome: &Outcome, log: &LogSummary) {
        // Only the thread knows what became of the log of a lost or cancelled attempt.
        let is_unknown = matches!(outcome, Outcome::Lost(_) | Outcome::Cancelled);
        let is_silent = log.bytes == 0 && log.missing.is_none() && !is_unknown;
        if !is_silent || self.followers.load(Ordering::SeqCst) > 0 {
            drop(self.sender.try_send(ToLogs::Ended { attempt }));
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    #[test]
    fn an_end_is_told_where_there_may_be_a_log_or_somebody_follows() {
        let (sender, told) = bounded(8);
        let logs = LogSender::new(sender, KeptLogs::nowhere());
        let ends = |outcome: Outcome, log: &LogSummary| {
            logs.ended(AttemptId(1), &outcome, log);
            told.try_iter().any(|message| matches!(message, ToLogs::Ended { attempt: AttemptId(1) }))
        };
        let silent = LogSummary::default();
        assert!(!ends(Outcome::Passed, &silent));
        assert!(ends(Outcome::Lost("its runner vanished".into()), &silent));
        assert!(ends(Outcome::Passed, &LogSummary { bytes: 1, ..LogSummary::default() }));
        assert!(ends(Outcome::Failed(1), &LogSummary { missing: Some("a full disk".into()), ..LogSummary::default() }));
        let following = logs.follow(AttemptId(2), bounded(1).0);
        assert!(ends(Outcome::Passed, &silent));
        drop(following);
        assert!(!ends(Outcome::Passed, &silent));
    }
}
