//! `surveil runners`: lists the runners, with their labels and their work.

use clap::Args;

use super::flags::{DispatchFlags, Format};
use super::report::present;
use super::table::{Table, one_line};
use super::{CliError, ExitCode, Output, human};
use crate::protocol::operator::{FromOperator, RunnerReport, RunnersReport, ToOperator};

const EXAMPLES: &str = "\
Examples:
  surveil runners
  surveil runners --format json";

/// List the runners: their labels, and the jobs that they execute
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunnersFlags {
    /// A table for people, or one line of JSON for programs
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    operator: DispatchFlags,
}

/// Prints the answer.
pub(crate) fn run(flags: &RunnersFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let ToOperator::Runners(report) = flags.operator.connect()?.ask(&FromOperator::Runners)? else {
        return Err(CliError::Unexpected("`runners`"));
    };
    present(&report, flags.format, out, print)?;
    Ok(ExitCode::Ok)
}

fn print(report: &RunnersReport, out: &mut Output) -> Result<(), CliError> {
    if report.runners.is_empty() {
        return out.line("no runner is connected: start one with `surveil runner`");
    }
    let mut table = Table::new(&["STATE", "RUNNER", "BUSY", "HEARD", "ISOLATION", "RUNNING", "LABELS"], &[5, 6]);
    for runner in &report.runners {
        table.row(row(runner));
    }
    table.print(out)?;
    for runner in &report.runners {
        if let Some(detail) = &runner.detail {
            out.line(one_line(&format!("{} is {detail}", runner.name)))?;
        }
    }
    Ok(())
}

fn row(runner: &RunnerReport) -> Vec<String> {
    let running = if runner.running.is_empty() { "-".to_owned() } else { runner.running.join(" ") };
    vec![
        runner.state.clone(),
        runner.name.clone(),
        format!("{}/{}", runner.busy, runner.slots),
        format!("{} ago", human::duration(runner.silent_ms)),
        // A newer runner may have an isolation that this program does not know, so the word is shown as it is.
        runner.isolation.replace('_', " "),
        running,
        runner.labels.join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::Collected;

    #[test]
    fn a_runner_is_one_line() {
        let report = RunnersReport {
            runners: vec![RunnerReport {
                name: "w1".into(),
                state: "connected".into(),
                detail: Some("in quarantine for 4 s more".into()),
                reason_code: None,
                slots: 4,
                busy: 1,
                labels: vec!["arch=x86_64".into(), "gpu".into()],
                isolation: "pid_namespace".into(),
                silent_ms: 1_200,
                running: vec!["b12/test".into()],
            }],
            more: false,
        };
        let collected = Collected::default();
        print(&report, &mut collected.output()).unwrap();
        assert_eq!(
            collected.text(),
            "STATE      RUNNER  BUSY  HEARD      ISOLATION      RUNNING   LABELS\n\
             connected  w1      1/4   1.2 s ago  pid namespace  b12/test  arch=x86_64 gpu\n\
             w1 is in quarantine for 4 s more\n"
        );
    }
}
