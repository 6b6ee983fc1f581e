//! `surveil runners`: lists the runners, with their labels and their work.

use std::collections::BTreeMap;

use clap::Args;

use super::check::is_ability;
use super::flags::FormatFlags;
use super::operator_flags::OperatorFlags;
use super::report::present;
use super::table::{Column, Table, one_line};
use super::{CliError, ExitCode, Output, human};
use crate::clock;
use crate::model::{Ability, Tier, TierRange};
use crate::protocol::operator::{FromOperator, RunnerReport, RunnersReport, ToOperator};

const EXAMPLES: &str = "\
Examples:
  surveil runners
  surveil runners --json";

/// List the runners: their labels, and the jobs that they execute
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunnersFlags {
    #[command(flatten)]
    format: FormatFlags,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Prints the answer.
pub(crate) fn run(flags: &RunnersFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let ToOperator::Runners(report) = flags.operator.connect()?.ask(&FromOperator::Runners)? else {
        return Err(CliError::Unexpected("`runners`"));
    };
    present(&report, flags.format.get(), out, print)?;
    Ok(ExitCode::Ok)
}

fn print(report: &RunnersReport, out: &mut Output) -> Result<(), CliError> {
    if report.runners.is_empty() {
        return out.line("no runner is connected: start one with `surveil runner`");
    }
    let mut table = Table::new(COLUMNS);
    for runner in &report.runners {
        table.row(row(runner));
    }
    table.print(out)?;
    let now = clock::wall().0;
    for (means, runners) in by_means(&report.runners) {
        out.line(one_line(&format!("guarded by {means}: {}", runners.join(", "))))?;
    }
    for runner in &report.runners {
        if let Some(detail) = &runner.detail {
            let ordered = runner.ordered_ms.filter(|_| runner.drained);
            let since = ordered.map(|at| format!(" (ordered {})", human::ago(at, now))).unwrap_or_default();
            out.line(one_line(&format!("{} is {detail}{since}", runner.name)))?;
        }
    }
    Ok(())
}

const COLUMNS: &[Column] = &[
    Column::value("STATE", 0),
    Column::text("RUNNER", 0, (12, 20)),
    Column::value("SLOTS BUSY", 1),
    Column::text("RUNNING", 0, (20, 60)),
    Column::value("TIERS", 2),
    Column::value("HEARD", 3),
    Column::text("LABELS", 4, (14, 40)),
    Column::value("ISOLATION", 5),
];

fn row(runner: &RunnerReport) -> Vec<String> {
    // A drained runner that is not connected is known by its name alone.
    let is_known = runner.connected || runner.state == "away";
    vec![
        runner.state.clone(),
        runner.name.clone(),
        if is_known { format!("{} of {}", runner.busy, runner.slots) } else { "-".to_owned() },
        running(runner),
        if is_known { tiers(runner) } else { String::new() },
        if is_known { format!("{} ago", human::duration(runner.silent_ms)) } else { "not connected".to_owned() },
        labels(runner),
        // A newer runner may have an isolation that this program does not know, so the word is shown as it is.
        if is_known { runner.isolation.replace('_', " ") } else { String::new() },
    ]
}

/// Formats the tiers that a runner offers: `shared..sealed`. An older runner tells only the highest, by its labels.
fn tiers(runner: &RunnerReport) -> String {
    let offers = |ability: Ability| runner.labels.iter().any(|label| *label == ability.label().as_str());
    match &runner.tiers {
        Some(tiers) if tiers.least == tiers.most => tiers.least.clone(),
        Some(tiers) => format!("{}..{}", tiers.least, tiers.most),
        None if offers(Ability::Sealed) => TierRange::ALL.to_string(),
        None if offers(Ability::Guarded) => TierRange { most: Tier::Guarded, ..TierRange::ALL }.to_string(),
        None => Tier::Shared.word().to_owned(),
    }
}

/// The runners of each means of guarding attempts.
fn by_means(runners: &[RunnerReport]) -> BTreeMap<&str, Vec<&str>> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for runner in runners {
        let means = runner.tiers.iter().map(|tiers| tiers.means.as_str()).find(|means| !means.is_empty());
        means.into_iter().for_each(|means| found.entry(means).or_default().push(&runner.name));
    }
    found
}

/// The labels that tell one runner from another. All runners of one version have the same abilities.
fn labels(runner: &RunnerReport) -> String {
    runner.labels.iter().map(String::as_str).filter(|label| !is_ability(label)).collect::<Vec<_>>().join(" ")
}

