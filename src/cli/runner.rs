//! `surveil runner`: turns flags into settings, then runs the role.

use std::path::PathBuf;

use clap::Args;
use crossbeam_channel::Receiver;

use super::flags::DispatchFlags;
use super::image_flags::ImageFlags;
use super::join::{JoinFlags, Membership, Newcomer};
use super::quantity::{Bytes, Millis};
use super::typed_place::holder;
use super::{CliError, ExitCode, interrupt};
use crate::config::{RunnerSettings, default_runner_name, defaults, own_facts, work_dir};
use crate::model::{Address, Label, RunnerName, SpawnId, TierRange};
use crate::protocol::hello::Role;
use crate::protocol::limits::{MAX_LABELS, MAX_SLOTS};
use crate::runner;
use crate::shutdown::Stop;

const EXAMPLES: &str = "\
A runner needs no git, no credentials and no route to the repository: the source comes over its connection. It dials \
the dispatcher, so it works behind NAT. With --host or --port it listens, and the dispatcher dials it.

The first SIGTERM or Ctrl-C lets it finish its attempts without taking more; the second ends these attempts in order; \
the third ends the process at once. Results that the dispatcher does not take in time stay for the next start; the \
exit code is 5 then.

Examples:
  surveil runner
  surveil runner --dispatch ci.example.org:9000 --join sv1.7f3k.…
  surveil runner --dispatch ci.example.org:9000 --token-file runner.token
  surveil runner --slots 4 --label gpu --label distribution=debian
  surveil runner --host 10.0.0.7 --port 9001 --dispatch 10.0.0.5:9000";

/// Execute the tasks of commits, each in a clean work tree
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunnerFlags {
    /// A repository on this machine, or a directory in it, to take objects from before asking the dispatcher for them
    #[arg(value_name = "REPO")]
    pub(crate) repo: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) dispatch: DispatchFlags,
    #[command(flatten)]
    pub(crate) join: JoinFlags,
    /// Listen at this address for the dispatcher instead of dialling it
    #[arg(long, help_heading = "Connection")]
    pub(crate) host: Option<String>,
    /// Listen at this port for the dispatcher instead of dialling it; 0 for any free port
    #[arg(long, help_heading = "Connection")]
    pub(crate) port: Option<u16>,

    /// The runner's name, unique at its dispatcher [default: this machine's name]
    #[arg(long, help_heading = "Capabilities")]
    pub(crate) name: Option<String>,
    /// Most attempts to execute at a time [default: one for each core]
    #[arg(
        long,
        value_name = "N",
        help_heading = "Capabilities",
        value_parser = clap::value_parser!(u32).range(1..=MAX_SLOTS as i64)
    )]
    pub(crate) slots: Option<u32>,
    /// Label that tasks may require, WORD or KEY=VALUE; may be repeated. os, arch and hostname are always offered
    #[arg(long = "label", value_name = "LABEL", value_parser = Label::new, help_heading = "Capabilities")]
    pub(crate) labels: Vec<Label>,

    #[command(flatten, next_help_heading = "Capabilities")]
    pub(crate) images: ImageFlags,

    /// Least and most isolation to offer: TIER or LEAST..MOST of shared, guarded, sealed [default: all that can be]
    #[arg(long, value_name = "TIERS", value_parser = tiers, help_heading = "Limits")]
    pub(crate) isolation: Option<TierRange>,
    /// Directory for stores and work trees [default: ~/.cache/surveil]
    #[arg(long, value_name = "DIR", env = "SURVEIL_WORK", help_heading = "Limits")]
    pub(crate) work: Option<PathBuf>,
    /// Most bytes to keep of an attempt's output: its head and its tail
    #[arg(long, value_name = "SIZE", default_value_t = Bytes(defaults::LOG_LIMIT_BYTES), help_heading = "Limits")]
    pub(crate) log_limit: Bytes,
    /// Most files that the artifacts of an attempt have together
    #[arg(long, value_name = "N", default_value_t = defaults::ARTIFACT_FILES, help_heading = "Limits")]
    pub(crate) artifact_files: u64,
    /// Most bytes that the artifacts of an attempt have together
    #[arg(long, value_name = "SIZE", default_value_t = Bytes(defaults::ARTIFACT_BYTES), help_heading = "Limits")]
    pub(crate) artifact_size: Bytes,
    /// Most bytes that the cache for tasks with `tool_cache` takes in the work directory; 0 for none
    #[arg(long, value_name = "SIZE", default_value_t = Bytes(defaults::TOOL_CACHE_BYTES), help_heading = "Limits")]
    pub(crate) tool_cache_size: Bytes,
    /// Most bytes of copies of files of caches and taken artifacts to keep in the work directory
    #[arg(long, value_name = "SIZE", default_value_t = Bytes(defaults::CACHE_BYTES), help_heading = "Limits")]
    pub(crate) cache_size: Bytes,
    /// Take no job if the work directory has less free space than this
    #[arg(long, value_name = "SIZE", default_value_t = Bytes(defaults::MIN_FREE_BYTES), help_heading = "Limits")]
    pub(crate) min_free: Bytes,
    /// Time that processes have to end before they are killed
    #[arg(long, value_name = "TIME", default_value_t = Millis(defaults::GRACE_MS), help_heading = "Limits")]
    pub(crate) grace: Millis,
    /// Time that a draining runner without attempts waits for a dispatcher that takes no results
    #[arg(long, value_name = "TIME", default_value_t = Millis(defaults::DELIVERY_MS), help_heading = "Limits")]
    pub(crate) delivery_timeout: Millis,
    /// End after this time without work [default: never]
    #[arg(long, value_name = "TIME", help_heading = "Limits")]
    pub(crate) idle_exit: Option<Millis>,

    /// The number under which a dispatcher started this runner for its own waiting work
    #[arg(long, hide = true, value_name = "N")]
    pub(crate) spawn: Option<u64>,
}

