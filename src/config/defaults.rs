//! Defaults of all settings, each with its reason. The command line shows them in its help.

use std::path::PathBuf;

use super::{DispatcherSettings, Retention};
use crate::model::Address;

/// The host at which a dispatcher listens: this machine only, because a token is all that a peer needs to run programs.
pub const HOST: &str = "127.0.0.1";
/// The dispatcher's port: the one that Surveil has always had.
pub const PORT: u16 = 9000;
/// The dispatcher's address for its peers: a name, so that `localhost` may also be an IPv6 address.
pub const DISPATCH: &str = "localhost:9000";

/// Interval at which peers ping and at which the dispatcher checks for silent peers. A peer has five chances before its
/// silence counts, and interval and timeout together stay below 20 s. A shorter interval would only cost more, which
/// 10,000 runners would notice.
pub const HEARTBEAT_INTERVAL_MS: u64 = 3_000;
/// Silence after which a connected runner is lost. A machine that swaps or a network that reroutes comes back within
/// this time; people who wait for a build would notice a longer one.
pub const HEARTBEAT_TIMEOUT_MS: u64 = 15_000;
/// Time that a runner has to come back after its connection closed. Dialling again takes milliseconds, and until the
/// time is over none of its attempts runs a second time elsewhere.
pub const RECONNECT_MS: u64 = 500;
/// Lost attempts after which a job is given up. One or two may be chance; three, on three runners, are the job's doing.
pub const MAX_LOSSES: u32 = 3;
/// Runners to start here if jobs wait and no runner fits: one, with as many slots as this machine has cores.
pub const SPAWN: u32 = 1;
/// Time without work after which a spawned runner ends. Starting another takes milliseconds, and its work trees stay on
/// disk.
pub const SPAWNED_IDLE_EXIT_MS: u64 = 60_000;
/// Time that a job waits for a runner that fits. A laptop that is off overnight comes back within it.
pub const QUEUE_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1000;
/// The most connections at once. Each takes a thread, and a thread takes memory maps. Linux allows a process 65,530 of
/// them by default (`vm.max_map_count`), which is enough for 12,000 threads; some are needed for other things.
pub const MAX_CONNECTIONS: usize = 11_000;
/// Like [`MAX_CONNECTIONS`], but for all roles in one process and a single repository. Every system allows this number,
/// so no limit of the process has to be raised; tasks would inherit the raised limit.
pub const MAX_LOCAL_CONNECTIONS: usize = 200;

/// The most bytes of a file in a commit that is built: ten times what forges take, and below what fills the disk of a
/// small runner. A few kilobytes of a pack may be gigabytes in a work tree.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Time that builds are kept: half a year, so that a release can be compared with the one before it.
pub const KEEP_MS: u64 = 180 * 24 * 60 * 60 * 1000;
/// Builds that are kept of each repository: more than anybody scrolls through, and about 10 MiB in the store.
pub const KEEP_BUILDS: u32 = 2_000;
/// Bytes of logs that are kept, in all: half of a small server's disk.
pub const KEEP_LOGS_BYTES: u64 = 10 << 30;
/// Time that artifacts are kept: a quarter, in which most releases are superseded. Those of the newest passed build
/// of each branch and tag stay however old they are.
pub const KEEP_ARTIFACTS_MS: u64 = 90 * 24 * 60 * 60 * 1000;
/// Builds of each repository whose artifacts are kept: a day of a busy repository.
pub const KEEP_ARTIFACT_BUILDS: u32 = 500;
/// Bytes of artifacts that are kept, in all, compressed and each file once: as many as one attempt may leave.
pub const KEEP_ARTIFACTS_BYTES: u64 = 50 << 30;

/// Bytes of caches that are kept, in all. Files that several of them have are stored once, so they take less.
pub const KEEP_CACHES_BYTES: u64 = 20 << 30;