/// Formats `3 min b12/test, 2 s b13/lint`. The time comes first, so that it is seen if there is little room.
fn running(runner: &RunnerReport) -> String {
    if runner.running.is_empty() {
        return "-".to_owned();
    }
    let mut lasting = runner.running_ms.iter();
    let job = |job: &String| match lasting.next() {
        Some(ms) => format!("{} {job}", human::roughly(i64::try_from(*ms).unwrap_or(i64::MAX))),
        None => job.clone(),
    };
    runner.running.iter().map(job).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::Collected;
    use crate::protocol::execution::Tiers;

    #[test]
    fn a_runner_is_one_line() {
        let report = RunnersReport {
            runners: vec![RunnerReport {
                name: "w1".into(),
                state: "connected".into(),
                connected: true,
                drained: false,
                ordered_by: None,
                ordered_ms: None,
                detail: Some("in quarantine for 4 s more".into()),
                reason_code: None,
                slots: 4,
                busy: 1,
                labels: vec!["arch=x86_64".into(), "can=dir".into(), "gpu".into()],
                isolation: "pid_namespace".into(),
                tiers: Some(Tiers { least: "shared".into(), most: "sealed".into(), means: "mounts".into() }),
                silent_ms: 1_200,
                running: vec!["b12/test".into()],
                running_ms: vec![190_000],
            }],
            more: false,
        };
        let collected = Collected::default();
        print(&report, &mut collected.output()).unwrap();
        assert_eq!(
            collected.text(),
            "STATE      RUNNER  SLOTS BUSY  RUNNING         TIERS           HEARD      LABELS           ISOLATION\n\
             connected  w1      1 of 4      3 min b12/test  shared..sealed  1.2 s ago  arch=x86_64 gpu  pid namespace\n\
             guarded by mounts: w1\n\
             w1 is in quarantine for 4 s more\n"
        );
    }

    #[test]
    fn a_drained_runner_that_is_not_connected_shows_no_invented_facts() {
        let report = RunnersReport {
            runners: vec![RunnerReport {
                name: "w1".into(),
                state: "drained".into(),
                connected: false,
                drained: true,
                ordered_by: Some("alice".into()),
                ordered_ms: Some(clock::wall().0 - 3 * 60 * 1000),
                detail: Some("drained by alice: no jobs until `surveil resume w1`".into()),
                reason_code: None,
                slots: 0,
                busy: 0,
                labels: Vec::new(),
                isolation: "subreaper".into(),
                tiers: None,
                silent_ms: 0,
                running: Vec::new(),
                running_ms: Vec::new(),
            }],
            more: false,
        };
        let collected = Collected::default();
        print(&report, &mut collected.output()).unwrap();
        assert_eq!(
            collected.text(),
            "STATE    RUNNER  SLOTS BUSY  RUNNING  TIERS  HEARD          LABELS  ISOLATION\n\
             drained  w1      -           -               not connected\n\
             w1 is drained by alice: no jobs until `surveil resume w1` (ordered 3 min ago)\n"
        );
    }

    #[test]
    fn a_narrow_terminal_shows_what_runs_and_for_how_long() {
        let runner = |name: &str, running: &[&str]| RunnerReport {
            name: name.into(),
            state: "connected".into(),
            connected: true,
            drained: false,
            ordered_by: None,
            ordered_ms: None,
            detail: None,
            reason_code: None,
            slots: 16,
            busy: running.len() as u32,
            labels: vec!["arch=x86_64".into(), "hostname=build-machine-in-the-attic".into(), "os=linux".into()],
            isolation: "pid_namespace".into(),
            tiers: Some(Tiers { least: "guarded".into(), most: "sealed".into(), means: String::new() }),
            silent_ms: 1_200,
            running: running.iter().map(|job| (*job).to_owned()).collect(),
            running_ms: vec![245_000; running.len()],
        };
        let mut table = Table::new(COLUMNS);
        table.row(row(&runner("build-machine-in-the-attic", &["b1204/integration-tests", "b1205/lint"])));
        table.row(row(&runner("w2", &[])));
        let at = |width| table.lines(Some(width)).join("\n") + "\n";
        assert_eq!([60, 80, 120, 200].map(at).join("\n"), include_str!("tests/runners.txt"));
    }
}
