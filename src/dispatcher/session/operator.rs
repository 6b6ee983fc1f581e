//! An operator's session: a thin skin over the operations. Each message becomes a call, and its result a message.

use crossbeam_channel::Receiver;

use super::connection::{Session, SessionError};
use super::worker::{self, Incoming};
use super::{log_stream, report, truncate};
use crate::dispatcher::core::NoAnswer;
use crate::dispatcher::operations::{OperationError, Operations};
use crate::error_chain::chain;
use crate::model::reason::OrderDone;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::operator::{FromOperator, ToOperator};
use crate::transport::{Frame, Outbox};

/// Serves an operator until it leaves.
#[inline(never)]
pub(super) fn serve(session: Session) -> Result<(), SessionError> {
    let pings = (FromOperator::Ping, Frame::new(&ToOperator::Ack));
    let payload = |_: &FromOperator| 0;
    worker::serve(session, &pings, payload, |shared, _, outbox, inbox| {
        let operations = shared.operations().map_err(refusal)?;
        OperatorWorker { operations, outbox }.run(inbox).map_err(refusal)
    })
}

struct OperatorWorker<'a> {
    operations: Operations,
    outbox: &'a Outbox,
}

impl OperatorWorker<'_> {
    fn run(self, inbox: &Receiver<Incoming<FromOperator>>) -> Result<(), OperationError> {
        while let Ok(Incoming { message, .. }) = inbox.recv() {
            // Thousands of questions may have arrived before the peer stopped reading; they need no answers any more.
            if self.outbox.is_over() {
                break;
            }
            if message == FromOperator::Watch {
                return self.watch(inbox);
            }
            self.serve_one(message, inbox);
        }
        Ok(())
    }

    fn serve_one(&self, message: FromOperator, inbox: &Receiver<Incoming<FromOperator>>) {
        let answer = if let FromOperator::Logs(wanted) = message {
            // The end of the log is the answer.
            log_stream::send(&self.operations, self.outbox, &wanted, inbox).map(|()| None)
        } else {
            self.answer(message).map(Some)
        };
        match answer {
            Ok(Some(answer)) => self.outbox.send(&truncate::frame(answer)),
            Ok(None) => {}
            Err(error) => self.outbox.send(&Frame::new(&ToOperator::Error(refusal(error)))),
        }
    }

    fn answer(&self, message: FromOperator) -> Result<ToOperator, OperationError> {
        let operations = &self.operations;
        let done = |order: OrderDone| ToOperator::Ok { text: order.to_string() };
        Ok(match message {
            FromOperator::Status { repo, limit } => {
                ToOperator::Status(report::status(operations.status(repo.as_deref(), limit)?))
            }
            FromOperator::Show { build } => ToOperator::Build(Box::new(report::build(operations.build(&build)?))),
            FromOperator::Why { build, task } => ToOperator::Why(report::why(operations.why(&build, task.as_deref())?)),
            FromOperator::Runners => ToOperator::Runners(report::runners(operations.runners()?)),
            FromOperator::Cancel { build, task } => done(operations.cancel(&build, task.as_deref())?),
            FromOperator::Rerun { build, failed } => done(operations.rerun(&build, failed)?),
            FromOperator::Drain { runner } => done(operations.drain(&runner)?),
            FromOperator::Watch | FromOperator::Logs(_) | FromOperator::Ping => ToOperator::Ack,
        })
    }

    /// Reports builds that change, until the operator leaves. Answers questions in between.
    fn watch(self, inbox: &Receiver<Incoming<FromOperator>>) -> Result<(), OperationError> {
        let watch = self.operations.watch()?;
        self.outbox.send(&Frame::new(&ToOperator::Ok { text: "watching".into() }));
        loop {
            crossbeam_channel::select! {
                recv(watch.woken) -> _ => {}
                recv(inbox) -> request => match request {
                    Ok(Incoming { message, .. }) => self.serve_one(message, inbox),
                    Err(_) => return Ok(()),
                },
            }
            if self.outbox.is_over() {
                return Ok(());
            }
            for build in self.operations.changed(&watch)? {
                self.outbox.send(&truncate::frame(ToOperator::Build(Box::new(report::build(build)))));
            }
        }
    }
}

/// Returns the refusal for an operation that was not done. Its kind, and the stable code of its reason, follow from the
/// error's variant.
fn refusal(error: OperationError) -> Refusal {
    let (code, reason) = match &error {
        OperationError::NoBuild { .. } => (ErrorCode::NotFound, "no_build"),
        OperationError::Removed { .. } => (ErrorCode::NotFound, "build_removed"),
        OperationError::RemovedLongAgo { .. } => (ErrorCode::NotFound, "build_removed_long_ago"),
        OperationError::NoTask { .. } => (ErrorCode::NotFound, "no_task"),
        OperationError::NoTasks { .. } => (ErrorCode::NotFound, "no_tasks"),
        OperationError::SeveralTasks { .. } => (ErrorCode::NotFound, "several_tasks"),
        OperationError::NoAttempt { .. } => (ErrorCode::NotFound, "no_attempt"),
        OperationError::NotAttempted { .. } => (ErrorCode::NotFound, "not_attempted"),
        OperationError::NoRunner { .. } => (ErrorCode::NotFound, "no_runner"),
        OperationError::Refused(reason) => (ErrorCode::Refused, reason.code()),
        OperationError::NoAnswer(NoAnswer::Busy) => (ErrorCode::Busy, "busy"),
        OperationError::NoAnswer(NoAnswer::Ending) => (ErrorCode::ShuttingDown, "shutting_down"),
        OperationError::Store(_) => (ErrorCode::Internal, "store_unreadable"),
        OperationError::Log { .. } => (ErrorCode::Internal, "log_unreadable"),
    };
    if code == ErrorCode::Internal {
        log::error!("{}", chain(&error));
    }
    Refusal::new(code, chain(&error)).because(reason)
}
