//! An operator's session: a thin skin over the operations. Each message becomes a call, and its result a message.

use crossbeam_channel::Receiver;

use super::connection::{Session, SessionError};
use super::worker::{self, Incoming};
use super::{log_stream, report, truncate};
use crate::dispatcher::core::NoAnswer;
use crate::dispatcher::operations::{BuildWatch, OperationError, Operations};
use crate::error_chain::chain;
use crate::model::reason::OrderDone;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::limits::PIECE_BYTES;
use crate::protocol::operator::{FromOperator, NOTHING_TO_CANCEL, ToOperator};
use crate::transport::{Frame, Outbox};

/// Serves an operator until it leaves.
#[inline(never)]
pub(super) fn serve(session: Session) -> Result<(), SessionError> {
    let pings = (FromOperator::Ping, Frame::new(&ToOperator::Ack));
    let payload = |_: &FromOperator| 0;
    let takes_pieces = session.hello.takes_pieces;
    worker::serve(session, &pings, payload, move |shared, _, outbox, inbox| {
        let operations = shared.operations().map_err(refusal)?;
        OperatorWorker { operations, outbox, takes_pieces, watch: None, unanswered: None }.run(inbox).map_err(refusal)
    })
}

/// Serves questions about stored records without a dispatcher, until the operator leaves.
pub(super) fn serve_records(operations: Operations, outbox: &Outbox, inbox: &Receiver<Incoming<FromOperator>>) {
    let worker = OperatorWorker { operations, outbox, takes_pieces: true, watch: None, unanswered: None };
    if let Err(error) = worker.run(inbox) {
        outbox.send(&Frame::new(&ToOperator::Error(refusal(error))));
    }
}

struct OperatorWorker<'a> {
    operations: Operations,
    outbox: &'a Outbox,
    /// Whether the operator takes an answer in several messages.
    takes_pieces: bool,
    /// Set once the operator has asked to watch.
    watch: Option<BuildWatch>,
    /// A question that ended the following of a log.
    unanswered: Option<FromOperator>,
}

/// The next thing to do.
enum Next {
    Answer(FromOperator),
    /// Builds have changed.
    Report,
}

