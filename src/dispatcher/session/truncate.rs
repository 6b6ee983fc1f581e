//! Shortens answers that are too long for one message, for operators that do not take pieces. The least important part
//! is left out first, and the answer says so with `more`.

use crate::protocol::blobs::ArtifactsReport;
use crate::protocol::caches::CachesReport;
use crate::protocol::limits::MAX_LINE_BYTES;
use crate::protocol::operator::{
    BuildReport, RunnersReport, SecretsReport, StatusReport, ToOperator, TokensReport, WhyLine, WhyReport,
};
use crate::transport::Frame;

/// The most schedules that a shortened status lists: those that come first.
const SHOWN_SCHEDULES: usize = 20;

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
        ToOperator::Runners(report) => runners(report),
        ToOperator::Tokens(report) => tokens(report),
        ToOperator::Artifacts(report) => artifacts(report),
        ToOperator::Secrets(report) => secrets(report),
        ToOperator::Caches(report) => caches(report),
        // No other answer grows beyond a line.
        other @ (ToOperator::Passes(_)
        | ToOperator::Blob { .. }
        | ToOperator::Token { .. }
        | ToOperator::Log { .. }
        | ToOperator::LogEnd { .. }
        | ToOperator::Ok { .. }
        | ToOperator::Haves { .. }
        | ToOperator::Submitted { .. }
        | ToOperator::NeedSource { .. }
        | ToOperator::Ack
        | ToOperator::Error(_)) => Frame::new(&other),
    }
}

/// Leaves out all attempts but the newest of each job; then the older half of the builds, again and again.
fn status(mut report: StatusReport) -> Frame {
    let (all, all_runners) = (report.builds.len(), report.runners.len());
    report.builds.iter_mut().for_each(keep_newest_attempts);
    report.schedules.truncate(SHOWN_SCHEDULES);
    report.more = true;
    report.warnings.push("too long for one answer: only each job's newest attempt is listed".into());
    loop {
        let frame = Frame::new(&ToOperator::Status(report.clone()));
        if frame.line.len() <= MAX_LINE_BYTES || (report.builds.is_empty() && report.runners.is_empty()) {
            return frame;
        }
        if report.builds.is_empty() {
            report.runners.truncate(report.runners.len() / 2);
        }
        report.builds.truncate(report.builds.len() / 2);
        let (builds, runners) = (report.builds.len(), report.runners.len());
        let mut text =
            format!("too long for one answer: {builds} of {all} builds are listed, and newest attempts only");
        if runners < all_runners {
            text = format!("too long for one answer: {runners} of {all_runners} runners are listed, and no builds");
        }
        report.warnings.pop();
        report.warnings.push(text);
    }
}

fn runners(mut report: RunnersReport) -> Frame {
    report.more = true;
    loop {
        report.runners.truncate(report.runners.len() / 2);
        let frame = Frame::new(&ToOperator::Runners(report.clone()));
        if frame.line.len() <= MAX_LINE_BYTES || report.runners.is_empty() {
            return frame;
        }
    }
}

fn tokens(mut report: TokensReport) -> Frame {
    report.more = true;
    loop {
        report.tokens.truncate(report.tokens.len() / 2);
        let frame = Frame::new(&ToOperator::Tokens(report.clone()));
        if frame.line.len() <= MAX_LINE_BYTES || report.tokens.is_empty() {
            return frame;
        }
    }
}

fn artifacts(mut report: ArtifactsReport) -> Frame {
    report.more = true;
    loop {
        report.artifacts.truncate(report.artifacts.len() / 2);
        let frame = Frame::new(&ToOperator::Artifacts(report.clone()));
        if frame.line.len() <= MAX_LINE_BYTES || report.artifacts.is_empty() {
            return frame;
        }
    }
}

fn caches(mut report: CachesReport) -> Frame {
    report.more = true;
    loop {
        report.caches.truncate(report.caches.len() / 2);
        report.tools.truncate(report.tools.len() / 2);
        report.entries.truncate(report.entries.len() / 2);
        let frame = Frame::new(&ToOperator::Caches(report.clone()));
        let is_empty = report.caches.is_empty() && report.tools.is_empty() && report.entries.is_empty();
        if frame.line.len() <= MAX_LINE_BYTES || is_empty {
            return frame;
        }
    }
}

