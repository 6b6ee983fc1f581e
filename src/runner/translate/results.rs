//! The result of an attempt, as a message and as a line of the journal.

use crate::model::reason::{LossReason, TimeoutReason};
use crate::model::{
    AttemptId, ExecutionRecord, LogSummary, Outcome, ServiceFailure, ServiceRecord, StepRecord, StreamId, StreamKind,
    StreamSummary,
};
use crate::protocol::codec;
use crate::protocol::execution::{Execution, ServiceEnd, ServiceFailureEnd};
use crate::protocol::runner::{FromRunner, StepEnd, StreamEnd, StreamName, WrittenFile};
use crate::runner::assignment::{AttemptResult, Leavings};
use crate::runner::blobs::{artifact_ends, read_artifact_ends};
use crate::transport::Frame;

pub(crate) fn results(attempt: AttemptId, report: &AttemptResult) -> Frame {
    Frame::new(&wire_results(attempt, report))
}

/// Writes the results as a line for the journal, newline included.
pub(crate) fn results_line(attempt: AttemptId, report: &AttemptResult, line: &mut Vec<u8>) {
    codec::encode(&wire_results(attempt, report), line);
}

/// Reads a line of [`results_line`]. Returns `None` if it is none.
pub(crate) fn read_results(line: &[u8]) -> Option<(AttemptId, AttemptResult)> {
    let message = codec::decode::<FromRunner>(line).ok()?;
    let FromRunner::Results {
        attempt,
        outcome,
        code,
        reason,
        reason_code,
        duration_ms,
        log_bytes: bytes,
        log_crc32: crc32,
        log_missing: missing,
        streams,
        steps,
        execution,
        tasks,
        outputs,
        artifacts,
    } = message
    else {
        return None;
    };
    let outcome = read_outcome(&outcome, code, reason, reason_code.as_deref())?;
    let step = |StepEnd { name, outcome, code, reason, reason_code, duration_ms, log_start, log_end }| {
        let read = |word: String| read_outcome(&word, code, reason, reason_code.as_deref());
        let outcome = match outcome {
            Some(word) => Some(read(word)?),
            None => None,
        };
        Some(StepRecord { name, outcome, duration_ms, log: log_start..log_end })
    };
    let steps = steps.into_iter().map(step).collect::<Option<_>>()?;
    let stream = |StreamEnd { stream: name, bytes, crc32, missing }| {
        let kind = stream(attempt, &name)?.kind;
        Some(StreamSummary { kind, summary: LogSummary { bytes, crc32, missing } })
    };
    let streams = streams.into_iter().map(stream).collect::<Option<_>>()?;
    let log = LogSummary { bytes, crc32, missing };
    let written = tasks.map(|file| {
        Box::new(match *file {
            WrittenFile::Text(text) => Ok(text),
            WrittenFile::Problem(problem) => Err(problem),
        })
    });
    Some((
        AttemptId(attempt),
        AttemptResult {
            outcome,
            duration_ms,
            log,
            streams,
            steps,
            execution: execution.map(read_execution),
            written,
            left: Leavings::of(outputs, read_artifact_ends(artifacts)?),
        },
    ))
}

#[expect(clippy::boxed_local, reason = "it comes out of a message, and goes into a result, in a box")]
fn read_execution(execution: Box<Execution>) -> Box<ExecutionRecord> {
    let Execution { tier, means, memory_bytes, cpu_ms, not_enforced, exceeded, services } = *execution;
    let services = services.into_iter().map(read_service).collect();
    Box::new(ExecutionRecord { tier, means, memory_bytes, cpu_ms, not_enforced, exceeded, services })
}

fn wire_execution(record: &ExecutionRecord) -> Box<Execution> {
    let ExecutionRecord { tier, means, memory_bytes, cpu_ms, not_enforced, exceeded, services } = record.clone();
    let services = services.into_iter().map(wire_service).collect();
    Box::new(Execution { tier, means, memory_bytes, cpu_ms, not_enforced, exceeded, services })
}

fn read_service(end: ServiceEnd) -> ServiceRecord {
    let ServiceEnd { name, ready_ms, failure, last_lines, means } = end;
    let failure = failure.and_then(|ServiceFailureEnd { code, number, text, timeout_ms }| {
        ServiceFailure::of_parts(&code, (number, text, timeout_ms))
    });
    ServiceRecord { name, ready_ms, failure, last_lines, means }
}

fn wire_service(record: ServiceRecord) -> ServiceEnd {
    let ServiceRecord { name, ready_ms, failure, last_lines, means } = record;
    let failure = failure.map(|failure| {
        let (number, text, timeout_ms) = failure.parts();
        ServiceFailureEnd { code: failure.code().to_owned(), number, text, timeout_ms }
    });
    ServiceEnd { name, ready_ms, failure, last_lines, means }
}

/// Reads an outcome of results. Returns `None` if it is none.
fn read_outcome(word: &str, code: Option<i32>, reason: Option<String>, reason_code: Option<&str>) -> Option<Outcome> {
    Some(match (word, code, reason) {
        ("passed", ..) => Outcome::Passed,
        ("failed", Some(code), _) => Outcome::Failed(code),
        ("killed", Some(signal), _) => Outcome::Killed(signal),
        ("timed_out", _, text) => Outcome::TimedOut(TimeoutReason::reported(reason_code, text)),
        ("cancelled", ..) => Outcome::Cancelled,
        ("could_not_start", _, Some(why)) => Outcome::CouldNotStart(why),
        ("lost", _, Some(why)) => Outcome::Lost(LossReason::reported(reason_code, why)),
        _ => return None,
    })
}