impl OperatorWorker<'_> {
    fn run(mut self, inbox: &Receiver<Incoming<FromOperator>>) -> Result<(), OperationError> {
        while let Some(next) = self.next(inbox) {
            // Thousands of questions may have arrived before the peer stopped reading; they need no answers any more.
            if self.outbox.is_over() {
                break;
            }
            match next {
                Next::Answer(FromOperator::Watch) => self.begin_to_watch()?,
                Next::Answer(FromOperator::Logs(wanted)) => {
                    // The end of the log is the answer.
                    let (sent, next) = log_stream::send(&self.operations, self.outbox, &wanted, inbox);
                    self.unanswered = next;
                    sent.unwrap_or_else(|error| self.send(ToOperator::Error(refusal(error))));
                }
                Next::Answer(message) => {
                    self.send(self.answer(message).unwrap_or_else(|error| ToOperator::Error(refusal(error))));
                }
                Next::Report => self.report_changes()?,
            }
        }
        Ok(())
    }

    /// Waits for a question, or for a build that changes if the operator watches. Returns `None` when the operator has
    /// left.
    fn next(&mut self, inbox: &Receiver<Incoming<FromOperator>>) -> Option<Next> {
        if let Some(message) = self.unanswered.take() {
            return Some(Next::Answer(message));
        }
        let nothing = crossbeam_channel::never();
        crossbeam_channel::select! {
            recv(self.watch.as_ref().map_or(&nothing, |watch| &watch.woken)) -> _ => Some(Next::Report),
            recv(inbox) -> request => request.ok().map(|Incoming { message, .. }| Next::Answer(message)),
        }
    }

    /// Sends an answer: in pieces if the operator takes them, else shortened to one message.
    fn send(&self, answer: ToOperator) {
        if !self.takes_pieces {
            return self.outbox.send(&truncate::frame(answer));
        }
        let pieces = answer.cut(PIECE_BYTES);
        if let [only] = pieces.as_slice() {
            return self.outbox.send(&Frame::new(only));
        }
        // Each waits for the operator to read, so that a long answer does not pile up here.
        for piece in pieces {
            if !self.outbox.send_bulk(&Frame::new(&piece)) {
                return;
            }
        }
    }

    fn answer(&self, message: FromOperator) -> Result<ToOperator, OperationError> {
        let operations = &self.operations;
        let done = |order: OrderDone| match order {
            // Operators of version 1 take this for a refusal. The code tells others that there was nothing to do.
            OrderDone::NothingToCancel { .. } => {
                let refusal = Refusal::new(ErrorCode::Refused, order.to_string());
                ToOperator::Error(refusal.because(NOTHING_TO_CANCEL))
            }
            OrderDone::Cancelled { .. }
            | OrderDone::Rerun { .. }
            | OrderDone::Draining { .. }
            | OrderDone::Drained { .. }
            | OrderDone::DrainedAlready { .. }
            | OrderDone::Resumed { .. }
            | OrderDone::NotDrained { .. } => ToOperator::Ok { text: order.to_string() },
        };
        Ok(match message {
            FromOperator::Status { repo, limit } => {
                ToOperator::Status(report::status(operations.status(repo.as_deref(), limit)?))
            }
            FromOperator::Show { build, repo, branch } => {
                let found = operations.build(&build, repo, branch.as_deref())?;
                ToOperator::Build(Box::new(report::build(found)))
            }
            FromOperator::Why { build, task } => ToOperator::Why(report::why(operations.why(&build, task.as_deref())?)),
            FromOperator::Runners => ToOperator::Runners(report::runners(operations.runners()?)),
            FromOperator::Cancel { build, task } => done(operations.cancel(&build, task.as_deref())?),
            FromOperator::Rerun { build, failed, task } => done(operations.rerun(&build, task.as_deref(), failed)?),
            FromOperator::Drain { runner } => done(operations.drain(&runner)?),
            FromOperator::Resume { runner } => done(operations.resume(&runner)?),
            FromOperator::Watch | FromOperator::Logs(_) | FromOperator::Ping => unreachable!("answered elsewhere"),
        })
    }

    /// Subscribes to builds that change. A repetition changes nothing, and gets the same answer.
    fn begin_to_watch(&mut self) -> Result<(), OperationError> {
        if self.watch.is_none() {
            self.watch = Some(self.operations.watch()?);
        }
        self.send(ToOperator::Ok { text: "watching".into() });
        Ok(())
    }

    fn report_changes(&self) -> Result<(), OperationError> {
        let Some(watch) = &self.watch else { return Ok(()) };
        for build in self.operations.changed(watch)? {
            self.send(ToOperator::Build(Box::new(report::build(build))));
        }
        Ok(())
    }
}

/// Returns the refusal for an operation that was not done. Its kind, and the stable code of its reason, follow from the
/// error's variant.
fn refusal(error: OperationError) -> Refusal {
    let (code, reason) = match &error {
        OperationError::NoBuild { .. } => (ErrorCode::NotFound, "no_build"),
        OperationError::Ambiguous { .. } => (ErrorCode::Refused, "ambiguous_build"),
        OperationError::Elsewhere { .. } => (ErrorCode::NotFound, "build_elsewhere"),
        OperationError::Removed { .. } => (ErrorCode::NotFound, "build_removed"),
        OperationError::RemovedLongAgo { .. } => (ErrorCode::NotFound, "build_removed_long_ago"),
        OperationError::NoTask { .. } => (ErrorCode::NotFound, "no_task"),
        OperationError::NoTasks { .. } => (ErrorCode::NotFound, "no_tasks"),
        OperationError::SeveralTasks { .. } => (ErrorCode::NotFound, "several_tasks"),
        OperationError::NoAttempt { .. } => (ErrorCode::NotFound, "no_attempt"),
        OperationError::NotAttempted { .. } => (ErrorCode::NotFound, "not_attempted"),
        OperationError::NoRepo { .. } => (ErrorCode::NotFound, "no_repo"),
        OperationError::NoRunner { .. } => (ErrorCode::NotFound, "no_runner"),
        OperationError::Refused(reason) => (ErrorCode::Refused, reason.code()),
        OperationError::NoAnswer(NoAnswer::Busy) => (ErrorCode::Busy, "busy"),
        OperationError::NoAnswer(NoAnswer::Absent) => (ErrorCode::Refused, "not_running"),
        OperationError::NoAnswer(NoAnswer::Ending) => (ErrorCode::ShuttingDown, "shutting_down"),
        OperationError::Store(_) => (ErrorCode::Internal, "store_unreadable"),
        OperationError::Log { .. } => (ErrorCode::Internal, "log_unreadable"),
    };
    if code == ErrorCode::Internal {
        log::error!("{}", chain(&error));
    }
    Refusal::new(code, chain(&error)).because(reason)
}