/// Interval of polls of a local repository. A poll takes about 50 µs, which is nothing. A notification starts a poll at
/// once; if notifications are lost (network file systems), people wait a second at most.
pub const OBSERVER_INTERVAL_MS: u64 = 1_000;
/// Interval of polls over the network (of a URL, or of the remote that `--fetch` follows). Each starts git, and is a
/// request to somebody else's server.
pub const REMOTE_INTERVAL_MS: u64 = 30_000;

/// The most bytes that are kept of one attempt's output. Nobody reads more, and a task that prints for ever does not
/// fill the disk.
pub const LOG_LIMIT_BYTES: u64 = 64 << 20;
/// The most entries that the artifacts of one attempt have together. A directory of dependencies that is kept by
/// mistake has as many.
pub const ARTIFACT_FILES: u64 = 250_000;
/// The most bytes of the artifacts of one attempt: more than an image of a disk.
pub const ARTIFACT_BYTES: u64 = 50 << 30;
/// The most bytes that a runner's tool cache takes: as much as ccache takes by itself.
pub const TOOL_CACHE_BYTES: u64 = 5 << 30;
/// Bytes of copies of files that a runner keeps: the caches of some projects, and what their tasks take.
pub const CACHE_BYTES: u64 = 20 << 30;
/// Free space below which a runner starts no attempt. A checkout and a small build fit into it, so that attempts rarely
/// fail because of a full disk.
pub const MIN_FREE_BYTES: u64 = 1 << 30;
/// Time between TERM and KILL. Container runtimes give as much, so programs are written to end within it.
pub const GRACE_MS: u64 = 10_000;
/// Time for which a runner that was told to end still tries to deliver its results. A dispatcher that starts again is
/// back within it, and no service manager loses patience.
pub const DELIVERY_MS: u64 = 10_000;

/// The builds and artifacts that are kept by default.
pub const RETENTION: Retention = Retention {
    keep_ms: Some(KEEP_MS),
    keep_builds: Some(KEEP_BUILDS),
    keep_logs: Some(KEEP_LOGS_BYTES),
    keep_artifacts_ms: Some(KEEP_ARTIFACTS_MS),
    keep_artifact_builds: Some(KEEP_ARTIFACT_BUILDS),
    keep_artifacts: Some(KEEP_ARTIFACTS_BYTES),
};

/// Returns the address at which a dispatcher listens by default.
#[must_use]
pub fn listen() -> Address {
    Address { host: HOST.to_owned(), port: PORT }
}

/// Returns the settings of a dispatcher for the processes of one user: the defaults, and no spawned runner.
#[must_use]
pub fn local_dispatcher(listen: Address, data: PathBuf) -> DispatcherSettings {
    DispatcherSettings {
        listen,
        plain_text_from: Vec::new(),
        data,
        heartbeat_interval_ms: HEARTBEAT_INTERVAL_MS,
        heartbeat_timeout_ms: HEARTBEAT_TIMEOUT_MS,
        reconnect_ms: RECONNECT_MS,
        max_losses: MAX_LOSSES,
        spawn: 0,
        queue_timeout_ms: QUEUE_TIMEOUT_MS,
        secrets_key: None,
        keep_caches: KEEP_CACHES_BYTES,
        max_connections: MAX_LOCAL_CONNECTIONS,
        max_file: Some(MAX_FILE_BYTES),
        retention: RETENTION,
    }
}

/// Returns the number of attempts that a runner executes at once by default: one for each core that it may use, because
/// most tasks keep a core busy.
#[must_use]
pub fn slots() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_dispatcher_is_where_a_default_dispatcher_listens() {
        let dispatch: Address = DISPATCH.parse().unwrap();
        assert_eq!(dispatch.port, listen().port);
        assert!(slots() >= 1);
    }

    #[test]
    fn several_pings_fit_into_the_silence_that_loses_a_runner() {
        const { assert!(HEARTBEAT_INTERVAL_MS * 5 <= HEARTBEAT_TIMEOUT_MS) }
    }
}
