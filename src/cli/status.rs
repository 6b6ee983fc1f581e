//! `surveil status`: prints builds, queue and runners at a glance.

use std::net::SocketAddr;

use clap::Args;

use super::build_name::{MAX_LISTED, keep_branch};
use super::flags::FormatFlags;
use super::fold::{self, Row};
use super::operator_flags::OperatorFlags;
use super::output::{bold, painted};
use super::report::{begun_ms, first_lease_ms, job_word, present, short, took};
use super::table::{Column, Table, one_line};
use super::{CliError, ExitCode, Output, human};
use crate::clock;
use crate::config::zoned_time;
use crate::model::{EndingKind, JobStateKind, WallTime};
use crate::protocol::operator::{
    BuildReport, FromOperator, JobReport, NetworkReport, RunnerReport, ScheduleReport, StatusReport, ToOperator,
};

const EXAMPLES: &str = "\
The JSON form has the fields of `status` in docs/protocol.md. New versions may add fields, but never remove one.

Examples:
  surveil status
  surveil status --repo app --limit 50
  surveil status --json | jq '.builds[] | [.commit, .state]'";

/// Show builds, the queue and the runners
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusFlags {
    /// Only builds of this repository
    #[arg(long, value_name = "NAME")]
    repo: Option<String>,
    /// Only builds of this branch, or of the ref with this full name
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,
    /// Number of finished builds to list
    #[arg(long, value_name = "N", default_value_t = 15)]
    limit: u32,
    #[command(flatten)]
    format: FormatFlags,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Prints the answer.
pub(crate) fn run(flags: StatusFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let (of, limit) = (flags.repo.clone(), flags.limit);
    let asked = if flags.branch.is_some() { MAX_LISTED } else { limit };
    let question = FromOperator::Status { repo: flags.repo, limit: asked };
    let ToOperator::Status(mut report) = flags.operator.connect_or_read()?.ask(&question)? else {
        return Err(CliError::Unexpected("`status`"));
    };
    if let Some(branch) = &flags.branch {
        keep_branch(&mut report.builds, branch, limit)?;
    }
    present(&report, flags.format.get(), out, |report, out| {
        print(report, &none_text(of.as_deref(), limit), clock::wall().0, out)
    })?;
    Ok(ExitCode::Ok)
}

/// The line in place of the builds if there are none of this repository, or of any, with that many finished ones.
fn none_text(repo: Option<&str>, limit: u32) -> String {
    match (limit, repo) {
        (0, _) => "no build is unfinished, and --limit 0 lists no finished ones".to_owned(),
        (_, Some(repo)) => format!("no builds of {}", one_line(repo)),
        (_, None) => "no builds yet: start an observer with `surveil observer REPO`, and commit something".to_owned(),
    }
}

fn print(report: &StatusReport, none: &str, now_ms: i64, out: &mut Output) -> Result<(), CliError> {
    if report.builds.is_empty() {
        out.line(none)?;
    } else {
        table(&report.builds, now_ms).print(out)?;
    }
    out.line("")?;
    out.line(summary(report))?;
    if let Some(pin) = report.network.as_deref().and_then(pin_for_others) {
        out.line(format_args!("other machines connect with --pin {pin}"))?;
    }
    for schedule in report.schedules.iter().take(SHOWN_SCHEDULES) {
        out.line(schedule_line(schedule, now_ms))?;
    }
    if report.schedules.len() > SHOWN_SCHEDULES {
        let more = (report.schedules.len() - SHOWN_SCHEDULES) as u64;
        out.line(format_args!("{} more: `surveil status --json` lists all", human::count(more, "schedule")))?;
    }
    for warning in &report.warnings {
        out.line(format_args!("{}: {warning}", painted("warning")))?;
    }
    Ok(())
}

/// Returns the pin of a dispatcher that other machines can reach, with the next one while its authority is replaced.
fn pin_for_others(network: &NetworkReport) -> Option<String> {
    let listen: SocketAddr = network.listen.parse().ok()?;
    let pins = [Some(&network.pin), network.rotation.as_ref().map(|rotation| &rotation.next_pin)];
    let pins: Vec<&str> = pins.into_iter().flatten().map(String::as_str).collect();
    (!listen.ip().is_loopback()).then(|| pins.join(","))
}

/// Schedules that are listed: those that come first.
const SHOWN_SCHEDULES: usize = 5;

/// Formats `schedule nightly of app fires next 2026-11-29 03:17 Europe/Berlin, in 6 h`.
fn schedule_line(schedule: &ScheduleReport, now_ms: i64) -> String {
    let ScheduleReport { schedule: name, repo, branch, timezone, .. } = schedule;
    let place = if MAIN_BRANCHES.contains(&&**branch) { repo.clone() } else { format!("{branch} in {repo}") };
    let next = match schedule.next_ms {
        Some(next) if next <= now_ms => "is due now".to_owned(),
        Some(next) => {
            let at = zoned_time(WallTime(next), timezone);
            format!("fires next {at}, in {}", human::roughly(next.saturating_sub(now_ms)))
        }
        None => format!("cannot fire: the dispatcher does not know the time zone {timezone}"),
    };
    format!("schedule {name} of {place} {next}")
}

/// Branches that a line need not name.
const MAIN_BRANCHES: [&str; 2] = ["main", "master"];

const COLUMNS: &[Column] = &[
    Column::value("STATE", 0),
    Column::value("BUILD", 0),
    Column::text("SUBJECT", 0, (16, 32)),
    Column::text("REPO", 2, (12, 20)),
    Column::text("BRANCH", 4, (12, 22)),
    Column::text("JOBS", 3, (12, 24)),
    Column::value("TOOK", 5),
    Column::value("WHEN", 1),
    Column::value("COMMIT", 6),
];

fn table(builds: &[BuildReport], now_ms: i64) -> Table {
    let mut table = Table::new(COLUMNS);
    for build in builds {
        let took = build.finished_ms.map(|end| took(begun_ms(build), end)).unwrap_or_default();
        // While a build waits or runs, the time for which it does.
        let since = first_lease_ms(build).unwrap_or_else(|| begun_ms(build));
        let when = match build.finished_ms {
            Some(end) => human::ago(end, now_ms),
            None => format!("for {}", human::roughly(now_ms.saturating_sub(since))),
        };
        table.row(vec![
            build.state.clone(),
            format!("b{}", build.build),
            build.subject.clone(),
            build.repo.clone(),
            build.branch.clone(),
            jobs(build),
            took,
            when,
            short(&build.commit).to_owned(),
        ]);
    }
    table
}

/// While a build is unfinished: how many of its jobs are done. Afterwards: the jobs that did not pass, or how many
/// passed. Jobs that are held or left out are no part of either number.
fn jobs(build: &BuildReport) -> String {
    let state = |job: &JobReport| JobStateKind::of_word(&job.state);
    // Of a build whose jobs are not listed only the numbers are there.
    let listed = build.jobs.iter().map(|job| (state(job), 1));
    let counted = build.job_counts.iter().map(|(word, count)| (JobStateKind::of_word(word), *count));
    let states: Vec<(Option<JobStateKind>, u64)> = listed.chain(counted).collect();
    let sum = |is_wanted: &dyn Fn(JobStateKind) -> bool| -> u64 {
        states.iter().filter(|(state, _)| state.is_some_and(is_wanted)).map(|(_, count)| count).sum()
    };
    let number = |kind| sum(&|state| state == kind);
    let (held, left_out) = (number(JobStateKind::Held), number(JobStateKind::Finished(EndingKind::LeftOut)));
    let all: u64 = states.iter().map(|(_, count)| count).sum();
    let total = all - held - left_out;
    if build.finished_ms.is_none() {
        let done = sum(&|state| matches!(state, JobStateKind::Finished(_))) - left_out;
        return format!("{done} of {total} done");
    }
    let is_bad = |job: &&JobReport| state(job).is_some_and(JobStateKind::is_bad);
    let bad: Vec<JobReport> = build.jobs.iter().filter(is_bad).cloned().collect();
    // The cells of one matrix are told together.
    let bad: Vec<(usize, String)> = fold::rows(&bad)
        .iter()
        .map(|row| match row {
            Row::Job(job) => (1, format!("{} {}", job.task, job_word(job))),
            Row::Matrix(cells) => (cells.count(), format!("{} {}", cells.name(), cells.counts())),
        })
        .collect();
    let passed = number(JobStateKind::Finished(EndingKind::Passed));
    let aside = match (held, left_out) {
        (0, 0) => String::new(),
        (0, left_out) => format!("{left_out} left out"),
        (held, _) => format!("{held} held"),
    };
    let flaky = if build.flaky { ", flaky" } else { "" };
    match bad.as_slice() {
        // A build without jobs has a problem, which `show` tells.
        [] if all == 0 => "none".to_owned(),
        [] if total == 0 => aside,
        [] if passed == total && !aside.is_empty() => format!("{passed} passed{flaky}, {aside}"),
        [] if passed == total => format!("{passed} passed{flaky}"),
        [] => format!("{passed} of {total} passed{flaky}"),
        [(_, one)] => one.clone(),
        [(_, one), rest @ ..] => format!("{one}, {} more", rest.iter().map(|(count, _)| count).sum::<usize>()),
    }
}

/// Summarises the dispatcher's state in a sentence or two.
fn summary(report: &StatusReport) -> String {
    // A drained runner and its slots are not there for any job.
    let is_active = |runner: &&RunnerReport| runner.connected && !["away", "drained"].contains(&&*runner.state);
    let active = || report.runners.iter().filter(is_active);
    let drained = report.runners.iter().filter(|runner| runner.state == "drained").count();
    let slots: u32 = active().map(|runner| runner.slots).sum();
    let busy: u32 = report.runners.iter().map(|runner| runner.busy).sum();
    let runners = match active().count() as u64 {
        0 if drained > 0 => "no runner takes jobs".to_owned(),
        0 => "no runner connected".to_owned(),
        count => format!("{}, {busy} of {} busy", human::count(count, "runner"), human::count(slots.into(), "slot")),
    };
    let drained = if drained > 0 { format!(", {drained} drained") } else { String::new() };
    let jobs = |number| bold(human::count(number, "job"));
    format!("{} running, {} queued; {runners}{drained}", jobs(report.running_jobs), jobs(report.queued_jobs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::flags::Format;
    use crate::cli::tests::support::Collected;
    use crate::cli::tests::support::{attempt, build, job};
    use crate::protocol::codec;
    use crate::protocol::operator::RunnerReport;

    fn runner(name: &str, state: &str, busy: u32) -> RunnerReport {
        RunnerReport {
            name: name.into(),
            state: state.into(),
            connected: state != "away",
            drained: state == "drained",
            slots: 2,
            busy,
            labels: Vec::new(),
            ordered_by: None,
            ordered_ms: None,
            detail: None,
            reason_code: None,
            isolation: "subreaper".into(),
            tiers: None,
            silent_ms: 100,
            running: Vec::new(),
            running_ms: Vec::new(),
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
            schedules: vec![],
            warnings: vec!["the disk is full".into()],
            counters: None,
            network: None,
            more: false,
        };
        let collected = Collected::default();
        print(&report, "", 1_012_000, &mut collected.output()).unwrap();
        assert_eq!(
            collected.text(),
            "\
STATE    BUILD  SUBJECT        REPO  BRANCH  JOBS                 TOOK  WHEN      COMMIT
running  b12    Fix the thing  app   main    1 of 2 done                for 11 s  4f2a91c
failed   b11    Fix the thing  app   main    lint failed, 1 more  12 s  just now  4f2a91c

1 job running, 3 jobs queued; 1 runner, 1 of 2 slots busy
warning: the disk is full
"
        );
    }

    #[test]
    fn jobs_that_are_held_or_left_out_are_counted_apart() {
        let of = |states: &[&str]| {
            let finished = build(1, "passed", states.iter().map(|state| job("test", state, vec![])).collect());
            (jobs(&BuildReport { finished_ms: None, ..finished.clone() }), jobs(&finished))
        };
        let words = |open: &str, done: &str| (open.to_owned(), done.to_owned());
        assert_eq!(of(&["passed", "passed"]), words("2 of 2 done", "2 passed"));
        assert_eq!(of(&["passed", "left_out"]), words("1 of 1 done", "1 passed, 1 left out"));
        assert_eq!(of(&["passed", "left_out", "held"]), words("1 of 1 done", "1 passed, 1 held"));
        assert_eq!(of(&["left_out", "left_out"]), words("0 of 0 done", "2 left out"));
        assert_eq!(of(&["failed", "left_out"]), words("1 of 1 done", "test failed"));
    }

    #[test]
    fn a_build_whose_jobs_are_not_listed_is_told_by_its_numbers() {
        let of = |counts: &[(&str, u64)]| {
            let job_counts = counts.iter().map(|(state, count)| ((*state).to_owned(), *count)).collect();
            let finished = BuildReport { job_counts, ..build(1, "passed", Vec::new()) };
            [jobs(&BuildReport { finished_ms: None, ..finished.clone() }), jobs(&finished)]
        };
        assert_eq!(of(&[("queued", 988), ("passed", 10), ("left_out", 2)])[0], "10 of 998 done");
        assert_eq!(of(&[("failed", 3), ("passed", 997)])[1], "997 of 1000 passed");
        assert_eq!(of(&[("held", 3), ("passed", 997)])[1], "997 passed, 3 held");
        assert_eq!(of(&[("left_out", 1000)])[1], "1000 left out");
    }

    #[test]
    fn the_cells_of_a_matrix_are_told_together() {
        let cells = |states: &[(&str, &str)]| {
            jobs(&build(1, "failed", states.iter().map(|(task, state)| job(task, state, vec![])).collect()))
        };
        assert_eq!(cells(&[("t@1", "passed"), ("t@2", "failed"), ("t@3", "failed")]), "t@… 2 failed");
        let all = [("l", "failed"), ("t@1", "errored"), ("t@2", "failed"), ("t@3", "passed"), ("u@1", "failed")];
        assert_eq!(cells(&all), "l failed, 3 more");
        assert_eq!(cells(&[("t@1", "passed"), ("t@2", "failed")]), "t@2 failed");
    }

    /// Builds of three repositories with long names and wide characters, as a team has them.
    fn team() -> Vec<BuildReport> {
        let of = |number, state: &str, repo: &str, branch: &str, subject: &str| BuildReport {
            repo: repo.into(),
            branch: branch.into(),
            subject: subject.into(),
            finished_ms: (state != "running").then_some(1_245_000),
            ..build(
                number,
                state,
                vec![job("integration-tests", state, vec![attempt(1)]), job("lint", "passed", vec![])],
            )
        };
        let wide = "\u{65e5}\u{672c}\u{8a9e}\u{306e}\u{4ef6}\u{540d}\u{3067}\u{3059}".repeat(3);
        vec![
            of(1204, "running", "billing-service", "feature/retry-payments", "Retry a payment that the bank refuses"),
            of(1203, "failed", "web", "main", &wide),
            of(1202, "passed", "infrastructure", "main", "Bump"),
        ]
    }

    /// At 60 columns there are the subject, the repository and the time; then come the jobs, then all of it.
    #[test]
    fn the_table_is_readable_at_60_80_120_and_200_columns() {
        let table = table(&team(), 1_312_000);
        let at = |width| table.lines(Some(width)).join("\n") + "\n";
        assert_eq!([60, 80, 120, 200].map(at).join("\n"), include_str!("tests/status.txt"));
    }

    #[test]
    fn a_drained_runner_is_counted_apart_and_its_slots_are_nobodys() {
        let counted = |runners: Vec<RunnerReport>| {
            let report = StatusReport {
                builds: vec![],
                runners,
                queued_jobs: 1,
                running_jobs: 0,
                schedules: vec![],
                warnings: vec![],
                counters: None,
                network: None,
                more: false,
            };
            let collected = Collected::default();
            print(&report, &none_text(None, 15), 0, &mut collected.output()).unwrap();
            collected.text().lines().last().unwrap().split_once("; ").unwrap().1.to_owned()
        };
        assert_eq!(counted(vec![runner("w1", "drained", 0)]), "no runner takes jobs, 1 drained");
        let two = vec![runner("w1", "drained", 0), runner("w2", "connected", 1)];
        assert_eq!(counted(two), "1 runner, 1 of 2 slots busy, 1 drained");
    }

    #[test]
    fn an_empty_dispatcher_says_what_to_do() {
        let (builds, runners, warnings) = (vec![], vec![], vec![]);
        let report = StatusReport {
            builds,
            runners,
            schedules: vec![],
            queued_jobs: 0,
            running_jobs: 0,
            warnings,
            counters: None,
            network: None,
            more: false,
        };
        let collected = Collected::default();
        print(&report, &none_text(None, 15), 0, &mut collected.output()).unwrap();
        assert!(collected.text().contains("surveil observer REPO"));
        assert!(collected.text().ends_with("0 jobs running, 0 jobs queued; no runner connected\n"));
    }

    #[test]
    fn a_list_without_builds_says_which_builds_it_would_have() {
        assert!(none_text(None, 15).starts_with("no builds yet: start an observer"));
        assert_eq!(none_text(Some("app"), 15), "no builds of app");
        assert_eq!(none_text(None, 0), "no build is unfinished, and --limit 0 lists no finished ones");
        assert_eq!(jobs(&build(1, "errored", vec![])), "none", "its task file is broken");
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
