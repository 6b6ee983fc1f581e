//! `surveil status`: prints builds, queue and runners at a glance.

use clap::Args;

use super::flags::{DispatchFlags, Format};
use super::output::{bold, painted};
use super::report::{present, short, took};
use super::table::Table;
use super::{CliError, ExitCode, Output, human};
use crate::clock;
use crate::model::JobStateKind;
use crate::protocol::operator::{BuildReport, FromOperator, JobReport, StatusReport, ToOperator};

const EXAMPLES: &str = "\
The JSON form has the fields of `status` in docs/protocol.md. New versions may add fields, but never remove one.

Examples:
  surveil status
  surveil status --repo app --limit 50
  surveil status --format json | jq '.builds[] | [.commit, .state]'";

/// Show builds, the queue and the runners
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusFlags {
    /// Only builds of this repository
    #[arg(long, value_name = "NAME")]
    repo: Option<String>,
    /// Number of finished builds to list
    #[arg(long, value_name = "N", default_value_t = 15)]
    limit: u32,
    /// A table for people, or one line of JSON for programs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    operator: DispatchFlags,
}

/// Prints the answer.
pub(crate) fn run(flags: StatusFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let question = FromOperator::Status { repo: flags.repo, limit: flags.limit };
    let ToOperator::Status(report) = flags.operator.connect()?.ask(&question)? else {
        return Err(CliError::Unexpected("`status`"));
    };
    present(&report, flags.format, out, |report, out| print(report, clock::wall().0, out))?;
    Ok(ExitCode::Ok)
}

fn print(report: &StatusReport, now_ms: i64, out: &mut Output) -> Result<(), CliError> {
    if report.builds.is_empty() {
        out.line("no builds yet: start an observer with `surveil observer REPO`, and commit something")?;
    } else {
        table(&report.builds, now_ms).print(out)?;
    }
    out.line("")?;
    out.line(summary(report))?;
    for warning in &report.warnings {
        out.line(format_args!("{}: {warning}", painted("warning")))?;
    }
    Ok(())
}

fn table(builds: &[BuildReport], now_ms: i64) -> Table {
    let mut table =
        Table::new(&["STATE", "BUILD", "COMMIT", "REPO", "BRANCH", "SUBJECT", "JOBS", "TOOK", "WHEN"], &[3, 4, 5]);
    for build in builds {
        let took = build.finished_ms.map(|end| took(build.created_ms, end)).unwrap_or_default();
        table.row(vec![
            build.state.clone(),
            format!("b{}", build.build),
            short(&build.commit).to_owned(),
            build.repo.clone(),
            build.branch.clone(),
            build.subject.clone(),
            jobs(build),
            took,
            human::ago(build.finished_ms.unwrap_or(build.created_ms), now_ms),
        ]);
    }
    table
}

/// While a build runs: how many of its jobs are finished. Afterwards: the jobs that did not pass.
fn jobs(build: &BuildReport) -> String {
    let total = build.jobs.len();
    let state = |job: &JobReport| JobStateKind::of_word(&job.state);
    if build.finished_ms.is_none() {
        let is_done = |job: &&JobReport| matches!(state(job), Some(JobStateKind::Finished(_)));
        let done = build.jobs.iter().filter(is_done).count();
        return format!("{done}/{total}");
    }
    let is_bad = |job: &&JobReport| state(job).is_some_and(JobStateKind::is_bad);
    let bad: Vec<&str> = build.jobs.iter().filter(is_bad).map(|job| &*job.task).collect();
    match bad.as_slice() {
        [] if build.flaky => format!("{total}, flaky"),
        [] => total.to_string(),
        [one] => (*one).to_owned(),
        [one, rest @ ..] => format!("{one} +{}", rest.len()),
    }
}

/// Summarises the dispatcher's state in a sentence or two.
fn summary(report: &StatusReport) -> String {
    let connected = report.runners.iter().filter(|runner| runner.state != "away").count() as u64;
    let slots: u32 = report.runners.iter().filter(|runner| runner.state != "away").map(|runner| runner.slots).sum();
    let busy: u32 = report.runners.iter().map(|runner| runner.busy).sum();
    let runners = match connected {
        0 => "no runner connected".to_owned(),
        _ => format!("{}, {busy} of {} busy", human::count(connected, "runner"), human::count(slots.into(), "slot")),
    };
    format!("{} running, {} queued; {runners}", bold(report.running_jobs), bold(report.queued_jobs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::Collected;
    use crate::cli::tests::support::{attempt, build, job};
    use crate::protocol::codec;
    use crate::protocol::operator::RunnerReport;

    fn runner(name: &str, state: &str, busy: u32) -> RunnerReport {
        RunnerReport {
            name: name.into(),
            state: state.into(),
            slots: 2,
            busy,
            labels: Vec::new(),
            detail: None,
            reason_code: None,
            isolation: "subreaper".into(),
            silent_ms: 100,
            running: Vec::new(),
        }
    }

    #[test]
    fn the_table_says_what_is_going_on() {
        let mut running =
            build(12, "running", vec![job("build", "passed", vec![attempt(1)]), job("test", "running", vec![])]);
        running.finished_ms = None;
        let failed = build(11, "failed", vec![job("lint", "failed", vec![attempt(1)]), job("b", "errored", vec![])]);
        let report = StatusReport {
            builds: vec![running, failed],
            runners: vec![runner("w1", "connected", 1), runner("w2", "away", 0)],
            queued_jobs: 3,
            running_jobs: 1,
            warnings: vec!["the disk is full".into()],
            counters: None,
            more: false,
        };
        let collected = Collected::default();
        print(&report, 1_012_000, &mut collected.output()).unwrap();
        assert_eq!(
            collected.text(),
            "\
STATE    BUILD  COMMIT   REPO  BRANCH  SUBJECT        JOBS     TOOK  WHEN
running  b12    4f2a91c  app   main    Fix the thing  1/2            12 s ago
failed   b11    4f2a91c  app   main    Fix the thing  lint +1  12 s  just now

1 running, 3 queued; 1 runner, 1 of 2 slots busy
warning: the disk is full
"
        );
    }

    #[test]
    fn an_empty_dispatcher_says_what_to_do() {
        let (builds, runners, warnings) = (vec![], vec![], vec![]);
        let report =
            StatusReport { builds, runners, queued_jobs: 0, running_jobs: 0, warnings, counters: None, more: false };
        let collected = Collected::default();
        print(&report, 0, &mut collected.output()).unwrap();
        assert!(collected.text().contains("surveil observer REPO"));
        assert!(collected.text().ends_with("0 running, 0 queued; no runner connected\n"));
    }

    #[test]
    fn json_is_the_report_itself_on_one_line() {
        let report = build(1, "passed", vec![]);
        let collected = Collected::default();
        present(&report, Format::Json, &mut collected.output(), |_, _| panic!("a table")).unwrap();
        let text = collected.text();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(codec::decode::<BuildReport>(text.trim_end().as_bytes()).unwrap(), report);
    }
}
