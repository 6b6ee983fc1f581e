//! `surveil show`: prints one build with its jobs and attempts, and waits for its end with `--wait`. Other commands use
//! the printing (`build_text.rs`) and the waiting (`wait.rs`), too.

mod build_text;
mod wait;

use clap::Args;

use super::build_name::{BuildFlags, NamedBuild};
use super::flags::{Format, FormatFlags};
use super::fold;
use super::hints::Hints;
use super::operator_flags::OperatorFlags;
use super::output::dim;
use super::report::present;
use super::{CliError, ExitCode, Output, excerpt};
use crate::clock;
use crate::error_chain::chain;
use crate::model::JobStateKind;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::operator::{BuildReport, JobReport};

pub(crate) use build_text::{Folding, ending, print};
pub(crate) use wait::{build_named, same_build, until_finished};

const EXAMPLES: &str = "\
With --wait, the exit code is the verdict: 0 passed, 1 failed, 3 errored, 4 cancelled. A dispatcher that restarts \
meanwhile is waited for, too. On a terminal, --wait is `surveil watch`.

Examples:
  surveil show latest
  surveil show b12
  surveil show 4f2a91c --wait && ./deploy.sh";

/// Show one build: its jobs, their attempts, and how to run a failed one by hand
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ShowFlags {
    #[command(flatten)]
    named: BuildFlags,
    /// Wait until the build is finished, and exit with its verdict
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    format: FormatFlags,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Prints the answer.
pub(crate) fn run(flags: ShowFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    flags.named.check()?;
    let mut session = flags.operator.connect_or_read()?;
    let (NamedBuild { build, task }, found) = flags.named.resolve_quietly(&mut session)?;
    let mut report = found.map_or_else(|| build_named(&mut session, &build), Ok)?;
    if flags.wait {
        // The exit code is the verdict, whether anybody reads the report or not.
        out.outlive_reader();
        report = until_finished(&flags.operator, session, report)?;
    }
    if let Some(task) = &task {
        only(&mut report, task)?;
    }
    // A person who names a matrix wants to see its cells.
    let folding = if task.is_some() { Folding::None } else { Folding::Matrices };
    let hints = Hints::of(&flags.operator);
    let is_for_people = flags.format.get() == Format::Table;
    present(&report, flags.format.get(), out, |report, out| print(report, (folding, clock::wall().0), &hints, out))?;
    if is_for_people {
        excerpts(&flags.operator, &report, out)?;
    }
    let verdict = if flags.wait { ExitCode::of_build(&report) } else { None };
    Ok(verdict.unwrap_or(ExitCode::Ok))
}

impl ShowFlags {
    /// The build to watch live, if that is what these flags mean: a person waits for it at a terminal.
    pub(crate) fn watched(&self, out: &Output) -> Option<(&OperatorFlags, &BuildFlags)> {
        let is_live = self.wait && self.format.get() == Format::Table && out.width().is_some();
        is_live.then_some((&self.operator, &self.named))
    }
}

/// Number of last lines of a failed job's log, and number of failed jobs of which they are shown.
const LAST_LINES: usize = 10;
const SHOWN_JOBS: usize = 5;

/// Prints the last lines of the logs of failed jobs.
fn excerpts(operator: &OperatorFlags, build: &BuildReport, out: &mut Output) -> Result<(), CliError> {
    let is_bad = |job: &&JobReport| JobStateKind::of_word(&job.state).is_some_and(JobStateKind::is_bad);
    let bad = build.jobs.iter().filter(is_bad).filter(|job| job.attempts.last().is_some_and(|it| it.log_bytes > 0));
    for job in bad.take(SHOWN_JOBS) {
        // A session of its own: that of a command that waited may have ended since.
        match operator.connect_or_read().and_then(|mut session| excerpt::of_job(&mut session, build, job, LAST_LINES)) {
            Ok(lines) => {
                out.line(format_args!("\nthe log of {} ends with:", job.task))?;
                lines.iter().try_for_each(|line| out.line(format_args!("  {} {line}", dim("|"))))?;
            }
            // The report matters more than the excerpt, and names the command that shows the whole log.
            Err(error) => log::warn!("could not read the log of {}: {}", job.task, chain(&error)),
        }
    }
    Ok(())
}

/// Leaves out all jobs but that of one task, or those of a matrix.
fn only(report: &mut BuildReport, task: &str) -> Result<(), CliError> {
    if !report.jobs.iter().any(|job| fold::is_meant(task, &job.task)) {
        // The cells of a matrix are listed if it is the one that is meant.
        let is_near = |job: &&JobReport| task.contains('@') && fold::written(task) == fold::written(&job.task);
        let near: Vec<&str> = report.jobs.iter().filter(is_near).map(|job| &*job.task).collect();
        let all = || fold::names(report.jobs.iter().map(|job| &*job.task));
        let tasks = if near.is_empty() { all() } else { near.join(", ") };
        let text = match &report.problem {
            Some(problem) if report.jobs.is_empty() => format!("build b{} has no tasks: {problem}", report.build),
            _ => format!("build b{} has no task `{}`; it has {tasks}", report.build, Refusal::quote(task)),
        };
        return Err(CliError::Refused(Refusal::new(ErrorCode::NotFound, text)));
    }
    report.jobs.retain(|job| fold::is_meant(task, &job.task));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::{build, job};

    #[test]
    fn a_matrix_is_named_whole_or_by_one_cell() {
        let cells = ["test@1.85,all", "test@stable,all", "test@nightly,all"];
        let mut report = build(12, "failed", cells.map(|cell| job(cell, "passed", vec![])).into());
        report.jobs.push(job("deploy", "waiting", vec![]));
        only(&mut report, "test").unwrap();
        assert_eq!(report.jobs.len(), 3);
        let error = only(&mut report, "test@beta,all").unwrap_err().to_string();
        assert!(error.ends_with("it has test@1.85,all, test@stable,all, test@nightly,all"), "{error}");
        only(&mut report, "test@stable,all").unwrap();
        assert_eq!(report.jobs.len(), 1);
        let mut broken = build(13, "errored", vec![]);
        broken.problem = Some("there is no task file".into());
        let error = only(&mut broken, "test").unwrap_err().to_string();
        assert_eq!(error, "build b13 has no tasks: there is no task file");
    }
}
