//! What each role is told at its start: checked values, defaults in one place.

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::{Address, RepoName};

/// Where a role's secret is read from, at every connection, so that it may be there later than the role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSource(pub PathBuf);

/// A dispatcher's settings. Durations are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatcherSettings {
    /// Where to listen; port 0 takes any free one.
    pub listen: Address,
    pub data: PathBuf,
    /// How often peers are asked to ping, and how often silence is looked for.
    pub heartbeat_interval_ms: u64,
    /// Silence after which a connected runner is lost.
    pub heartbeat_timeout_ms: u64,
    /// How long a runner whose connection closed may take to come back before its jobs go to others.
    pub reconnect_ms: u64,
    /// Losses after which a job is given up.
    pub max_losses: u32,
    /// Runners to start on this machine when work waits and none fits; 0 for none.
    pub spawn: u32,
    /// How long a job waits for a runner before it is errored.
    pub queue_timeout_ms: u64,
    /// Peers connected at once.
    pub max_connections: usize,
}

/// A runner's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerSettings {
    pub name: Arc<str>,
    /// Tried in order.
    pub dispatch: Vec<Address>,
    pub token: TokenSource,
    /// Stores, trees, spool and journal live below this.
    pub work: PathBuf,
    pub slots: u32,
    /// Besides the runner's own facts (os, arch, hostname).
    pub labels: Vec<Arc<str>>,
    /// Listen there for the dispatcher instead of dialling it.
    pub listen: Option<Address>,
    /// A repository on this machine to take objects from before asking the dispatcher.
    pub local_source: Option<PathBuf>,
    /// The most that is kept of one attempt's output, in bytes.
    pub log_limit: u64,
    /// No work is accepted with less free space below `work` than this, in bytes.
    pub min_free: u64,
    /// Between TERM and KILL.
    pub grace_ms: u64,
    /// End after this long without work.
    pub idle_exit_ms: Option<u64>,
    /// Started by a dispatcher for its own waiting work.
    pub spawned: bool,
}

/// An observer's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObserverSettings {
    /// Tried in order.
    pub dispatch: Vec<Address>,
    pub token: TokenSource,
    pub repos: Vec<ObservedRepo>,
    /// Globs; empty for the main branch only.
    pub branches: Vec<String>,
    /// Update from the repository's remote before each look.
    pub fetch: bool,
    /// The poll that is the truth; notification only wakes it.
    pub interval_ms: u64,
}

/// One repository to observe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedRepo {
    pub name: RepoName,
    pub location: RepoLocation,
    /// What the dispatcher is told of where it is: `host:path` or the URL without credentials.
    pub source: String,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepoLocation {
    Path(PathBuf),
    /// A remote, kept in the local mirror at `mirror`.
    Url {
        url: String,
        mirror: PathBuf,
    },
}

/// The dispatcher's data directory: `given`, else `$XDG_STATE_HOME/surveil`, else `~/.local/state/surveil`.
pub fn data_dir(given: Option<PathBuf>) -> PathBuf {
    todo!()
}

/// A runner's work directory: `given`, else `$XDG_CACHE_HOME/surveil`, else `~/.cache/surveil`.
pub fn work_dir(given: Option<PathBuf>) -> PathBuf {
    todo!()
}
