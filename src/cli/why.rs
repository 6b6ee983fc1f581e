//! `surveil why`: prints what a build waits for, and the decisions about it with their reasons.

use std::collections::HashMap;

use clap::Args;

use super::build_name::{BuildFlags, NamedBuild};
use super::flags::FormatFlags;
use super::operator_flags::OperatorFlags;
use super::output::{bold, dim};
use super::report::present;
use super::table::{first_line, one_line};
use super::{CliError, ExitCode, Output, fold, human};
use crate::protocol::operator::{FromOperator, ToOperator, WhyLine, WhyReport};

const EXAMPLES: &str = "\
The name of a matrix means all of its cells. Cells of which the same is told have one line.

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
    operator: OperatorFlags,
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
    for alike in folded(&report.now) {
        out.line(format_args!("{} {}", bold("now"), sentence(report.build, &alike)))?;
    }
    let moment = |line: &WhyLine| line.at_ms.map(human::moment).unwrap_or_default();
    // Cells are folded within a moment, so that the history stays in its order.
    for at_once in report.history.chunk_by(|one, next| moment(one) == moment(next)) {
        for alike in folded(at_once) {
            out.line(format_args!("{}  {}", dim(moment(alike[0])), sentence(report.build, &alike)))?;
            let (_, more) = first_line(&alike[0].text);
            more.iter().try_for_each(|line| out.line(format!("    {line}").trim_end()))?;
        }
    }
    if !report.trust.is_empty() {
        out.line(format_args!("b{} is {}", report.build, one_line(&report.trust)))?;
    }
    if report.now.is_empty() && report.history.is_empty() {
        out.line(format_args!("b{}: nothing is recorded about it", report.build))?;
    }
    Ok(())
}

/// Groups the lines that tell the same of cells of one matrix. A group stands where its first line stood.
fn folded(lines: &[WhyLine]) -> Vec<Vec<&WhyLine>> {
    let mut groups: Vec<Vec<&WhyLine>> = Vec::new();
    let mut places = HashMap::new();
    for line in lines {
        let matrix = line.task.as_deref().filter(|task| task.contains('@')).map(fold::written);
        match matrix.map(|matrix| *places.entry((matrix, &*line.text)).or_insert(groups.len())) {
            Some(place) if place < groups.len() => groups[place].push(line),
            Some(_) | None => groups.push(vec![line]),
        }
    }
    groups
}

/// Formats `b12/test: waits for build`, and for several cells `b12/test@…: waits for build (5 cells)`.
fn sentence(build: u64, alike: &[&WhyLine]) -> String {
    let (text, _) = first_line(&alike[0].text);
    match (&alike[0].task, alike.len()) {
        (Some(task), 1) => format!("b{build}/{task}: {text}"),
        (Some(task), cells) => format!("b{build}/{}@…: {text} ({cells} cells)", fold::written(task)),
        (None, _) => format!("b{build}: {text}"),
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

    #[test]
    fn cells_of_which_the_same_is_told_have_one_line() {
        let line = |at_ms, task: &str, text: &str| WhyLine {
            at_ms,
            task: Some(task.to_owned()),
            text: text.into(),
            ..WhyLine::default()
        };
        let now = [("t@1", "waits"), ("t@2", "runs"), ("t@3", "waits"), ("u@1", "waits"), ("v", "waits")];
        let history = [(1, "t@1", "ran"), (2, "t@2", "ran"), (60_000, "t@3", "ran"), (60_001, "v", "ran")];
        let report = WhyReport {
            build: 12,
            trust: String::new(),
            now: now.map(|(task, text)| line(None, task, text)).into(),
            history: history.map(|(at, task, text)| line(Some(at), task, text)).into(),
            more: false,
        };
        let collected = Collected::default();
        print(&report, &mut collected.output()).unwrap();
        let text = collected.text();
        let told: Vec<&str> = text.lines().map(|line| line.split_once("b12/").unwrap().1).collect();
        let of_now = ["t@…: waits (2 cells)", "t@2: runs", "u@1: waits", "v: waits"];
        let of_history = ["t@…: ran (2 cells)", "t@3: ran", "v: ran"];
        assert_eq!(told, [&of_now[..], &of_history[..]].concat());
    }
}
