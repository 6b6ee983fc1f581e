//! The dispatcher's limits, each with its reason.

use std::time::Duration;

/// Messages that wait for the core. A session that meets a full queue waits, which slows its peer and nobody else.
pub(crate) const CORE_CAPACITY: usize = BATCH_MESSAGES;
/// Messages that the core takes into one transaction. More would make the first of them wait for too long.
pub(crate) const BATCH_MESSAGES: usize = 2048;
/// How large a pack piece is: large enough to be cheap, small enough that an `ack` behind it is prompt.
pub(crate) const PACK_PIECE_BYTES: usize = 256 * 1024;
/// Log pieces that wait to be written to disk, over all runners.
pub(crate) const LOGS_CAPACITY: usize = 64;
/// How long a log waits for room on its disk, in milliseconds. After that it is cut, so that its attempt comes to an
/// end: the runner has the output no longer than its own disk allows, and nothing else waits for it.
pub(crate) const LOG_PATIENCE_MS: u64 = 10_000;
/// How often output that found no room is asked for again.
pub(crate) const LOG_RETRY: Duration = Duration::from_secs(1);
/// Log files kept open; the one used longest ago is closed first.
pub(crate) const OPEN_LOGS: usize = 512;
/// Handles on mirrors kept open while nobody uses them, each some hundred KiB.
pub(crate) const OPEN_MIRRORS: usize = 8;
/// Requests of one observer or operator that wait for its worker.
pub(crate) const WORK_CAPACITY: usize = 16;
/// An observer that says nothing for so long leaves time to tidy the mirror: runners have asked for what it said last.
pub(crate) const TIDY_AFTER_MS: u64 = 25;
/// After so many more, what arrived is synced: runners on the same disk have prepared it by then.
pub(crate) const SETTLE_AFTER_MS: u64 = 1_000;
/// Packs of an observer that is never quiet, after which a mirror is tidied all the same: before lookups get slow.
pub(crate) const UNTIDY_PACKS: u32 = 50;
/// Packs up to this size go ahead of a lease: for a small commit, a runner's question for its source takes longest.
pub(crate) const AHEAD_BYTES: usize = 64 << 10;
/// What may wait for a runner at most with such a pack: one that reads slowly is not sent more than it asks for.
pub(crate) const AHEAD_WAITING_BYTES: usize = 256 << 10;
/// Sources that are built for one runner at a time.
pub(crate) const SOURCES_AT_ONCE: usize = 4;
/// How long a peer may take for its first message, in milliseconds.
pub(crate) const HELLO_MS: u64 = 10_000;
/// Connections that have not said hello yet; one more takes the place of the oldest.
pub(crate) const MAX_UNAUTHENTICATED: usize = 512;
/// Shortest time for which an unauthenticated connection keeps its place, in milliseconds: a hello follows a connection
/// at once. New connections wait meanwhile in the kernel's queue.
pub(crate) const UNAUTHENTICATED_GRACE_MS: u64 = 250;
/// Descriptors for everything but connections: log files that are kept open, the store, mirrors, started processes.
pub(crate) const OTHER_DESCRIPTORS: usize = OPEN_LOGS + 128;
/// Threads for everything but reading from peers: writers for slow ones, workers of observers and operators, sources.
pub(crate) const OTHER_THREADS: usize = 640;
/// How often the redistribute thread looks: half of the shortest window that it guards.
pub(crate) const LEASE_CHECK_MS: u64 = 100;
/// How often the watchdog looks whether the threads that it watches go on.
pub(crate) const LOOK_EVERY_MS: u64 = 1_000;
/// At how many looks in a row one of them may stand still: about 30 s, which no batch and no starved processor takes,
/// and after which runners count the dispatcher as gone anyway. Waiting for the disk is not standing still.
pub(crate) const STALL_LOOKS: u64 = 30;
/// How long an operator's question waits for the core before it is answered without it, in milliseconds. A core that
/// takes longer cannot write to its disk.
pub(crate) const LOOK_MS: u64 = 3_000;
/// How often it is looked for builds that are to be removed: a limit is a matter of days and GiB.
pub(crate) const RETENTION_EVERY: Duration = Duration::from_secs(10 * 60);
/// Builds that are forgotten in one transaction: a few milliseconds between the core's other work.
pub(crate) const RETENTION_BATCH: usize = 50;
/// The pause before each such transaction.
pub(crate) const RETENTION_PAUSE: Duration = Duration::from_millis(50);
/// Rounds of retention after which the mirrors are read through once more: a day's.
pub(crate) const MIRROR_CHECK_ROUNDS: u64 = 144;
/// What a mirror may grow beyond twice its size before what no build needs is taken out of it.
pub(crate) const MIRROR_SLACK_BYTES: u64 = 4 << 20;
/// How long a runner that asks for a source that is lost waits for an observer to send it again, in milliseconds.
pub(crate) const SOURCE_PATIENCE_MS: u64 = 30_000;
/// Free space below which an operator is warned, whatever the disk's size.
pub(crate) const DISK_LOW_BYTES: u64 = 256 << 20;
/// How often a store without room is tried again.
pub(crate) const FULL_RETRY_MS: u64 = 500;
