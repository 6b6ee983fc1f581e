//! `surveil dispatcher`: turns flags into settings, then runs the role.

use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::quantity::{Bytes, Limit, Millis};
use super::token::join_command;
use super::{CliError, ExitCode, interrupt};
use crate::config::{DispatcherSettings, Retention, data_dir, defaults};
use crate::dispatcher::Dispatcher;
use crate::model::{Address, Network, Pin};

const EXAMPLES: &str = "\
One dispatcher serves any number of observers, runners and operators over one TCP port. It acknowledges nothing that \
is not on disk yet, so it may be killed at any time, and the next start continues where it stopped.

The data directory holds one token for each role, in tokens/. Commands of the same user on this machine find them \
there. Another machine joins with the line that `surveil token create` prints; a dispatcher that listens beyond this \
machine prints one for a runner at its start, if that is on a terminal. Such connections are encrypted, and go to this \
dispatcher only: the token has its pin. Plain text is for this machine.

Examples:
  surveil dispatcher
  surveil dispatcher --host 10.0.0.5 --data /var/lib/surveil --spawn 0";

/// How long the line that is printed at the start lets a runner join.
const LINE_TTL: Duration = Duration::from_secs(60 * 60);

/// Headings of flags in the help.
const RUNNERS: &str = "Runners";
const REMOVAL: &str = "Removing old builds";

/// Accept commits from observers, hand their tasks to runners, and remember the results
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DispatcherFlags {
    /// The address to listen at; 0.0.0.0 for all networks of this machine
    #[arg(long, default_value = defaults::HOST, help_heading = "Listening")]
    pub(crate) host: String,
    /// The TCP port to listen at; 0 for any free port
    #[arg(long, default_value_t = defaults::PORT, help_heading = "Listening")]
    pub(crate) port: u16,
    /// Network from which plain text is accepted, such as 10.0.0.0/8; may be repeated [default: this machine only]
    #[arg(long, value_name = "CIDR", help_heading = "Listening")]
    pub(crate) plain_text_from: Vec<Network>,
    /// Most connections at a time; further ones are refused
    #[arg(long, value_name = "N", default_value_t = defaults::MAX_CONNECTIONS, help_heading = "Listening")]
    pub(crate) max_connections: usize,

    /// Directory for builds, logs, sources and tokens [default: ~/.local/state/surveil]
    #[arg(long, value_name = "DIR", env = "SURVEIL_DATA", help_heading = "State")]
    pub(crate) data: Option<PathBuf>,
    /// File with the key that opens the secrets; it is made when the first secret is set [default: secrets.key in the
    /// data directory]
    #[arg(long, value_name = "FILE", env = "SURVEIL_SECRETS_KEY_FILE", help_heading = "State")]
    pub(crate) secrets_key_file: Option<PathBuf>,

    /// Most runners to start on this machine when jobs wait and no connected runner fits; 0 for none
    #[arg(long, value_name = "N", default_value_t = defaults::SPAWN, help_heading = RUNNERS)]
    pub(crate) spawn: u32,
    /// How often runners are asked for a sign of life
    #[arg(long, value_name = "TIME", default_value_t = Millis(defaults::HEARTBEAT_INTERVAL_MS), help_heading = RUNNERS)]
    pub(crate) heartbeat_interval: Millis,
    /// Silence after which a runner counts as lost and its jobs go to others
    #[arg(long, value_name = "TIME", default_value_t = Millis(defaults::HEARTBEAT_TIMEOUT_MS), help_heading = RUNNERS)]
    pub(crate) heartbeat_timeout: Millis,
    /// Time that a runner has to reconnect after its connection closed, before its jobs go to others
    #[arg(long, value_name = "TIME", default_value_t = Millis(defaults::RECONNECT_MS), help_heading = RUNNERS)]
    pub(crate) reconnect_window: Millis,

    /// How long finished builds are kept, or `never` for no limit; the newest ones of each branch are always kept
    #[arg(long, value_name = "TIME", default_value_t = Limit(Some(Millis(defaults::KEEP_MS))), help_heading = REMOVAL)]
    pub(crate) keep_for: Limit<Millis>,
    /// How many finished builds of each repository are kept, or `never` for no limit
    #[arg(long, value_name = "N", default_value_t = Limit(Some(defaults::KEEP_BUILDS)), help_heading = REMOVAL)]
    pub(crate) keep_builds: Limit<u32>,
    /// Total size of logs beyond which the oldest builds are removed, or `never` for no limit
    #[arg(
        long,
        value_name = "SIZE",
        default_value_t = Limit(Some(Bytes(defaults::KEEP_LOGS_BYTES))),
        help_heading = REMOVAL
    )]
    pub(crate) keep_logs: Limit<Bytes>,
    /// How long artifacts are kept after their build finished, or `never` for no limit; those of the newest passed
    /// build of each branch and tag stay however old they are
    #[arg(
        long,
        value_name = "TIME",
        default_value_t = Limit(Some(Millis(defaults::KEEP_ARTIFACTS_MS))),
        help_heading = REMOVAL
    )]
    pub(crate) keep_artifacts_for: Limit<Millis>,
    /// How many builds of each repository keep their artifacts, or `never` for no limit
    #[arg(
        long,
        value_name = "N",
        default_value_t = Limit(Some(defaults::KEEP_ARTIFACT_BUILDS)),
        help_heading = REMOVAL
    )]
    pub(crate) keep_artifact_builds: Limit<u32>,
    /// Total size of artifacts beyond which those of the oldest builds are removed, or `never` for no limit
    #[arg(
        long,
        value_name = "SIZE",
        default_value_t = Limit(Some(Bytes(defaults::KEEP_ARTIFACTS_BYTES))),
        help_heading = REMOVAL
    )]
    pub(crate) keep_artifacts: Limit<Bytes>,
    /// Total size of caches beyond which the least recently used ones are removed; 0B for no caches
    #[arg(long, value_name = "SIZE", default_value_t = Bytes(defaults::KEEP_CACHES_BYTES), help_heading = REMOVAL)]
    pub(crate) keep_caches: Bytes,

    /// Lost runners after which a job ends as errored
    #[arg(long, value_name = "N", default_value_t = defaults::MAX_LOSSES, help_heading = "Jobs")]
    pub(crate) max_losses: u32,
    /// How long a job waits for a runner that fits before it ends as errored
    #[arg(long, value_name = "TIME", default_value_t = Millis(defaults::QUEUE_TIMEOUT_MS), help_heading = "Jobs")]
    pub(crate) queue_timeout: Millis,
    /// Largest file of a commit; a commit with a larger one ends as errored; `never` for no limit
    #[arg(
        long,
        value_name = "SIZE",
        default_value_t = Limit(Some(Bytes(defaults::MAX_FILE_BYTES))),
        help_heading = "Jobs"
    )]
    pub(crate) max_file: Limit<Bytes>,
}

