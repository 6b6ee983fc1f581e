//! `surveil watch`: the live display of `surveil up`, for any build of any dispatcher. `surveil show --wait` on a
//! terminal is the same. In a pipe it prints a line for each thing that happens.

use clap::Args;

use super::build_name::{BuildFlags, NamedBuild};
use super::flags::DispatchFlags;
use super::hints::Hints;
use super::session::Session;
use super::show::{build_named, same_build};
use super::up::{Display, Progress};
use super::{CliError, ExitCode, Output};
use crate::protocol::operator::{BuildReport, ToOperator};

const EXAMPLES: &str = "\
On a terminal each running job has a line with the newest line of its output. The exit code is the verdict: 0 passed, \
1 failed, 3 errored, 4 cancelled. A dispatcher that restarts meanwhile is waited for.

Examples:
  surveil watch
  surveil watch b12";

/// Watch a build until it is finished, and exit with its verdict
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WatchFlags {
    /// The build: its number (12, b12, #12), the beginning of its commit, `latest`, or a name of the repository here
    /// (HEAD~1)
    #[arg(default_value = "latest")]
    build: String,
    /// The build is of this repository [default for `latest`: the one of the current directory, if it has builds]
    #[arg(long, value_name = "NAME")]
    repo: Option<String>,
    /// The build is of this branch
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,
    #[command(flatten)]
    operator: DispatchFlags,
}

/// Watches the build that was typed.
pub(crate) fn run(flags: &WatchFlags, out: Output) -> Result<ExitCode, CliError> {
    let named = BuildFlags::new(flags.build.clone(), flags.repo.clone(), flags.branch.clone());
    build(&flags.operator, &named, out)
}

/// Shows what happens to a build until it is finished.
pub(crate) fn build(operator: &DispatchFlags, named: &BuildFlags, mut out: Output) -> Result<ExitCode, CliError> {
    // The exit code is the verdict, whether anybody reads what is shown or not.
    out.outlive_reader();
    let mut session = operator.connect()?;
    let (NamedBuild { build, .. }, found) = named.resolve_quietly(&mut session)?;
    let known = found.map_or_else(|| build_named(&mut session, &build), Ok)?;
    follow(operator, session, &known, Hints::of(operator), out)
}

/// Shows what happens to a known build until it is finished.
pub(crate) fn until_finished(
    operator: &DispatchFlags,
    known: &BuildReport,
    hints: Hints,
    out: Output,
) -> Result<ExitCode, CliError> {
    follow(operator, operator.connect()?, known, hints, out)
}

fn follow(
    operator: &DispatchFlags,
    session: Session,
    known: &BuildReport,
    hints: Hints,
    out: Output,
) -> Result<ExitCode, CliError> {
    let mut watched = Watched { operator, progress: Progress::default(), display: Display::new(out) };
    watched.display.hints(hints);
    let finished = operator.persist(session, |session| watched.follow(session, known));
    watched.display.clear();
    ExitCode::of_build(&finished?).ok_or(CliError::Unexpected("`watch`"))
}

/// The state of the display, which outlives the sessions.
struct Watched<'a> {
    operator: &'a DispatchFlags,
    progress: Progress,
    display: Display,
}

impl Watched<'_> {
    /// Shows what happens until the build is finished or the session ends.
    fn follow(&mut self, session: &mut Session, known: &BuildReport) -> Result<BuildReport, CliError> {
        let mut watching = self.operator.connect()?.watch()?;
        // The watch does not report earlier changes, so the build is asked for again after it has begun.
        let mut now = build_named(session, &known.build.to_string())?;
        same_build(known, &now)?;
        let _alive = watching.keep_alive()?;
        loop {
            self.show(&now)?;
            if now.finished_ms.is_some() {
                return Ok(now);
            }
            now = loop {
                let ToOperator::Build(report) = watching.next()? else { return Err(CliError::Unexpected("`watch`")) };
                if report.build == known.build {
                    break *report;
                }
            };
        }
    }

    fn show(&mut self, build: &BuildReport) -> Result<(), CliError> {
        for happening in self.progress.update(build) {
            self.display.show(build, &happening, &|| self.operator.connect())?;
        }
        Ok(())
    }
}
