//! Shortens answers that are too long for one message. The least important part is left out first, and the answer says
//! so.

use crate::protocol::limits::MAX_LINE_BYTES;
use crate::protocol::operator::{BuildReport, StatusReport, ToOperator, WhyLine, WhyReport};
use crate::transport::Frame;

/// Returns an answer as a frame of at most [`MAX_LINE_BYTES`].
pub(super) fn frame(answer: ToOperator) -> Frame {
    let frame = Frame::new(&answer);
    if frame.line.len() <= MAX_LINE_BYTES {
        return frame;
    }
    match answer {
        ToOperator::Status(report) => status(report),
        ToOperator::Build(report) => build(*report),
        ToOperator::Why(report) => why(report),
        // No other answer grows with the contents of the store.
        other @ (ToOperator::Runners(_)
        | ToOperator::Log { .. }
        | ToOperator::LogEnd { .. }
        | ToOperator::Ok { .. }
        | ToOperator::Ack
        | ToOperator::Error(_)) => Frame::new(&other),
    }
}

/// Leaves out all attempts but the newest of each job; then the older half of the builds, again and again.
fn status(mut report: StatusReport) -> Frame {
    let all = report.builds.len();
    report.builds.iter_mut().for_each(keep_newest_attempts);
    report.warnings.push("too long for one answer: only each job's newest attempt is listed".into());
    loop {
        let frame = Frame::new(&ToOperator::Status(report.clone()));
        if frame.line.len() <= MAX_LINE_BYTES || report.builds.is_empty() {
            return frame;
        }
        let keep = report.builds.len() / 2;
        report.builds.truncate(keep);
        let text = format!("too long for one answer: {keep} of {all} builds are listed, and newest attempts only");
        report.warnings.pop();
        report.warnings.push(text);
    }
}

fn build(mut report: BuildReport) -> Frame {
    keep_newest_attempts(&mut report);
    let frame = Frame::new(&ToOperator::Build(Box::new(report.clone())));
    if frame.line.len() <= MAX_LINE_BYTES {
        return frame;
    }
    report.jobs.iter_mut().for_each(|job| job.attempts.clear());
    Frame::new(&ToOperator::Build(Box::new(report)))
}

/// Keeps the newest part of the history.
fn why(mut report: WhyReport) -> Frame {
    let all = report.history.len();
    loop {
        let keep = report.history.len() / 2;
        report.history.drain(..report.history.len() - keep);
        let text = format!("the {} oldest lines are left out", all - keep);
        report.history.insert(0, WhyLine { text, ..WhyLine::default() });
        let frame = Frame::new(&ToOperator::Why(report.clone()));
        if frame.line.len() <= MAX_LINE_BYTES || keep <= 1 {
            return frame;
        }
        report.history.remove(0);
    }
}

fn keep_newest_attempts(report: &mut BuildReport) {
    for job in &mut report.jobs {
        let older = job.attempts.len().saturating_sub(1);
        job.attempts.drain(..older);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::codec;
    use crate::protocol::operator::{AttemptReport, JobReport};

    fn large_build(number: u64) -> BuildReport {
        let attempt = AttemptReport {
            attempt: 1,
            number: 1,
            runner: "w1".into(),
            leased_ms: 0,
            finished_ms: None,
            duration_ms: None,
            outcome: None,
            detail: None,
            reason_code: None,
            log_bytes: 0,
            log_path: "a".repeat(100),
        };
        let job = JobReport {
            job: 1,
            task: "t".into(),
            state: "failed".into(),
            attempts: vec![attempt; 11],
            ..JobReport::default()
        };
        BuildReport {
            build: number,
            repo: "app".into(),
            branch: "main".into(),
            commit: "0".repeat(40),
            trigger: "push".into(),
            reference: "refs/heads/main".into(),
            trust: "trusted".into(),
            before: None,
            subject: String::new(),
            author: String::new(),
            state: "failed".into(),
            flaky: false,
            created_ms: 0,
            finished_ms: None,
            problem: None,
            jobs: vec![job; 1000],
        }
    }

    #[test]
    fn a_status_of_large_builds_fits_a_line_and_says_what_is_left_out() {
        let report = StatusReport {
            builds: (0..20).map(large_build).collect(),
            runners: vec![],
            queued_jobs: 0,
            running_jobs: 0,
            warnings: vec![],
            counters: None,
        };
        let frame = frame(ToOperator::Status(report));
        assert!(frame.line.len() <= MAX_LINE_BYTES);
        let ToOperator::Status(short) = codec::decode(frame.line.trim_ascii_end()).unwrap() else { panic!() };
        assert!(!short.builds.is_empty() && short.warnings[0].contains("of 20 builds"), "{:?}", short.warnings);
    }

    #[test]
    fn a_large_build_and_a_long_history_fit_a_line() {
        assert!(frame(ToOperator::Build(Box::new(large_build(1)))).line.len() <= MAX_LINE_BYTES);
        let line = WhyLine { at_ms: Some(0), text: "x".repeat(1000), ..WhyLine::default() };
        let frame = frame(ToOperator::Why(WhyReport { build: 1, now: vec![], history: vec![line; 5000] }));
        assert!(frame.line.len() <= MAX_LINE_BYTES);
    }
}