fn secrets(mut report: SecretsReport) -> Frame {
    report.more = true;
    loop {
        report.secrets.truncate(report.secrets.len() / 2);
        let frame = Frame::new(&ToOperator::Secrets(report.clone()));
        if frame.line.len() <= MAX_LINE_BYTES || report.secrets.is_empty() {
            return frame;
        }
    }
}

fn build(mut report: BuildReport) -> Frame {
    keep_newest_attempts(&mut report);
    report.more = true;
    let frame = Frame::new(&ToOperator::Build(Box::new(report.clone())));
    if frame.line.len() <= MAX_LINE_BYTES {
        return frame;
    }
    report.jobs.iter_mut().for_each(|job| job.attempts.clear());
    loop {
        let frame = Frame::new(&ToOperator::Build(Box::new(report.clone())));
        if frame.line.len() <= MAX_LINE_BYTES || report.jobs.is_empty() {
            return frame;
        }
        report.jobs.truncate(report.jobs.len() / 2);
    }
}

/// Keeps the newest part of the history.
fn why(mut report: WhyReport) -> Frame {
    let all = report.history.len();
    report.more = true;
    loop {
        let keep = report.history.len() / 2;
        report.history.drain(..report.history.len() - keep);
        let text = format!("the {} oldest lines are left out", all - keep);
        report.history.insert(0, WhyLine { text, ..WhyLine::default() });
        let frame = Frame::new(&ToOperator::Why(report.clone()));
        if frame.line.len() <= MAX_LINE_BYTES || (keep == 0 && report.now.is_empty()) {
            return frame;
        }
        if keep == 0 {
            report.now.truncate(report.now.len() / 2);
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
    use crate::protocol::operator::RunnerReport;
    use crate::protocol::pieces::tests::{build, runner};

    fn large_build(number: u64) -> BuildReport {
        build(number, &[(11, 100); 1000])
    }

    fn status(builds: Vec<BuildReport>, runners: Vec<RunnerReport>) -> StatusReport {
        StatusReport {
            builds,
            runners,
            queued_jobs: 0,
            running_jobs: 0,
            schedules: vec![],
            warnings: vec![],
            counters: None,
            network: None,
            more: false,
        }
    }

    #[test]
    fn a_status_of_large_builds_fits_a_line_and_says_what_is_left_out() {
        let report = status((0..20).map(large_build).collect(), vec![]);
        let frame = frame(ToOperator::Status(report));
        assert!(frame.line.len() <= MAX_LINE_BYTES);
        let ToOperator::Status(short) = codec::decode(frame.line.trim_ascii_end()).unwrap() else { panic!() };
        assert!(!short.builds.is_empty() && short.warnings[0].contains("of 20 builds"), "{:?}", short.warnings);
    }

    #[test]
    fn a_large_build_and_a_long_history_fit_a_line() {
        assert!(frame(ToOperator::Build(Box::new(large_build(1)))).line.len() <= MAX_LINE_BYTES);
        let line = WhyLine { at_ms: Some(0), text: "x".repeat(1000), ..WhyLine::default() };
        let frame = frame(ToOperator::Why(WhyReport {
            build: 1,
            trust: String::new(),
            now: vec![],
            history: vec![line.clone(); 5000],
            more: false,
        }));
        assert!(frame.line.len() <= MAX_LINE_BYTES);
        let frame = super::frame(ToOperator::Why(WhyReport {
            build: 1,
            trust: String::new(),
            now: vec![line; 2000],
            history: vec![],
            more: false,
        }));
        assert!(frame.line.len() <= MAX_LINE_BYTES);
    }

    /// Sabotage tried: runners are not counted among what may grow, as it was; both fail.
    #[test]
    fn runners_of_many_labels_fit_a_line_alone_and_in_a_status() {
        let runners = vec![runner(64); 1000];
        let alone = frame(ToOperator::Runners(RunnersReport { runners: runners.clone(), more: false }));
        assert!(alone.line.len() <= MAX_LINE_BYTES);
        let Ok(ToOperator::Runners(report)) = codec::decode(alone.line.trim_ascii_end()) else { panic!() };
        assert!(report.more && report.runners.len() == 125, "{}", report.runners.len());
        let report = status(vec![large_build(1)], runners);
        let both = frame(ToOperator::Status(report));
        assert!(both.line.len() <= MAX_LINE_BYTES);
        let Ok(ToOperator::Status(report)) = codec::decode(both.line.trim_ascii_end()) else { panic!() };
        assert!(report.more && report.warnings[0].contains("125 of 1000 runners"), "{:?}", report.warnings);
    }
}
