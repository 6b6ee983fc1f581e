//! The dispatcher's limits, each with its reason.

use std::time::Duration;

/// Messages in the core's queue. A session that meets a full queue waits, which slows its peer and no other.
pub(crate) const CORE_CAPACITY: usize = BATCH_MESSAGES;
/// Messages in one transaction of the core. With more of them, the first would wait for too long.
pub(crate) const BATCH_MESSAGES: usize = 2048;
/// Size of the pieces of a pack: large enough to be cheap, small enough that an `ack` behind one is prompt.
pub(crate) const PACK_PIECE_BYTES: usize = 256 * 1024;
/// Log pieces that wait to be written to disk, over all runners.
pub(crate) const LOGS_CAPACITY: usize = 64;
/// Time for which a log waits for room on its disk, in milliseconds. Then it is cut, so that its attempt ends: the
/// runner can keep the output only as long as its own disk allows, and nothing else waits for it.
pub(crate) const LOG_PATIENCE_MS: u64 = 10_000;
/// Interval at which output for which there was no room is asked for again.
pub(crate) const LOG_RETRY: Duration = Duration::from_secs(1);
/// Time for which the store keeps short logs before their files are synced, with all others of the file system. The
/// kernel has written most of them by then.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(120);
/// Bytes of short logs with which the sync comes sooner.
pub(crate) const KEPT_BYTES: usize = 16 << 20;
/// Pieces of blobs that wait to be written, for each runner, each at most 1 MiB.
pub(crate) const BLOB_WORK_CAPACITY: usize = 4;
/// Time without blobs after which the thread of a session that writes them ends.
pub(crate) const BLOB_IDLE: Duration = Duration::from_secs(10);
/// Requests for blobs that wait to be answered, for each runner. A slot has a few of them.
pub(crate) const BLOB_REQUESTS: usize = 4096;
/// The longest piece of a blob that a runner gets: it is read as a whole, and an `ack` waits behind it.
pub(crate) const WANTED_PIECE_BYTES: usize = 512 * 1024;
/// Size of the pieces of a blob that is sent.
pub(crate) const BLOB_PIECE_BYTES: usize = 256 * 1024;
/// Free space in bytes that artifacts leave: the store needs it, and without the store nothing goes on.
pub(crate) const BLOB_RESERVE_BYTES: u64 = 256 << 20;
/// A cache that is used again is noted as used if that was noted longer ago than this, in milliseconds. More often
/// would only cost writes.
pub(crate) const NOTE_CACHE_USE_AFTER_MS: i64 = 60 * 60 * 1000;
/// Messages about the tool cache that wait to be answered, for each runner: more than its tasks ask at a time.
pub(crate) const ENTRY_MESSAGES: usize = 4096;
/// Bytes of entries that wait to be written, for each runner.
pub(crate) const ENTRY_WAITING_BYTES: usize = 16 << 20;
/// Time without messages about the tool cache after which records that wait are committed.
pub(crate) const ENTRY_QUIET: Duration = Duration::from_millis(500);
/// Log files that are kept open. The file that was used longest ago is closed first.
pub(crate) const OPEN_LOGS: usize = 512;
/// Idle handles on mirrors that are kept open, each some hundred KiB.
pub(crate) const OPEN_MIRRORS: usize = 8;
/// Requests of one observer or operator that wait for its worker.
pub(crate) const WORK_CAPACITY: usize = 16;
/// An observer that is quiet for this many milliseconds leaves time to tidy the mirror: runners have asked for the last
/// commit by then.
pub(crate) const TIDY_AFTER_MS: u64 = 25;
/// After this many milliseconds more, received packs are synced: runners on the same disk have prepared the commit by
/// then.
pub(crate) const SETTLE_AFTER_MS: u64 = 1_000;
/// Packs from an observer that is never quiet, after which a mirror is tidied anyway, before lookups get slow.
pub(crate) const UNTIDY_PACKS: u32 = 50;
/// Packs up to this size go ahead of a lease: for a small commit, most of the time is the runner's request for the
/// source.
pub(crate) const AHEAD_BYTES: usize = 64 << 10;
/// Bytes that may wait for a runner, such a pack included. A runner that reads slowly is sent only what it asks for.
pub(crate) const AHEAD_WAITING_BYTES: usize = 256 << 10;
/// Sources that are sent to one runner at a time.
pub(crate) const SOURCES_AT_ONCE: usize = 4;
/// Time that a peer may take for its first message, in milliseconds.
pub(crate) const HELLO_MS: u64 = 10_000;
/// Time that a peer may take for its part of the TLS handshake, in milliseconds. It takes one round trip.
pub(crate) const HANDSHAKE_MS: u64 = 5_000;
/// Connections that have not said hello yet. One more takes the place of the oldest.
pub(crate) const MAX_UNAUTHENTICATED: usize = 512;
/// Shortest time for which an unauthenticated connection keeps its place, in milliseconds: a hello follows a connection
/// at once. New connections wait meanwhile in the kernel's queue.
pub(crate) const UNAUTHENTICATED_GRACE_MS: u64 = 250;
/// Descriptors for everything but connections: log files that are kept open, the store, mirrors, processes that are
/// started.
pub(crate) const OTHER_DESCRIPTORS: usize = OPEN_LOGS + 128;
/// Threads for everything but reading from peers: writers for slow peers, workers of observers and operators, sources.
pub(crate) const OTHER_THREADS: usize = 640;
/// Interval of the redistribute thread, in milliseconds: half of the shortest window that it guards.
pub(crate) const LEASE_CHECK_MS: u64 = 100;
/// The interval between two looks at the wall clock for schedules. They fire at whole minutes.
pub(crate) const SCHEDULE_CHECK_MS: u64 = 1_000;
/// The time after which a schedule that came due is tried again, if its source is missing.
pub(crate) const SCHEDULE_RETRY_MS: u64 = 10_000;
/// Checks of the leases in a row without a commit after which the store gives memory back. The process gives its free
/// memory back after a second without work, which must come later.
pub(crate) const QUIET_CHECKS: u32 = 3;
/// Records after which that is worth it: fewer leave little behind, and the next commit would read it again.
pub(crate) const RECORDS_WORTH_A_RELEASE: usize = 1_000;
/// Interval at which the watchdog checks its threads, in milliseconds.
pub(crate) const LOOK_EVERY_MS: u64 = 1_000;
/// Checks in a row without progress after which a thread has stalled. This is about 30 s, which no batch and no starved
/// processor takes, and after which runners give the dispatcher up anyway. Waiting for the disk is not stalling.
pub(crate) const STALL_LOOKS: u64 = 30;
/// Time for which an operator's question waits for the core before it is answered without it, in milliseconds. A core
/// that takes longer cannot write to its disk.
pub(crate) const LOOK_MS: u64 = 3_000;
/// Interval at which builds to be removed are looked for. The limits are a matter of days and GiB.
pub(crate) const RETENTION_EVERY: Duration = Duration::from_secs(10 * 60);
/// Builds that are removed in one transaction, which takes the core a few milliseconds.
pub(crate) const RETENTION_BATCH: usize = 50;
/// Pause before each such transaction.
pub(crate) const RETENTION_PAUSE: Duration = Duration::from_millis(50);
/// Rounds of retention in a day, after which the mirrors are checked again.
pub(crate) const MIRROR_CHECK_ROUNDS: u64 = 144;
/// Rounds of retention in an hour, after which blobs that no artifact has are looked for.
pub(crate) const BLOB_SWEEP_ROUNDS: u64 = 6;
/// Time for which a blob stays that nothing refers to, in milliseconds: longer than any upload, whose blobs get their
/// record last.
pub(crate) const BLOB_GRACE_MS: u64 = 24 * 60 * 60 * 1000;
/// Bytes that a mirror may grow beyond twice its size before objects that no build needs are removed.
pub(crate) const MIRROR_SLACK_BYTES: u64 = 4 << 20;
/// Time for which a runner's request for a missing source waits for an observer to send it again, in milliseconds.
pub(crate) const SOURCE_PATIENCE_MS: u64 = 30_000;
/// Free space in bytes below which an operator is warned, whatever the disk's size.
pub(crate) const DISK_LOW_BYTES: u64 = 256 << 20;
/// Interval at which a store without room is tried again, in milliseconds.
pub(crate) const FULL_RETRY_MS: u64 = 500;