impl DispatcherFlags {
    /// Checks the flags and makes settings of them.
    pub(crate) fn settings(self) -> Result<DispatcherSettings, CliError> {
        if self.heartbeat_timeout.0 < self.heartbeat_interval.0.saturating_mul(4) {
            let text =
                "--heartbeat-timeout must be at least four times --heartbeat-interval, or a short pause loses a runner";
            return Err(CliError::Usage(text.into()));
        }
        Ok(DispatcherSettings {
            listen: Address { host: self.host, port: self.port },
            plain_text_from: self.plain_text_from,
            data: data_dir(self.data),
            secrets_key: self.secrets_key_file,
            heartbeat_interval_ms: self.heartbeat_interval.0,
            heartbeat_timeout_ms: self.heartbeat_timeout.0,
            reconnect_ms: self.reconnect_window.0,
            max_losses: self.max_losses,
            spawn: self.spawn,
            queue_timeout_ms: self.queue_timeout.0,
            max_connections: self.max_connections,
            max_file: self.max_file.0.map(|size| size.0),
            keep_caches: self.keep_caches.0,
            retention: Retention {
                keep_ms: self.keep_for.0.map(|time| time.0),
                keep_builds: self.keep_builds.0,
                keep_logs: self.keep_logs.0.map(|size| size.0),
                keep_artifacts_ms: self.keep_artifacts_for.0.map(|time| time.0),
                keep_artifact_builds: self.keep_artifact_builds.0,
                keep_artifacts: self.keep_artifacts.0.map(|size| size.0),
            },
        })
    }
}

/// Runs the role until a signal.
pub(crate) fn run(flags: DispatcherFlags) -> Result<ExitCode, CliError> {
    let settings = flags.settings()?;
    let stop = interrupt::stop_now()?;
    let dispatcher = Dispatcher::start(settings)?;
    if is_exposed(dispatcher.address().ip()) {
        log::warn!("{}", exposure_text(dispatcher.address().ip(), dispatcher.pin()));
        // A file or a journal keeps what it is told, so a token is for a person alone.
        if io::stderr().is_terminal()
            && let Some(line) = join_line(&dispatcher)
        {
            log::info!("{PASTE} {line}");
        }
    } else {
        log::info!("only this machine can reach the dispatcher: --host lets others in");
    }
    dispatcher.run(&stop)?;
    Ok(ExitCode::Ok)
}

/// Whether processes of other machines can reach this address.
pub(crate) fn is_exposed(ip: IpAddr) -> bool {
    !ip.is_loopback()
}

/// The warning about an address that other machines can reach.
pub(crate) fn exposure_text(ip: IpAddr, pin: Pin) -> String {
    format!(
        "listening at {ip}, not only for this machine: anyone on that network who has a token can run code on the \
         runners; `surveil token create --role runner` prints the line by which another machine joins (pin {pin})"
    )
}

/// The text before the line to paste on another machine.
pub(crate) const PASTE: &str = "to run tasks on another machine, too, run this there (one use, within 1 h):";

/// Returns the line to paste on another machine, with a token that is created for it.
pub(crate) fn join_line(dispatcher: &Dispatcher) -> Option<String> {
    let address = Address { host: dispatcher.address().ip().to_string(), port: dispatcher.address().port() };
    match dispatcher.runner_token(LINE_TTL) {
        Ok(token) => Some(join_command("runner", &[], &[address], &token)),
        Err(error) => {
            log::warn!("{error}");
            None
        }
    }
}
