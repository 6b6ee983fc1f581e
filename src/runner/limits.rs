//! The limits of a runner, each with its reason.

use std::time::Duration;

/// Log pieces that wait to be written. Few, so that memory stays small and a message never waits behind many pieces.
pub(super) const BULK_CAPACITY: usize = 2;
/// Events that wait for the core. When the channel is full, the session's reader waits, which slows the dispatcher
/// down.
pub(super) const NEWS_CAPACITY: usize = 1024;
/// Reports of slots that wait for the core.
pub(super) const REPORT_CAPACITY: usize = 64;
/// Notes that wait for the uploader. The uploader itself never waits for another thread.
pub(super) const UPLOAD_CAPACITY: usize = 1024;
/// Pieces of a pack between the session and the slot that writes them, each at most 1 MiB.
pub(super) const PACK_CAPACITY: usize = 4;

/// Time for which artifacts wait for a dispatcher whose disk is full, in milliseconds.
pub(super) const BLOB_PATIENCE_MS: u64 = 60_000;
/// Pause before artifacts are offered again that the dispatcher did not take.
pub(super) const BLOB_RETRY: Duration = Duration::from_secs(1);
/// The tries after which a dispatcher that does not take artifacts is given up.
pub(super) const BLOB_TRIES: u32 = 4;

/// The longest piece of a stream in one message, so that a heartbeat behind it does not wait for long.
pub(super) const LOG_PIECE_MAX: u64 = 512 * 1024;
/// The shortest piece, on a slow connection.
pub(super) const LOG_PIECE_MIN: u64 = 4 * 1024;
/// The widest window: bytes of a stream that may be sent and not acknowledged, once the connection has proven fast.
pub(super) const LOG_WINDOW_MAX: u64 = 16 * 1024 * 1024;
/// The window at the start of a session: a line of 8 kbit/s takes 8 s for it, so that a ping behind it comes in time.
pub(super) const LOG_WINDOW_FIRST: u64 = 8 * 1024;
/// The window on a connection that takes seconds for an acknowledgement.
pub(super) const LOG_WINDOW_MIN: u64 = 4 * 1024;
/// An acknowledgement within this time widens the window.
pub(super) const FAST_ACK_MS: u64 = 250;
/// An acknowledgement that takes longer than this narrows the window.
pub(super) const SLOW_ACK_MS: u64 = 2000;
/// The first bytes of a stream wait so long for more: an attempt that ends meanwhile sends them with its results, which
/// costs both sides less than two messages.
pub(super) const FIRST_PIECE_WAIT_MS: u64 = 5;
/// If nothing of a stream is acknowledged for this long after the results, its rest and the results are sent again.
pub(super) const LOG_STALL_MS: u64 = 15_000;
/// Results that are not answered within this time are sent again.
pub(super) const RESULTS_REPEAT_MS: u64 = 30_000;

/// The size of a read from an attempt's output, once the attempt has written much.
pub(super) const READ_BYTES: usize = 256 * 1024;
/// The size of an attempt's output pipe, once the attempt has written much.
pub(super) const PIPE_BYTES: usize = 1024 * 1024;
/// The time to wait for the end of the output after all processes of the attempt have ended.
pub(super) const OUTPUT_END: Duration = Duration::from_secs(2);
/// If a task fails with less free disk than this, the full disk is blamed and not the task.
pub(super) const DISK_FULL_BYTES: u64 = 1024 * 1024;

/// Commits of a repository that a runner remembers as complete. A pack is the difference to all of them.
pub(super) const RECENT_COMMITS: usize = 8;
/// Work trees that a registration names. More would only lengthen it.
pub(super) const WARM_TREES: usize = 256;
/// Repositories that a slot keeps open. A closed one costs a few file accesses to open again.
pub(super) const OPEN_REPOS: usize = 4;
/// The idle time after which a slot repacks the store that it fetched into: it may be a while until it is wanted.
pub(super) const QUIET: Duration = Duration::from_millis(25);
/// The longest text of a commit that a task is told in one variable, in bytes. A process cannot be started with a
/// variable of more than 128 KiB, and a commit must not decide whether its tasks start.
pub(super) const TEXT_BYTES: usize = 1024;
/// The fetches after which a slot repacks between two attempts, if it is never idle.
pub(super) const UNTIDIED_FETCHES: u32 = 50;
/// Lines about refused calls that a listening runner logs in ten seconds. A few tell as much as all of them.
pub(super) const REFUSED_LINES: u32 = 20;
/// The length beyond which the journal is rewritten without the attempts that are over.
pub(super) const JOURNAL_BYTES: u64 = 1024 * 1024;

/// The time that the dispatcher has for each step of the opening exchange.
pub(super) const GREETING: Duration = Duration::from_secs(10);
/// The time to dial one address.
pub(super) const DIAL: Duration = Duration::from_secs(3);
/// The first pause between two tries to reach the dispatcher.
pub(super) const REDIAL_FIRST_MS: u64 = 100;
/// The longest pause between two tries to reach the dispatcher.
pub(super) const REDIAL_MAX_MS: u64 = 3000;
/// A session shorter than this does not count as success: the next pause gets longer, not shorter.
pub(super) const REAL_SESSION_MS: u64 = 1000;
/// The longest pause between two tries of a runner whose name is taken, once that has lasted.
pub(super) const NAME_TAKEN_MAX_MS: u64 = 60_000;
/// The time that a listening runner waits for the dispatcher's call before it announces itself again.
pub(super) const CALL: Duration = Duration::from_secs(5);
/// Callers of a listening runner that have not shown its key yet.
pub(super) const CALLERS: usize = 8;

/// The pause after a failed accept.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The time that a stopped runner continues to deliver.
pub(super) const LAST_WORDS_MS: u64 = 1000;
/// The time that a drained runner waits until the dispatcher has heard of the drain.
pub(super) const DRAIN_HEARD_MS: u64 = 2000;
/// The time to end an exclusive attempt beyond the grace period: the time of a cancel, and the delay of a check.
pub(super) const EXCLUSIVE_END_MS: u64 = 6_000;
/// An exclusive process is not started if it would have to be ended within this time.
pub(super) const EXCLUSIVE_START_MS: u64 = 1_000;
/// The interval at which exclusive attempts are checked against the last renewal. A timer would stand still while the
/// machine sleeps; this check notices soon after the wake-up.
pub(super) const EXCLUSIVE_CHECK_MS: u64 = 500;
/// The longest file `SURVEIL_ENV` that is read. Linux starts no program with a longer variable than twice that.
pub(super) const STEP_ENV_BYTES: u64 = 64 * 1024;
/// The longest file `SURVEIL_OUTPUT` that is read: the outputs, and lines that a later one replaces.
pub(super) const OUTPUT_FILE_BYTES: u64 = 64 * 1024;
