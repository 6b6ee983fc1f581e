//! The main loop of `surveil up`: starts the roles, shows what happens, and picks the exit code.

use std::time::Duration;

use crossbeam_channel::{Receiver, after, never, select};

use super::display::Display;
use super::flags::UpFlags;
use super::goal::Goal;
use super::progress::Progress;
use super::roles::{self, RUNNER, RoleSettings, Roles};
use super::watch::{News, WatchSession};
use crate::cli::interrupt::FirstSignal;
use crate::cli::logging::Verbosity;
use crate::cli::{CliError, ExitCode, Output, interrupt, logging};
use crate::config::default_runner_name;
use crate::error_chain::chain;
use crate::protocol::operator::{BuildReport, FromOperator};
use crate::shutdown::Stop;

/// Delay before the watch session is opened again after a failure.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// Starts everything, and shows it until a signal, or until the awaited build is finished.
pub(crate) fn run(
    flags: UpFlags,
    commands: &[&str],
    verbosity: Verbosity,
    mut out: Output,
) -> Result<ExitCode, CliError> {
    if flags.once {
        // The exit code is the verdict, so the build is awaited also if nobody reads.
        out.outlive_reader();
    }
    let mut display = Display::new(out);
    logging::through(display.log_writer(), verbosity);
    let (stop, signal) = interrupt::noted_and_answered_by(vec![Stop::Now])?;
    let (once, rerun) = (flags.once, flags.rerun);
    let settings = RoleSettings::new(flags, commands)?;
    let mut goal = if once || rerun { Some(Goal::of(&settings)?) } else { None };
    let mut roles = Roles::start(settings)?;
    display.hints(roles.hints());
    display.lines(&roles.introduction())?;
    if let Some(goal) = &mut goal
        && let Some(build) = goal.find(&mut roles.session()?)?
        // An unfinished build is simply awaited.
        && build.finished_ms.is_some()
    {
        if rerun {
            roles.session()?.order(&FromOperator::Rerun {
                build: build.build.to_string(),
                failed: false,
                task: None,
            })?;
        } else {
            display.report(&build)?;
            display.lines(&[format!("This commit was built before. To build it again: {}", roles.rerun_command())])?;
            roles.end()?;
            return Ok(ExitCode::of_build(&build).unwrap_or(ExitCode::Internal));
        }
    }
    // Before the observer and the runner start, so that their first build is seen from its beginning.
    let watch = WatchSession::open(&roles, News::Before)?;
    roles.start_work()?;
    let code = follow(&roles, watch, goal.filter(|_| once), &mut display, (stop, &signal));
    display.clear();
    // An error of the loop is always returned. An error of the roles' end matters only if the loop had none.
    let ended = roles.end();
    let code = code?;
    ended.map(|()| code)
}

/// Shows what happens until a signal, the end of a role, or the end of the awaited build. After that nobody receives
/// from `stop` any more, so that another signal ends the process at once.
fn follow(
    roles: &Roles,
    watch: WatchSession,
    goal: Option<Goal>,
    display: &mut Display,
    (stop, signal): (Receiver<Stop>, &FirstSignal),
) -> Result<ExitCode, CliError> {
    let mut progress = Progress::with_room(roles.slots());
    let mut watch = Some(watch);
    let mut again = never();
    loop {
        let news = watch.as_ref().map_or_else(never, |watch| watch.news().clone());
        select! {
            recv(stop) -> _ => {
                display.clear();
                display.lines(&["Ending. What was running starts again next time.".into()])?;
                return Ok(if goal.is_some() { signal.exit_code() } else { ExitCode::Ok });
            }
            recv(roles.ended()) -> ended => match ended {
                // `surveil drain` ended it. Other runners may still execute this dispatcher's jobs.
                Ok((RUNNER, Ok(()))) if goal.is_none() => {
                    let resume = format!("`surveil resume{} {}`", roles.typed_connection(), default_runner_name());
                    let said = "The runner of this process was drained and has ended. It gets jobs again after";
                    display.lines(&[format!("{said} {resume} and a new start.")])?;
                }
                ended => return Err(roles::too_early(ended.ok())),
            },
            recv(again) -> _ => match WatchSession::open(roles, News::Change) {
                Ok(anew) => (watch, again) = (Some(anew), never()),
                Err(error) => {
                    log::warn!("lost sight of the dispatcher's builds, trying again: {}", chain(&error));
                    again = after(WATCH_AGAIN);
                }
            },
            recv(news) -> news => {
                let Ok(news) = news else {
                    // The dispatcher closes a session that reads too slowly. Its own end is reported by `ended`.
                    (watch, again) = (None, after(Duration::ZERO));
                    continue;
                };
                let happenings = match &news {
                    News::Before(build) => progress.know(build),
                    News::Change(build) => progress.update(build),
                };
                let (News::Before(build) | News::Change(build)) = news;
                for happening in happenings {
                    display.show(&build, &happening, &|| roles.session())?;
                }
                if let Some(code) = reached(goal.as_ref(), &build) {
                    return Ok(code);
                }
            }
        }
    }
}

/// The exit code, if this is the awaited build and it is finished.
fn reached(goal: Option<&Goal>, build: &BuildReport) -> Option<ExitCode> {
    let is_reached = build.finished_ms.is_some() && goal.is_some_and(|goal| goal.is(build));
    if is_reached { ExitCode::of_build(build) } else { None }
}
