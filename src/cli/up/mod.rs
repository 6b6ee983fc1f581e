//! `surveil up`: dispatcher, observer and one runner in threads of this process, and what they do shown live. What is
//! shown comes over an ordinary operator session, so it is what any other machine would see.
//!
//! [`roles`] starts and ends the three, [`watch`] turns the session into messages, [`goal`] knows what `--once` waits
//! for, [`progress`] decides what is news, [`display`] and [`tail`] show it.

mod display;
mod goal;
mod progress;
mod roles;
mod tail;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use crossbeam_channel::{Receiver, after, never, select};

use super::arguments::Verbosity;
use super::output::Output;
use super::{CliError, ExitCode, chain, interrupt, logging};
use crate::config::defaults;
use crate::protocol::limits::MAX_SLOTS;
use crate::protocol::operator::{BuildReport, FromOperator};
use crate::shutdown::Stop;

use display::Display;
use goal::Goal;
use roles::{Plan, RUNNER, Roles};
use watch::{News, Watch};

const EXAMPLES: &str = "\
Dispatcher, observer and one runner, for a single machine or to try Surveil. What it builds is remembered in the data \
directory, and other machines may join while it runs.

With --once the exit code tells the verdict: 0 passed, 1 failed, 3 errored, 4 cancelled. A commit that was built \
before is not built again unless --rerun says so.

Examples:
  surveil up
  surveil up ~/src/app --slots 2
  surveil up . --once";

/// So far apart it is tried to see again what happens, when that has failed.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// Everything in one process: watch a repository, build its commits, show what happens
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpFlags {
    /// The repository to watch
    #[arg(value_name = "REPO", default_value = ".")]
    pub(crate) repo: String,
    /// Stop when the current head's build is finished, with its verdict as exit code
    #[arg(long)]
    pub(crate) once: bool,
    /// Build the current head again, if it was built before
    #[arg(long)]
    pub(crate) rerun: bool,
    /// Branches to watch, as a glob; may be repeated [default: the branch that HEAD names]
    #[arg(long = "branch", value_name = "GLOB")]
    pub(crate) branches: Vec<String>,
    /// Attempts to execute at once [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_SLOTS as i64))]
    pub(crate) slots: Option<u32>,
    /// The address to listen at; 0.0.0.0 lets other machines join
    #[arg(long, default_value = defaults::HOST)]
    pub(crate) host: String,
    /// The TCP port to listen at [default: 9000, or any free one where that is taken]
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Where builds, logs, sources and tokens are kept [default: ~/.local/state/surveil]
    #[arg(long, value_name = "DIR", env = "SURVEIL_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Where the runner keeps stores and work trees [default: ~/.cache/surveil]
    #[arg(long, value_name = "DIR", env = "SURVEIL_WORK")]
    pub(crate) work: Option<PathBuf>,
}

/// Starts everything and shows it until it is asked to end, or until the build that is waited for is finished.
pub(crate) fn run(flags: UpFlags, verbosity: Verbosity, out: Output) -> Result<ExitCode, CliError> {
    let mut display = Display::new(out);
    logging::through(display.log_writer(), verbosity);
    let stop = interrupt::stop_now()?;
    let (once, rerun) = (flags.once, flags.rerun);
    let plan = Plan::new(flags)?;
    let mut goal = if once || rerun { Some(Goal::of(&plan)?) } else { None };
    let mut roles = Roles::start(plan)?;
    display.connection(roles.typed_connection());
    display.lines(&roles.introduction())?;
    if let Some(goal) = &mut goal
        && let Some(build) = goal.find(&mut roles.session()?)?
        && build.finished_ms.is_some()
    {
        if rerun {
            roles.session()?.order(&FromOperator::Rerun { build: build.build.to_string(), failed: false })?;
        } else {
            display.report(&build)?;
            display.lines(&["This commit was built before; to build it again: surveil up --once --rerun".into()])?;
            roles.end()?;
            return Ok(ExitCode::of_build(&build).unwrap_or(ExitCode::Internal));
        }
    }
    let watch = Watch::start(&roles)?;
    roles.start_work()?;
    let code = follow(&roles, watch, goal.filter(|_| once), &mut display, stop);
    display.clear();
    // An error that ended the following is told in any case; that of ending matters only without one.
    let ended = roles.end();
    let code = code?;
    ended.map(|()| code)
}

/// Shows what happens until a signal, the end of a role, or the end of the build that is waited for. From then on
/// nobody listens to `stop` any more, so that a signal ends the process at once.
fn follow(
    roles: &Roles,
    watch: Watch,
    goal: Option<Goal>,
    display: &mut Display,
    stop: Receiver<Stop>,
) -> Result<ExitCode, CliError> {
    let mut progress = progress::Progress::default();
    let mut watch = Some(watch);
    let mut again = never();
    loop {
        let news = watch.as_ref().map_or_else(never, |watch| watch.news().clone());
        select! {
            recv(stop) -> _ => {
                display.clear();
                display.lines(&["Ending. What was running starts again next time.".into()])?;
                return Ok(if goal.is_some() { ExitCode::Interrupted } else { ExitCode::Ok });
            }
            recv(roles.ended()) -> ended => match ended {
                // By `surveil drain`. Others may go on executing what this dispatcher has to give.
                Ok((RUNNER, Ok(()))) if goal.is_none() => {
                    display.lines(&["The runner of this process was drained and has ended.".into()])?;
                }
                ended => return Err(roles::too_early(ended.ok())),
            },
            recv(again) -> _ => match Watch::again(roles) {
                Ok(anew) => (watch, again) = (Some(anew), never()),
                Err(error) => {
                    log::warn!("cannot see what happens, trying again: {}", chain(&error));
                    again = after(WATCH_AGAIN);
                }
            },
            recv(news) -> news => {
                let (build, happenings) = match news {
                    Ok(News::Before(build)) => {
                        let happenings = progress.know(&build);
                        (build, happenings)
                    }
                    Ok(News::Change(build)) => {
                        let happenings = progress.update(&build);
                        (build, happenings)
                    }
                    Err(_) => {
                        // The dispatcher closes a session that is slow to read; its own end comes by `ended`.
                        (watch, again) = (None, after(Duration::ZERO));
                        continue;
                    }
                };
                for happening in happenings {
                    display.show(&build, &happening, || roles.session())?;
                }
                if let Some(code) = reached(goal.as_ref(), &build) {
                    return Ok(code);
                }
            }
        }
    }
}

/// The exit code, if this is the finished build that is waited for.
fn reached(goal: Option<&Goal>, build: &BuildReport) -> Option<ExitCode> {
    let is_reached = build.finished_ms.is_some() && goal.is_some_and(|goal| goal.is(build));
    if is_reached { ExitCode::of_build(build) } else { None }
}
