//! What holds where nothing was said, each with its reason. The command line shows these in its help.

use super::Retention;
use crate::model::Address;

/// Where a dispatcher listens: this machine only, because traffic is not encrypted and a token is all it takes.
pub const HOST: &str = "127.0.0.1";
/// The port that Surveil has always had.
pub const PORT: u16 = 9000;
/// Where a dispatcher is looked for: a name and not an address, so that `localhost` may be IPv6 too.
pub const DISPATCH: &str = "localhost:9000";

/// How often peers are asked to ping, and how often silence is looked for: five chances before it counts, and with the
/// timeout less than 20 s. More often would only cost more, which 10,000 runners notice.
pub const HEARTBEAT_INTERVAL_MS: u64 = 3_000;
/// Silence after which a connected runner is lost: a machine that swaps or a network that reroutes comes back within
/// this; people who wait for a build notice more.
pub const HEARTBEAT_TIMEOUT_MS: u64 = 15_000;
/// How long a runner whose connection closed may take to come back: a redial takes milliseconds, and until then nothing
/// of what it executes runs twice.
pub const RECONNECT_MS: u64 = 500;
/// Losses after which a job is given up: one may be chance, two may be, three on three runners is the job.
pub const MAX_LOSSES: u32 = 3;
/// Runners to start here when work waits and none fits: one, with as many slots as this machine has cores.
pub const SPAWN: u32 = 1;
/// A spawned runner without work ends after this; starting another costs milliseconds, and its trees stay on disk.
pub const SPAWNED_IDLE_EXIT_MS: u64 = 60_000;
/// How long a job waits for a runner that fits: a laptop that is off overnight is back within it.
pub const QUEUE_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1000;
/// Connections at once. Each costs a thread, and a thread costs memory maps, of which Linux allows a process 65,530 by
/// default (`vm.max_map_count`): that is enough for 12,000 threads, and a few are needed for other things.
pub const MAX_CONNECTIONS: usize = 11_000;
/// The same where all roles are in one process, for a single repository; below what any system allows, so that no limit
/// has to be raised, which tasks would inherit.
pub const MAX_LOCAL_CONNECTIONS: usize = 200;

/// How long builds are kept: half a year, so that a release can be compared with the one before it.
pub const KEEP_MS: u64 = 180 * 24 * 60 * 60 * 1000;
/// How many of each repository: more than anybody scrolls through, and some 10 MiB in the store.
pub const KEEP_BUILDS: u32 = 2_000;
/// How much their logs may take: half of a small server's disk.
pub const KEEP_LOGS_BYTES: u64 = 10 << 30;

/// How often a local repository is looked at: a look costs about 50 µs, so this is nothing; a notification makes it
/// instant, and where notifications are lost (network file systems) a second is what people wait.
pub const OBSERVER_INTERVAL_MS: u64 = 1_000;
/// The same where a look goes over the network (a URL, or the remote that `--fetch` follows): each starts git and
/// bothers a server of others.
pub const REMOTE_INTERVAL_MS: u64 = 30_000;

/// The most that is kept of one attempt's output: nobody reads more, and a task that prints forever fills no disk.
pub const LOG_LIMIT_BYTES: u64 = 64 << 20;
/// Free space below which a runner takes no work: a checkout and a small build fit, so work rarely dies of a full disk.
pub const MIN_FREE_BYTES: u64 = 1 << 30;
/// Between TERM and KILL: what container runtimes give, so programs are written to end within it.
pub const GRACE_MS: u64 = 10_000;

/// Which builds are kept unless told otherwise.
pub const RETENTION: Retention =
    Retention { keep_ms: Some(KEEP_MS), keep_builds: Some(KEEP_BUILDS), keep_logs: Some(KEEP_LOGS_BYTES) };

/// Where a dispatcher listens unless told otherwise.
#[must_use]
pub fn listen() -> Address {
    Address { host: HOST.to_owned(), port: PORT }
}

/// How many attempts a runner executes at once: one for each core it may use, because most tasks keep a core busy.
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
