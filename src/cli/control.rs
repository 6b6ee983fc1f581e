//! `surveil cancel`, `rerun`, `start`, `drain`, `resume` and `wake`: orders to the dispatcher. It answers when an
//! order is durable.

use std::path::Path;

use clap::Args;

use super::build_name::{BuildFlags, NamedBuild};
use super::operator_flags::OperatorFlags;
use super::session::{Session, person};
use super::submission::named_value;
use super::table::one_line;
use super::typed_place::known_place;
use super::{CliError, ExitCode, Output};
use crate::config::repo_name_from;
use crate::model::RepoName;
use crate::protocol::operator::FromOperator;

const CANCEL_EXAMPLES: &str = "\
The name of a matrix means all of its cells.

Examples:
  surveil cancel b12
  surveil cancel b12 deploy
  surveil cancel b12/test
  surveil cancel b12/test@stable,all
  surveil cancel HEAD";

const RERUN_EXAMPLES: &str = "\
Earlier attempts and their logs are kept; the new attempts are added. With a task, that one runs again, and the tasks \
that need it and did not pass. The name of a matrix means all of its cells, and with --failed those that did not pass.

Examples:
  surveil rerun b12/test
  surveil rerun b12/test@stable,all
  surveil rerun latest --failed && surveil show latest --wait";

const START_EXAMPLES: &str = "\
A task with `manual = true` is held, together with the tasks that need it, until it is started. `surveil show` lists \
what is held. Who started it is recorded, and with which values for its inputs; an input that has no default needs \
one. A build that has its verdict gets a new one. The name of a matrix means all of its cells that are held.

Examples:
  surveil start b12 deploy
  surveil start b12 deploy --set version=1.4.0
  surveil start b12 deploy@eu
  surveil start b12/deploy --force && surveil show b12 --wait";

const DRAIN_EXAMPLES: &str = "\
The runner's process finishes its attempts and ends, as after a first SIGTERM. The dispatcher remembers the drain: if \
the runner is started again, by a service manager or after a reboot, it connects and gets no jobs until `surveil \
resume`. A runner that is not connected can be drained too.

Examples:
  surveil drain w1";

const RESUME_EXAMPLES: &str = "\
A runner in quarantine needs no order: the quarantine ends by itself.

Examples:
  surveil resume w1";

const WAKE_EXAMPLES: &str = "\
The observer looks at every interval in any case, so a wake that is lost costs no more than that time. A hook that \
wakes it after each push is examples/hooks/post-receive in Surveil's source. A thousand wakes a second cost one look.

Examples:
  surveil wake app
  surveil wake .";

/// Cancel the unfinished jobs of a build, or one of them
#[derive(Debug, Args)]
#[command(after_help = CANCEL_EXAMPLES)]
pub(crate) struct CancelFlags {
    #[command(flatten)]
    named: BuildFlags,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Run a finished build's jobs again
#[derive(Debug, Args)]
#[command(after_help = RERUN_EXAMPLES)]
pub(crate) struct RerunFlags {
    #[command(flatten)]
    named: BuildFlags,
    /// Only the jobs that did not pass
    #[arg(long)]
    failed: bool,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Start a held task of a build, or the held cells of a matrix
#[derive(Debug, Args)]
#[command(after_help = START_EXAMPLES)]
pub(crate) struct StartFlags {
    #[command(flatten)]
    named: BuildFlags,
    /// Give this value to an input of the task; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = named_value)]
    inputs: Vec<(String, String)>,
    /// Also if the build is not the newest of its branch
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Let a runner finish its attempts, and give it no more until `resume`
#[derive(Debug, Args)]
#[command(after_help = DRAIN_EXAMPLES)]
pub(crate) struct DrainFlags {
    /// The runner's name, as in `surveil runners`
    runner: String,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Let a drained runner take jobs again
#[derive(Debug, Args)]
#[command(after_help = RESUME_EXAMPLES)]
pub(crate) struct ResumeFlags {
    /// The runner's name, as in `surveil runners`
    runner: String,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Have the observer of a repository look at it now
#[derive(Debug, Args)]
#[command(after_help = WAKE_EXAMPLES)]
pub(crate) struct WakeFlags {
    /// The repository: its name, or a directory of it, whose name it then has
    repo: String,
    #[command(flatten)]
    operator: OperatorFlags,
}

/// Cancels, and prints the dispatcher's answer.
pub(crate) fn cancel(flags: &CancelFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    flags.named.check()?;
    let mut session = flags.operator.connect()?;
    let NamedBuild { build, task } = flags.named.resolve(&mut session)?;
    order(&mut session, &FromOperator::Cancel { build, task }, out)
}

/// Reruns, and prints the dispatcher's answer.
pub(crate) fn rerun(flags: &RerunFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    flags.named.check()?;
    let mut session = flags.operator.connect()?;
    let NamedBuild { build, task } = flags.named.resolve(&mut session)?;
    order(&mut session, &FromOperator::Rerun { build, failed: flags.failed, task }, out)
}

/// Starts a held task, and prints the dispatcher's answer.
pub(crate) fn start(flags: &StartFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    flags.named.check()?;
    let mut session = flags.operator.connect()?;
    let NamedBuild { build, task } = flags.named.resolve(&mut session)?;
    let Some(task) = task else {
        let typed = flags.operator.typed();
        let text = format!(
            "name the task, such as `surveil start{typed} {build} deploy`: `surveil show{typed} {build}` lists what is held"
        );
        return Err(CliError::Usage(text));
    };
    let inputs = flags.inputs.iter().cloned().collect();
    order(&mut session, &FromOperator::Start { build, task, by: person(), force: flags.force, inputs }, out)
}

/// Drains, and prints the dispatcher's answer.
pub(crate) fn drain(flags: DrainFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    order(&mut flags.operator.connect()?, &FromOperator::Drain { runner: flags.runner }, out)
}

/// Resumes, and prints the dispatcher's answer.
pub(crate) fn resume(flags: ResumeFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    order(&mut flags.operator.connect()?, &FromOperator::Resume { runner: flags.runner }, out)
}

/// Wakes the observers of a repository, and prints the dispatcher's answer.
pub(crate) fn wake(flags: &WakeFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    let repo = match RepoName::new(&flags.repo) {
        Ok(name) => name,
        // No name, so it is a path.
        Err(_) => {
            let place = known_place(Path::new(&flags.repo))?;
            repo_name_from(&place.location().to_string_lossy())
        }
    };
    order(&mut flags.operator.connect()?, &FromOperator::Wake { repo: repo.to_string() }, out)
}

fn order(session: &mut Session, order: &FromOperator, out: &mut Output) -> Result<ExitCode, CliError> {
    let done = session.order(order)?;
    // The order is carried out, whether anybody reads that or not.
    out.outlive_reader();
    out.line(one_line(&done))?;
    Ok(ExitCode::Ok)
}
