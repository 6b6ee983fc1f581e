//! The result of an attempt, as its runner reports it: the outcome, the steps, and the streams that must be whole
//! before the result counts. It knows nothing of leases.

use super::pieces::stream;
use super::{cut, malformed};
use crate::model::output::{add_outputs, wrong_outputs};
use crate::model::reason::{LossReason, TimeoutReason};
use crate::model::{
    ExecutionRecord, LogSummary, MAX_LAST_LINES, MAX_SERVICES, Outcome, Outputs, ServiceFailure, ServiceRecord,
    StepRecord, StreamKind, StreamSummary,
};
use crate::protocol::execution::{Execution, ServiceEnd, ServiceFailureEnd};
use crate::protocol::hello::Refusal;
use crate::protocol::limits::{MAX_STEP_NAME_BYTES, MAX_STEPS, MAX_STREAMS};
use crate::protocol::runner::{StepEnd, StreamEnd};

/// The limits that the record of an attempt names as not enforced. There are three.
const MAX_GAPS: usize = 8;

/// The exit codes of a process that has failed, and the signals that can end one.
const EXIT_CODES: std::ops::RangeInclusive<i32> = 1..=255;
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;

/// Returns the outcome that `results` names.
pub(crate) fn outcome(
    word: &str,
    code: Option<i32>,
    reason: Option<String>,
    reason_code: Option<&str>,
) -> Result<Outcome, Refusal> {
    let text = &reason;
    let reason = || match text {
        Some(reason) if !reason.trim().is_empty() => Ok(cut(reason.clone())),
        _ => Err(malformed(format!("a result of `{word}` needs a `reason`"))),
    };
    let code_in = |allowed: std::ops::RangeInclusive<i32>, what: &str| match code {
        Some(code) if allowed.contains(&code) => Ok(code),
        Some(code) => {
            let (first, last) = allowed.into_inner();
            Err(malformed(format!("a result of `{word}` has {what} from {first} to {last} as its `code`, not {code}")))
        }
        None => Err(malformed(format!("a result of `{word}` needs a `code`"))),
    };
    Ok(match word {
        "passed" if code.is_some_and(|code| code != 0) => {
            return Err(malformed("a result of `passed` has no `code` but 0"));
        }
        "passed" => Outcome::Passed,
        "failed" => Outcome::Failed(code_in(EXIT_CODES, "an exit code")?),
        "killed" => Outcome::Killed(code_in(SIGNALS, "a signal")?),
        "timed_out" => Outcome::TimedOut(TimeoutReason::reported(reason_code, text.clone().map(cut))),
        "cancelled" => Outcome::Cancelled,
        "could_not_start" => Outcome::CouldNotStart(reason()?),
        "lost" => Outcome::Lost(LossReason::reported(reason_code, reason()?)),
        other => return Err(malformed(format!("`{}` is not an outcome", Refusal::quote(other)))),
    })
}

/// Returns the streams that must be whole before a result counts: the log, and those that `results` names beside it.
pub(crate) fn streams(log: LogSummary, others: Vec<StreamEnd>) -> Result<Vec<StreamSummary>, Refusal> {
    if others.len() > MAX_STREAMS {
        return Err(malformed(format!("a result names at most {MAX_STREAMS} streams, not {}", others.len())));
    }
    let mut streams = vec![StreamSummary { kind: StreamKind::Log, summary: log }];
    for StreamEnd { stream: name, bytes, crc32, missing } in others {
        let kind = stream(0, &name)?.kind;
        if streams.iter().any(|stream| stream.kind == kind) {
            return Err(malformed(format!("a result names the stream `{kind}` twice")));
        }
        streams.push(StreamSummary { kind, summary: log_summary(bytes, crc32, missing)? });
    }
    Ok(streams)
}

/// Returns the steps that a result names. Their sections stand one behind the other in a log of `log_bytes`.
pub(crate) fn steps(steps: Vec<StepEnd>, log_bytes: u64) -> Result<Vec<StepRecord>, Refusal> {
    if steps.len() > MAX_STEPS {
        return Err(malformed(format!("a result names at most {MAX_STEPS} steps, not {}", steps.len())));
    }
    let mut at = 0;
    let read =
        |StepEnd { name, outcome: word, code, reason, reason_code, duration_ms, log_start, log_end }: StepEnd| {
            if name.is_empty() || name.len() > MAX_STEP_NAME_BYTES || name.contains(char::is_control) {
                return Err(malformed(format!("`{}` cannot name a step", Refusal::quote(&name))));
            }
            if log_start < at || log_end < log_start || log_end > log_bytes {
                let name = Refusal::quote(&name);
                return Err(malformed(format!("step `{name}` has a section that is not behind the others in the log")));
            }
            at = log_end;
            let read = |word: String| {
                let outcome = outcome(&word, code, reason, reason_code.as_deref())?;
                let is_lost = matches!(outcome, Outcome::Lost(_));
                if is_lost { Err(malformed("a step is never `lost` alone")) } else { Ok(outcome) }
            };
            let outcome = word.map(read).transpose()?;
            Ok(StepRecord { name, outcome, duration_ms, log: log_start..log_end })
        };
    steps.into_iter().map(read).collect()
}

