//! The way to a runner in words of the model: commands of the core and of the logs thread become messages here.

use crate::dispatcher::grants::StoredStream;
use crate::dispatcher::translate;
use crate::model::{CommitId, RepoName, StreamId};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::runner::ToRunner;
use crate::scheduler::RunnerCommand;
use crate::transport::{Frame, Outbox, WeakOutbox};

/// Says things to one runner.
#[derive(Clone)]
pub(crate) struct RunnerOutbox(Outbox);

/// A [`RunnerOutbox`] for one who keeps it for later: the session may end meanwhile.
#[derive(Clone)]
pub(crate) struct WeakRunnerOutbox(WeakOutbox);

impl RunnerOutbox {
    pub(crate) fn new(outbox: Outbox) -> Self {
        Self(outbox)
    }

    /// Has a command sent at the next [`RunnerOutbox::flush`]. True if it is the first since the last one. `stored`
    /// says how many bytes of a log the dispatcher has, for a runner that registers with attempts.
    pub(crate) fn gather(&self, command: RunnerCommand, stored: &[StoredStream]) -> bool {
        self.0.gather(&Frame::new(&translate::to_runner(command, stored)))
    }

    pub(crate) fn flush(&self) {
        self.0.flush();
    }

    /// Answers a ping, and says nothing else.
    pub(crate) fn answer_ping(&self) {
        self.0.send(&Frame::new(&ToRunner::Ack { gone: Vec::new() }));
    }

    /// Acknowledges a stream's bytes up to `offset`.
    pub(crate) fn acknowledge(&self, stream: &StreamId, offset: u64) {
        // A session that has ended asks for the offset when it comes back.
        self.0.send(&Frame::new(&translate::log_ack(stream, offset)));
    }

    /// Sends the source of a commit to a runner that is about to get a lease of it.
    pub(crate) fn send_ahead(&self, repo: &RepoName, commit: CommitId, pack: &[u8]) {
        let (repo, commit, bytes) = (repo.to_string(), commit.to_string(), pack.len() as u64);
        self.0.send(&Frame::with_payload(&ToRunner::SourceAhead { repo, commit, bytes }, pack.to_vec()));
    }

    /// Tells the runner that the dispatcher ends, so that it need not find out.
    pub(crate) fn say_goodbye(&self) {
        let text = "the dispatcher is shutting down".to_owned();
        self.0.send(&Frame::new(&ToRunner::Error(Refusal { code: ErrorCode::ShuttingDown, text })));
    }

    /// Bytes that are not written yet.
    pub(crate) fn waiting(&self) -> usize {
        self.0.waiting()
    }

    /// Ends the session once what was said is written.
    pub(crate) fn finish(&self) {
        self.0.finish();
    }

    pub(crate) fn downgrade(&self) -> WeakRunnerOutbox {
        WeakRunnerOutbox(self.0.downgrade())
    }
}

impl WeakRunnerOutbox {
    /// The way itself, as long as the session has it.
    pub(crate) fn upgrade(&self) -> Option<RunnerOutbox> {
        self.0.upgrade().map(RunnerOutbox)
    }
}