fn wire_results(attempt: AttemptId, report: &AttemptResult) -> FromRunner {
    let (code, reason) = code_and_reason(&report.outcome);
    FromRunner::Results {
        attempt: attempt.0,
        outcome: report.outcome.word().to_owned(),
        code,
        reason,
        reason_code: report.outcome.reason_code().map(str::to_owned),
        duration_ms: report.duration_ms,
        log_bytes: report.log.bytes,
        log_crc32: report.log.crc32,
        log_missing: report.log.missing.clone(),
        streams: report.streams.iter().map(stream_end).collect(),
        steps: report.steps.iter().map(step_end).collect(),
        execution: report.execution.as_deref().map(wire_execution),
        tasks: report.written.as_deref().map(|written| {
            Box::new(match written {
                Ok(text) => WrittenFile::Text(text.clone()),
                Err(problem) => WrittenFile::Problem(problem.clone()),
            })
        }),
        outputs: report.left.as_ref().map(|left| left.outputs.clone()).unwrap_or_default(),
        artifacts: report.left.as_ref().map(|left| artifact_ends(&left.artifacts)).unwrap_or_default(),
    }
}

fn code_and_reason(outcome: &Outcome) -> (Option<i32>, Option<String>) {
    match outcome {
        Outcome::Failed(code) | Outcome::Killed(code) => (Some(*code), None),
        Outcome::CouldNotStart(why) => (None, Some(why.clone())),
        Outcome::Lost(why) => (None, Some(why.to_string())),
        Outcome::TimedOut(reason) => (None, reason.detail()),
        Outcome::Passed | Outcome::Cancelled => (None, None),
    }
}

fn step_end(step: &StepRecord) -> StepEnd {
    let (code, reason) = step.outcome.as_ref().map(code_and_reason).unwrap_or_default();
    StepEnd {
        name: step.name.clone(),
        outcome: step.outcome.as_ref().map(|outcome| outcome.word().to_owned()),
        code,
        reason,
        reason_code: step.outcome.as_ref().and_then(Outcome::reason_code).map(str::to_owned),
        duration_ms: step.duration_ms,
        log_start: step.log.start,
        log_end: step.log.end,
    }
}

fn stream_end(StreamSummary { kind, summary }: &StreamSummary) -> StreamEnd {
    let LogSummary { bytes, crc32, missing } = summary.clone();
    StreamEnd { stream: stream_name(kind), bytes, crc32, missing }
}

pub(super) fn stream_name(kind: &StreamKind) -> StreamName {
    match kind {
        StreamKind::Log => StreamName::Log,
        StreamKind::Other(name) => StreamName::Other(name.clone()),
    }
}

/// Reads the stream that a message names. Returns `None` if no stream can have that name.
pub(super) fn stream(attempt: u64, name: &StreamName) -> Option<StreamId> {
    let kind = match name {
        StreamName::Log => StreamKind::Log,
        StreamName::Other(name) => StreamKind::new(name).ok()?,
    };
    Some(StreamId { attempt: AttemptId(attempt), kind })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ArtifactRecord, BlobId};

    #[test]
    fn every_outcome_reads_back_as_it_was_written() {
        let outcomes = [
            Outcome::Passed,
            Outcome::Failed(2),
            Outcome::Killed(9),
            Outcome::TimedOut(TimeoutReason::Whole),
            Outcome::TimedOut(TimeoutReason::quiet(7)),
            Outcome::Cancelled,
            Outcome::CouldNotStart("no such program".into()),
            Outcome::Lost(LossReason::disk_full()),
        ];
        for outcome in outcomes {
            let log = LogSummary { bytes: 5, crc32: 6, missing: Some("cut".into()) };
            let kind = StreamKind::new(&"report".into()).unwrap();
            let streams = vec![StreamSummary { kind, summary: log.clone() }];
            let step = |outcome| StepRecord { name: "a".into(), outcome, duration_ms: Some(2), log: 1..3 };
            let steps = vec![step(Some(outcome.clone())), step(None)];
            let report = AttemptResult {
                outcome,
                duration_ms: Some(3),
                log,
                streams,
                steps,
                execution: Some(Box::new(ExecutionRecord {
                    tier: "guarded".into(),
                    means: "mount namespace".into(),
                    memory_bytes: Some(4),
                    cpu_ms: Some(5),
                    not_enforced: vec!["cpus (x)".into()],
                    exceeded: "used more than memory".into(),
                    services: vec![ServiceRecord {
                        name: "db".into(),
                        ready_ms: Some(9),
                        failure: Some(ServiceFailure::Signal { signal: 9 }),
                        last_lines: vec!["x".into()],
                        means: "podman".into(),
                    }],
                })),
                written: Some(Box::new(Ok("[task.a]\nrun = 'x'\n".into()))),
                left: Leavings::of(
                    vec![("VERSION".into(), "1.2\n".into())],
                    vec![ArtifactRecord {
                        name: "files".into(),
                        manifest: BlobId([7; 32]),
                        files: 1,
                        bytes: 2,
                        keep_ms: Some(3),
                        removed: None,
                    }],
                ),
            };
            let mut line = Vec::new();
            results_line(AttemptId(7), &report, &mut line);
            assert_eq!(read_results(line.trim_ascii_end()), Some((AttemptId(7), report)));
        }
        assert_eq!(read_results(b"{\"type\":\"draining\"}"), None);
        assert_eq!(read_results(b"{\"type\":\"resu"), None);
    }
}