/// Returns the outputs that a result names.
pub(crate) fn outputs(outputs: Vec<(String, String)>) -> Result<Outputs, Refusal> {
    let mut all = Outputs::new();
    add_outputs(&mut all, outputs);
    match wrong_outputs(&all) {
        Some(why) => Err(malformed(why)),
        None => Ok(all),
    }
}

/// Returns how an attempt was executed, with texts of a bounded length and number.
pub(crate) fn execution(reported: Execution) -> Box<ExecutionRecord> {
    let Execution { tier, means, memory_bytes, cpu_ms, not_enforced, exceeded, services } = reported;
    let (tier, means, exceeded) = (cut(tier), cut(means), cut(exceeded));
    let not_enforced = not_enforced.into_iter().take(MAX_GAPS).map(cut).collect();
    let services = services.into_iter().take(MAX_SERVICES).map(service).collect();
    Box::new(ExecutionRecord { tier, means, memory_bytes, cpu_ms, not_enforced, exceeded, services })
}

fn service(reported: ServiceEnd) -> ServiceRecord {
    let ServiceEnd { name, ready_ms, failure, last_lines, means } = reported;
    let failure = failure.and_then(|ServiceFailureEnd { code, number, text, timeout_ms }| {
        ServiceFailure::of_parts(&code, (number, text.map(cut), timeout_ms))
    });
    let last_lines = last_lines.into_iter().take(MAX_LAST_LINES).map(cut).collect();
    ServiceRecord { name: cut(name), ready_ms, failure, last_lines, means: cut(means) }
}

pub(crate) fn log_summary(bytes: u64, crc32: u32, missing: Option<String>) -> Result<LogSummary, Refusal> {
    if bytes == 0 && crc32 != 0 {
        return Err(malformed("a stream of no bytes has the checksum 0"));
    }
    Ok(LogSummary { bytes, crc32, missing: missing.map(cut) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::hello::ErrorCode;
    use crate::protocol::limits::MAX_SENTENCE_BYTES;

    /// The results of runners of version 1 are taken; a result that contradicts itself is not.
    #[test]
    fn a_result_says_what_its_outcome_needs_and_nothing_against_it() {
        let read = |word: &str, code, reason: Option<&str>| outcome(word, code, reason.map(str::to_owned), None);
        for (word, code, reason) in [
            ("passed", None, None),
            ("passed", Some(0), None),
            ("failed", Some(1), None),
            ("failed", Some(255), None),
            ("killed", Some(1), None),
            ("killed", Some(64), None),
            ("timed_out", None, None),
            ("cancelled", Some(143), None),
            ("could_not_start", None, Some("no such program")),
            ("lost", None, Some("the disk is full")),
        ] {
            assert_eq!(read(word, code, reason).unwrap().word(), word);
        }
        for (word, code, reason) in [
            ("passed", Some(1), None),
            ("failed", None, None),
            ("failed", Some(0), None),
            ("failed", Some(-1), None),
            ("failed", Some(256), None),
            ("killed", None, Some("SEGV")),
            ("killed", Some(0), None),
            ("killed", Some(65), None),
            ("killed", Some(999), None),
            ("could_not_start", None, None),
            ("could_not_start", Some(127), Some(" ")),
            ("lost", None, None),
            ("lost", None, Some("")),
            ("exploded", None, None),
        ] {
            let refusal = read(word, code, reason).unwrap_err();
            assert!(refusal.code == ErrorCode::Malformed && refusal.text.contains(word), "{word}: {}", refusal.text);
        }
        let text = read("failed", Some(0), None).unwrap_err().text;
        assert_eq!(text, "a result of `failed` has an exit code from 1 to 255 as its `code`, not 0");
        assert!(read(&"x".repeat(1 << 20), None, None).unwrap_err().text.len() < 200);
        let Outcome::Lost(reason) = read("lost", None, Some(&"é".repeat(1000))).unwrap() else { panic!() };
        assert_eq!(reason.to_string().len(), MAX_SENTENCE_BYTES);
    }

    #[test]
    fn the_streams_of_a_result_are_named_once_and_agree_with_their_lengths() {
        let end = |name: &str, bytes, crc32| StreamEnd { stream: name.to_owned().into(), bytes, crc32, missing: None };
        let read = |others| streams(LogSummary::default(), others);
        assert_eq!(read(vec![end("report", 3, 5), end("other", 0, 0)]).unwrap().len(), 3);
        for others in [vec![end("report", 0, 5)], vec![end("a", 1, 1), end("a", 1, 1)], vec![end("log", 0, 0)]] {
            assert_eq!(read(others).unwrap_err().code, ErrorCode::Malformed);
        }
        assert!(log_summary(0, 1, None).is_err() && log_summary(0, 0, None).is_ok());
    }
}
