//! `surveil cancel`, `rerun`, `drain` and `resume`: orders to the dispatcher. It answers when an order is durable.

use clap::Args;

use super::build_name::{BuildFlags, NamedBuild};
use super::flags::DispatchFlags;
use super::session::Session;
use super::table::one_line;
use super::{CliError, ExitCode, Output};
use crate::protocol::operator::FromOperator;

const CANCEL_EXAMPLES: &str = "\
Examples:
  surveil cancel b12
  surveil cancel b12 deploy
  surveil cancel HEAD";

const RERUN_EXAMPLES: &str = "\
Earlier attempts and their logs are kept; the new attempts are added. With a task, that one runs again, and the tasks \
that need it and did not pass.

Examples:
  surveil rerun b12/test
  surveil rerun latest --failed && surveil show latest --wait";

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

/// Cancel the unfinished jobs of a build, or one of them
#[derive(Debug, Args)]
#[command(after_help = CANCEL_EXAMPLES)]
pub(crate) struct CancelFlags {
    #[command(flatten)]
    named: BuildFlags,
    #[command(flatten)]
    operator: DispatchFlags,
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
    operator: DispatchFlags,
}

/// Let a runner finish its attempts, and give it no more until `resume`
#[derive(Debug, Args)]
#[command(after_help = DRAIN_EXAMPLES)]
pub(crate) struct DrainFlags {
    /// The runner's name, as in `surveil runners`
    runner: String,
    #[command(flatten)]
    operator: DispatchFlags,
}

/// Let a drained runner take jobs again
#[derive(Debug, Args)]
#[command(after_help = RESUME_EXAMPLES)]
pub(crate) struct ResumeFlags {
    /// The runner's name, as in `surveil runners`
    runner: String,
    #[command(flatten)]
    operator: DispatchFlags,
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

/// Drains, and prints the dispatcher's answer.
pub(crate) fn drain(flags: DrainFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    order(&mut flags.operator.connect()?, &FromOperator::Drain { runner: flags.runner }, out)
}

/// Resumes, and prints the dispatcher's answer.
pub(crate) fn resume(flags: ResumeFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    order(&mut flags.operator.connect()?, &FromOperator::Resume { runner: flags.runner }, out)
}

fn order(session: &mut Session, order: &FromOperator, out: &mut Output) -> Result<ExitCode, CliError> {
    let done = session.order(order)?;
    // The order is carried out, whether anybody reads that or not.
    out.outlive_reader();
    out.line(one_line(&done))?;
    Ok(ExitCode::Ok)
}