impl RunnerFlags {
    /// Joins the dispatcher, if a token is given. A peer that joined before has its credential.
    fn join(&self, stop: &Receiver<Stop>) -> Result<Option<Membership>, CliError> {
        if self.dispatch.proof.token_file.is_some() {
            return Ok(None);
        }
        let newcomer = Newcomer {
            role: Role::Runner,
            word: "runner",
            directory: &work_dir(self.work.clone()),
            dispatch: &self.dispatch.dispatch,
            pins: &self.dispatch.proof.pins,
            name: self.name.as_deref(),
            default_name: default_runner_name().to_string(),
        };
        newcomer.join(&self.join, stop)
    }

    /// Checks the flags and makes settings of them.
    pub(crate) fn settings(self, membership: Option<Membership>) -> Result<RunnerSettings, CliError> {
        let (token, pins, own_name) = match membership {
            Some(Membership { token, pins, name }) => (token, pins, Some(name)),
            None => (self.dispatch.proof.token("runner"), self.dispatch.proof.find_pins(&self.dispatch.dispatch), None),
        };
        let name = self.name.or(own_name);
        let name = name.map_or_else(|| Ok(default_runner_name()), |name| RunnerName::new(&name));
        let name = name.map_err(|error| CliError::Usage(error.to_string()))?;
        // Four more say how the runner guards and limits its attempts.
        let most = MAX_LABELS - own_facts().len() - 4;
        if self.labels.len() > most {
            return Err(CliError::Usage(format!("at most {most} labels are allowed")));
        }
        Ok(RunnerSettings {
            images: self.images.tools()?,
            name,
            token,
            pins,
            dispatch: self.dispatch.dispatch,
            work: work_dir(self.work),
            slots: self.slots.unwrap_or_else(defaults::slots),
            labels: self.labels,
            listen: listen(self.host, self.port),
            local_source: self.repo.map(|repo| {
                // The runner warns of what is no repository when it would read it.
                holder(&repo, "which is read", |text| log::info!("{text}")).ok().flatten().unwrap_or(repo)
            }),
            isolation: self.isolation,
            log_limit: self.log_limit.0,
            artifact_files: self.artifact_files,
            artifact_bytes: self.artifact_size.0,
            tool_cache_bytes: self.tool_cache_size.0,
            cache_bytes: self.cache_size.0,
            min_free: self.min_free.0,
            grace_ms: self.grace.0,
            delivery_ms: self.delivery_timeout.0,
            idle_exit_ms: self.idle_exit.map(|idle| idle.0),
            spawn: self.spawn.map(SpawnId),
        })
    }
}

/// Reads the tiers that a runner offers by itself.
fn tiers(typed: &str) -> Result<TierRange, String> {
    let help = "it is shared, guarded or sealed, or the least and the most of these, such as guarded..sealed";
    TierRange::read(typed).ok_or_else(|| help.to_owned())
}

/// The address to listen at, if either half of one was typed.
fn listen(host: Option<String>, port: Option<u16>) -> Option<Address> {
    if host.is_none() && port.is_none() {
        return None;
    }
    Some(Address { host: host.unwrap_or_else(|| defaults::HOST.into()), port: port.unwrap_or(0) })
}

/// Runs the role until it is asked to end.
pub(crate) fn run(flags: RunnerFlags) -> Result<ExitCode, CliError> {
    let stop = interrupt::drain_then_stop()?;
    let membership = flags.join(&stop)?;
    runner::run(flags.settings(membership)?, &stop)?;
    Ok(ExitCode::Ok)
}
