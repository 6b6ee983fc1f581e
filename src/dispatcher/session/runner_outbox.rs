//! The outbox of a runner in words of the model: commands of the core and acknowledgements of the logs thread become
//! messages here.

use crate::dispatcher::grants::{LeaseFacts, StoredBytes};
use crate::dispatcher::translate;
use crate::model::{CommitId, RepoName, StreamId};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::runner::ToRunner;
use crate::scheduler::RunnerCommand;
use crate::transport::{Frame, Outbox, WeakOutbox};

/// The outbox of one runner's session.
#[derive(Clone)]
pub(crate) struct RunnerOutbox {
    outbox: Outbox,
    /// Whether the runner takes the names of cells.
    takes_cells: bool,
}

/// A [`RunnerOutbox`] that does not keep the session's outbox alive.
#[derive(Clone)]
pub(crate) struct WeakRunnerOutbox {
    outbox: WeakOutbox,
    takes_cells: bool,
}

impl RunnerOutbox {
    pub(crate) fn new(outbox: Outbox, takes_cells: bool) -> Self {
        Self { outbox, takes_cells }
    }

    /// Gathers a command, which is sent at the next [`RunnerOutbox::flush`]. Returns true if it is the first since the
    /// last one. `stored` has the stored bytes of streams, for a runner that registers with attempts; `facts`
    /// what a lease tells besides.
    pub(crate) fn gather(&self, command: RunnerCommand, stored: &StoredBytes, facts: Option<LeaseFacts<'_>>) -> bool {
        let message = translate::to_runner(command, stored, facts);
        let message = if self.takes_cells { message } else { translate::with_plain_name(message) };
        self.outbox.gather_message(&message)
    }

    pub(crate) fn flush(&self) {
        self.outbox.flush();
    }

    /// Answers a ping, and does nothing else.
    pub(crate) fn answer_ping(&self) {
        self.outbox.send(&Frame::new(&ToRunner::Ack { gone: Vec::new() }));
    }

    /// Acknowledges a stream's bytes up to `offset`.
    pub(crate) fn acknowledge(&self, stream: &StreamId, offset: u64) {
        // If the session has ended, the runner asks for the offset with its next one.
        self.outbox.send(&Frame::new(&translate::log_ack(stream, offset)));
    }

    /// Acknowledges all of a stream, whose attempt's end is answered next. The runner waits for that answer.
    pub(crate) fn acknowledge_whole(&self, stream: &StreamId, bytes: u64) {
        self.outbox.add(&Frame::new(&translate::log_ack(stream, bytes)));
    }

    /// Sends the source of a commit to a runner that is about to get a lease of it.
    pub(crate) fn send_ahead(&self, repo: &RepoName, commit: CommitId, pack: &[u8]) {
        let (repo, commit, bytes) = (repo.to_string(), commit.to_string(), pack.len() as u64);
        self.outbox.send(&Frame::with_payload(&ToRunner::SourceAhead { repo, commit, bytes }, pack.to_vec()));
    }

    /// Tells the runner that the dispatcher ends, so that it need not find out by itself.
    pub(crate) fn say_goodbye(&self) {
        let goodbye = Refusal::new(ErrorCode::ShuttingDown, "the dispatcher is shutting down");
        self.outbox.send(&Frame::new(&ToRunner::Error(goodbye)));
    }

    /// Returns the number of bytes that are not written yet.
    pub(crate) fn waiting(&self) -> usize {
        self.outbox.waiting()
    }

    /// Ends the session once all messages are written.
    pub(crate) fn finish(&self) {
        self.outbox.finish();
    }

    pub(crate) fn downgrade(&self) -> WeakRunnerOutbox {
        WeakRunnerOutbox { outbox: self.outbox.downgrade(), takes_cells: self.takes_cells }
    }
}

impl WeakRunnerOutbox {
    /// Returns the outbox, as long as the session has it.
    pub(crate) fn upgrade(&self) -> Option<RunnerOutbox> {
        self.outbox.upgrade().map(|outbox| RunnerOutbox::new(outbox, self.takes_cells))
    }
}
