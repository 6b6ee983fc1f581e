//! Sends a log to an operator, and follows it if that is wanted.

use std::time::Duration;

use crossbeam_channel::Receiver;

use super::worker::Incoming;
use crate::dispatcher::data_dir::LogPlace;
use crate::dispatcher::operations::{AttemptOfLog, OperationError, Operations};
use crate::model::LogSummary;
use crate::model::words::missing_output;
use crate::protocol::operator::{FromOperator, LogQuestion, ToOperator};
use crate::transport::{Frame, Outbox};

/// Interval at which a follower that was not woken looks by itself.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Sends the log's pieces and its end. Ends early if the operator leaves, or asks the next question: that question is
/// returned, and is not answered yet.
pub(super) fn send(
    operations: &Operations,
    outbox: &Outbox,
    wanted: &LogQuestion,
    inbox: &Receiver<Incoming<FromOperator>>,
) -> (Result<(), OperationError>, Option<Incoming<FromOperator>>) {
    let mut next = None;
    let sent = follow(operations, outbox, wanted, inbox, &mut next);
    (sent, next)
}

fn follow(
    operations: &Operations,
    outbox: &Outbox,
    wanted: &LogQuestion,
    inbox: &Receiver<Incoming<FromOperator>>,
    next: &mut Option<Incoming<FromOperator>>,
) -> Result<(), OperationError> {
    let LogQuestion { build, task, number, offset, follow, times, service } = wanted;
    let (build, job) = operations.job_for_log(build, task.as_deref())?;
    let kind = operations.stream_for_log(&job, service.as_deref())?;
    let attempt = loop {
        match operations.attempt_for_log(&job, *number)? {
            AttemptOfLog::There(attempt) => break attempt,
            AttemptOfLog::NotYet(error) if !*follow => return Err(error),
            AttemptOfLog::NotYet(error) => crossbeam_channel::select! {
                recv(inbox) -> request => {
                    let Ok(request) = request else { return Ok(()) };
                    *next = Some(request);
                    return Err(error);
                },
                default(LOOK_AGAIN / 10) => {}
            },
        }
    };
    let (task, number) = (job.task.name.to_string(), attempt.number);
    let place = LogPlace { kind, ..LogPlace::of(&build, &job, number) };
    let mut log = operations.open_log(&place, attempt, *offset, *follow, *times);
    loop {
        let is_last = log.refresh()?;
        let is_there = log.read(|offset, bytes, at_ms| {
            let (build, task, len) = (build.id.0, task.clone(), bytes.len() as u64);
            let message = ToOperator::Log { build, task, number, offset, bytes: len, at_ms };
            outbox.send_bulk(&Frame::with_payload(&message, bytes))
        })?;
        if !is_there {
            return Ok(());
        }
        if is_last {
            break;
        }
        crossbeam_channel::select! {
            recv(log.woken) -> _ => {}
            recv(inbox) -> request => {
                let Ok(request) = request else { return Ok(()) };
                *next = Some(request);
                break;
            },
            default(LOOK_AGAIN) => {}
        }
    }
    let attempt = &log.attempt;
    // The log of a service itself says what is missing of it.
    let summary = if service.is_none() { attempt.log.clone() } else { LogSummary::default() };
    let missing = attempt.outcome.as_ref().and_then(|outcome| missing_output(outcome, &summary));
    let outcome = attempt.outcome.as_ref().map(|outcome| outcome.word().to_owned());
    outbox.send_bulk(&Frame::new(&ToOperator::LogEnd { build: build.id.0, task, number, outcome, missing }));
    Ok(())
}
