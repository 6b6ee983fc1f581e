//! `surveil why`: prints what a build waits for, and the decisions about it with their reasons.

use clap::Args;

use super::build_name::{BuildFlags, NamedBuild};
use super::flags::{DispatchFlags, FormatFlags};
use super::output::{bold, dim};
use super::report::present;
use super::table::one_line;
use super::{CliError, ExitCode, Output, human};
use crate::protocol::operator::{FromOperator, ToOperator, WhyLine, WhyReport};

const EXAMPLES: &str = "\
Examples:
  surveil why latest
  surveil why b12/test
  surveil why 4f2a91c lint";

/// Say why a build or a job is in its state: what it waits for, why it ran where it ran
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WhyFlags {
    #[command(flatten)]
    named: BuildFlags,
    #[command(flatten)]
    format: FormatFlags,
    #[command(flatten)]
    operator: DispatchFlags,
}

/// Prints the answer.
pub(crate) fn run(flags: WhyFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    flags.named.check()?;
    let mut session = flags.operator.connect_or_read()?;
    let NamedBuild { build, task } = flags.named.resolve(&mut session)?;
    let answer = session.ask(&FromOperator::Why { build, task })?;
    let ToOperator::Why(report) = answer else { return Err(CliError::Unexpected("`why`")) };
    present(&report, flags.format.get(), out, print)?;
    Ok(ExitCode::Ok)
}

fn print(report: &WhyReport, out: &mut Output) -> Result<(), CliError> {
    for line in &report.now {
        out.line(format_args!("{} {}", bold("now"), sentence(report.build, line)))?;
    }
    for line in &report.history {
        let at = line.at_ms.map(human::moment).unwrap_or_default();
        out.line(format_args!("{}  {}", dim(at), sentence(report.build, line)))?;
    }
    if !report.trust.is_empty() {
        out.line(format_args!("b{} is {}", report.build, one_line(&report.trust)))?;
    }
    if report.now.is_empty() && report.history.is_empty() {
        out.line(format_args!("b{}: nothing is recorded about it", report.build))?;
    }
    Ok(())
}

/// Formats `b12/test: waits for build`.
fn sentence(build: u64, line: &WhyLine) -> String {
    match &line.task {
        Some(task) => format!("b{build}/{task}: {}", one_line(&line.text)),
        None => format!("b{build}: {}", one_line(&line.text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::Collected;

    #[test]
    fn what_it_waits_for_comes_before_its_history() {
        let line = |at_ms, task: Option<&str>, text: &str| {
            let (task, text) = (task.map(str::to_owned), text.into());
            WhyLine { at_ms, task, text, ..WhyLine::default() }
        };
        let report = WhyReport {
            build: 12,
            trust: "untrusted".into(),
            now: vec![line(None, Some("test"), "waits for a runner with label gpu")],
            history: vec![line(Some(0), None, "queued")],
            more: false,
        };
        let collected = Collected::default();
        print(&report, &mut collected.output()).unwrap();
        let text = collected.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "now b12/test: waits for a runner with label gpu");
        assert!(lines[1].ends_with("  b12: queued"), "{text}");
        assert_eq!(lines[2], "b12 is untrusted");
    }
}
