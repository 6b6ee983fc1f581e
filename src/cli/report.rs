//! Parts of reports that several commands print.

use serde::Serialize;

use super::flags::Format;
use super::output::painted;
use super::{CliError, Output, human};
use crate::model::{EndingKind, JobStateKind, visible_char};
use crate::protocol::operator::{BuildReport, JobReport};
use crate::transport::Frame;

/// Prints a report: for people by `print`, or in the protocol's JSON form, on one line.
pub(crate) fn present<R: Serialize>(
    report: &R,
    format: Format,
    out: &mut Output,
    print: impl FnOnce(&R, &mut Output) -> Result<(), CliError>,
) -> Result<(), CliError> {
    match format {
        Format::Json => out.bytes(escaped(&String::from_utf8_lossy(&Frame::new(report).line)).as_bytes()),
        Format::Table => print(report, out),
    }
}

/// Returns a line of JSON in which characters that a terminal obeys or hides are escapes, which mean the same. Outside
/// of strings JSON has none of them, except for the line feed at the end.
fn escaped(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for c in line.chars() {
        if c == '\n' || visible_char(c) == c {
            text.push(c);
        } else {
            let mut units = [0; 2];
            text.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text
}

/// Abbreviates a commit to 7 characters.
pub(crate) fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

/// Formats the time between two moments.
pub(crate) fn took(start_ms: i64, end_ms: i64) -> String {
    human::duration(between(start_ms, end_ms))
}

fn between(start_ms: i64, end_ms: i64) -> u64 {
    u64::try_from(end_ms.saturating_sub(start_ms)).unwrap_or(0)
}

/// The time from which on a build is measured: its announcement, or its newest rerun.
pub(crate) fn begun_ms(build: &BuildReport) -> i64 {
    build.rerun_ms.unwrap_or(build.created_ms)
}

/// The time at which a runner got the first job of a build, since its beginning.
pub(crate) fn first_lease_ms(build: &BuildReport) -> Option<i64> {
    let leases = build.jobs.iter().flat_map(|job| &job.attempts).map(|attempt| attempt.leased_ms);
    leases.filter(|leased| *leased >= begun_ms(build)).min()
}

/// Formats what a finished build took: `12 s`, or `12 s (waited 8 s)` if it was in the queue for a part of that.
pub(crate) fn lasted(build: &BuildReport) -> String {
    let (begun, end) = (begun_ms(build), build.finished_ms.unwrap_or(build.created_ms));
    let waited = between(begun, first_lease_ms(build).unwrap_or(begun));
    if waited < WORTH_TELLING_MS {
        return took(begun, end);
    }
    format!("{} (waited {})", took(begun, end), human::duration(waited))
}

/// The shortest wait that is told.
const WORTH_TELLING_MS: u64 = 1_000;

/// How a job stands, in one or two words. A task that ran out of time or was killed is told as that, not as failed.
pub(crate) fn job_word(job: &JobReport) -> String {
    let is_failed = JobStateKind::of_word(&job.state) == Some(JobStateKind::Finished(EndingKind::Failed));
    let outcome = job.attempts.last().and_then(|last| last.outcome.as_deref());
    human::words(match outcome {
        Some(outcome @ ("timed_out" | "killed")) if is_failed => outcome,
        _ => &job.state,
    })
}

/// Whether no task of a finished build had to run.
pub(crate) fn is_all_left_out(build: &BuildReport) -> bool {
    !build.jobs.is_empty() && build.jobs.iter().all(|job| job_kind(job) == Some(LEFT_OUT))
}

/// The words behind the verdict of a build: that it is flaky, or that no task had to run.
pub(crate) fn verdict_note(build: &BuildReport) -> String {
    match (build.flaky, is_all_left_out(build)) {
        (true, _) => format!(" ({})", painted("flaky")),
        (false, true) => " (every task is left out)".to_owned(),
        (false, false) => String::new(),
    }
}

/// The state of a job, if this program knows it.
pub(crate) fn job_kind(job: &JobReport) -> Option<JobStateKind> {
    JobStateKind::of_word(&job.state)
}

const LEFT_OUT: JobStateKind = JobStateKind::Finished(EndingKind::LeftOut);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::{attempt, build, job};
    use crate::protocol::operator::AttemptReport;

    #[test]
    fn a_rerun_is_measured_from_the_rerun_on() {
        let mut build = build(1, "passed", vec![job("test", "passed", vec![attempt(1)])]);
        assert_eq!(lasted(&build), "12 s");
        // Run again 6 minutes later, for 6 seconds.
        let again = AttemptReport { leased_ms: 1_360_000, ..attempt(2) };
        build.jobs[0].attempts.push(again);
        (build.rerun_ms, build.finished_ms) = (Some(1_360_000), Some(1_366_000));
        assert_eq!(lasted(&build), "6.0 s");
    }

    #[test]
    fn a_wait_for_a_runner_is_told() {
        let late = AttemptReport { leased_ms: 1_008_000, ..attempt(1) };
        assert_eq!(lasted(&build(1, "passed", vec![job("test", "passed", vec![late])])), "12 s (waited 8.0 s)");
        assert_eq!(lasted(&build(1, "cancelled", vec![job("test", "cancelled", vec![])])), "12 s", "it never ran");
    }

    #[test]
    fn a_failed_job_is_told_by_what_ended_it() {
        let word = |state: &str, outcomes: &[&str]| {
            let ended = |outcome: &&str| AttemptReport { outcome: Some((*outcome).into()), ..attempt(1) };
            job_word(&job("test", state, outcomes.iter().map(ended).collect()))
        };
        assert_eq!(word("failed", &["failed"]), "failed");
        assert_eq!(word("failed", &["failed", "timed_out"]), "timed out");
        assert_eq!(word("failed", &["killed"]), "killed");
        assert_eq!(word("queued", &["timed_out"]), "queued", "it is tried again");
        assert_eq!(word("passed", &["timed_out", "passed"]), "passed");
    }

    #[test]
    fn json_means_the_same_and_controls_no_terminal() {
        let text = "a\u{202e}b \u{e0041} \u{9b} Grüße\n";
        let line = escaped(&format!("{}\n", serde_json::to_string(text).unwrap()));
        assert_eq!(line, "\"a\\u202eb \\udb40\\udc41 \\u009b Grüße\\n\"\n");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
