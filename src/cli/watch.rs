//! `surveil watch`: the live display of `surveil up`, for any build of any dispatcher. `surveil show --wait` on a
//! terminal is the same. In a pipe it prints a line for each thing that happens.

use clap::Args;

use super::build_name::{BuildFlags, NamedBuild};
use super::hints::Hints;
use super::operator_flags::OperatorFlags;
use super::session::Session;
use super::show::{build_named, same_build};
use super::stop_switch::StopSwitch;
use super::up::{Display, Progress};
use super::{CliError, ExitCode, Output};
use crate::model::JobStateKind;
use crate::protocol::operator::{BuildReport, JobReport, ToOperator};

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
    operator: OperatorFlags,
}

/// Watches the build that was typed.
pub(crate) fn run(flags: &WatchFlags, out: Output) -> Result<ExitCode, CliError> {
    let named = BuildFlags::new(flags.build.clone(), flags.repo.clone(), flags.branch.clone());
    build(&flags.operator, &named, out)
}

/// Shows what happens to a build until it is finished.
pub(crate) fn build(operator: &OperatorFlags, named: &BuildFlags, mut out: Output) -> Result<ExitCode, CliError> {
    // The exit code is the verdict, whether anybody reads what is shown or not.
    out.outlive_reader();
    let mut session = operator.connect_or_read()?;
    let (NamedBuild { build, .. }, found) = named.resolve_quietly(&mut session)?;
    let known = found.map_or_else(|| build_named(&mut session, &build), Ok)?;
    verdict(follow(operator, session, &known, Until::default(), Some((Hints::of(operator), out)))?)
}

/// Shows what happens to a known build until it is finished.
pub(crate) fn until_finished(
    operator: &OperatorFlags,
    known: &BuildReport,
    hints: Hints,
    out: Output,
) -> Result<ExitCode, CliError> {
    verdict(follow(operator, operator.connect()?, known, Until::default(), Some((hints, out)))?)
}

fn verdict(followed: Followed) -> Result<ExitCode, CliError> {
    let Followed::Finished(report) = followed else { return Err(CliError::Unexpected("`watch`")) };
    ExitCode::of_build(&report).ok_or(CliError::Unexpected("`watch`"))
}

/// What ends the following of a build before its verdict.
#[derive(Default)]
pub(crate) struct Until<'a> {
    /// A task that fails and may not fail.
    pub(crate) first_failure: bool,
    /// A signal.
    pub(crate) stop: Option<&'a StopSwitch>,
}

/// Why the following of a build ended.
pub(crate) enum Followed {
    Finished(BuildReport),
    FirstFailure(BuildReport),
    Stopped,
}

/// Follows a known build until something ends that. Shows what happens if there is an output for it.
pub(crate) fn follow(
    operator: &OperatorFlags,
    session: Session,
    known: &BuildReport,
    until: Until<'_>,
    shown: Option<(Hints, Output)>,
) -> Result<Followed, CliError> {
    let display = shown.map(|(hints, out)| {
        let mut display = Display::new(out);
        display.hints(hints);
        display
    });
    let mut watched = Watched { operator, progress: Progress::default(), display, until };
    let followed = operator.persist(session, |session| watched.follow_or_stop(session, known));
    watched.display.iter_mut().for_each(Display::clear);
    followed
}

/// The state of the display, which outlives the sessions.
struct Watched<'a> {
    operator: &'a OperatorFlags,
    progress: Progress,
    display: Option<Display>,
    until: Until<'a>,
}

impl Watched<'_> {
    fn follow_or_stop(&mut self, session: &mut Session, known: &BuildReport) -> Result<Followed, CliError> {
        let Some(stop) = self.until.stop else { return self.follow(session, known) };
        if stop.is_set() {
            return Ok(Followed::Stopped);
        }
        Ok(stop.unless_set(|| self.follow(session, known))?.unwrap_or(Followed::Stopped))
    }

    /// Shows what happens until the build is finished or the session ends.
    fn follow(&mut self, session: &mut Session, known: &BuildReport) -> Result<Followed, CliError> {
        if !session.is_live() && known.finished_ms.is_some() {
            // Nothing changes while no dispatcher runs.
            self.show(known, &|| self.operator.connect_or_read())?;
            return Ok(Followed::Finished(known.clone()));
        }
        let mut watching = self.operator.connect()?.watch()?;
        if let Some(stop) = self.until.stop {
            stop.closes(watching.stream());
        }
        // The watch does not report earlier changes, so the build is asked for again after it has begun.
        let mut now = build_named(session, &known.build.to_string())?;
        same_build(known, &now)?;
        let _alive = watching.keep_alive()?;
        loop {
            self.show(&now, &|| self.operator.connect())?;
            if now.finished_ms.is_some() {
                return Ok(Followed::Finished(now));
            }
            if self.until.first_failure && now.jobs.iter().any(is_failure) {
                return Ok(Followed::FirstFailure(now));
            }
            now = loop {
                let ToOperator::Build(report) = watching.next()? else { return Err(CliError::Unexpected("`watch`")) };
                if report.build == known.build {
                    break *report;
                }
            };
        }
    }

    fn show(&mut self, build: &BuildReport, open: &dyn Fn() -> Result<Session, CliError>) -> Result<(), CliError> {
        let Some(display) = &mut self.display else { return Ok(()) };
        for happening in self.progress.update(build) {
            display.show(build, &happening, open)?;
        }
        Ok(())
    }
}

/// Whether a job is one that the build cannot pass with.
fn is_failure(job: &JobReport) -> bool {
    JobStateKind::of_word(&job.state).is_some_and(JobStateKind::is_bad) && !job.allow_failure
}
