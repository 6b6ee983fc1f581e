//! The limits of a runner, each with its reason.

use std::time::Duration;

/// Log pieces waiting to be written. Few, so that memory stays small and a message never waits behind many.
pub(super) const BULK_CAPACITY: usize = 2;
/// Events waiting for the core. The reader of a session waits when it is full, which slows the dispatcher down.
pub(super) const NEWS_CAPACITY: usize = 1024;
/// Reports of slots waiting for the core.
pub(super) const REPORT_CAPACITY: usize = 64;
/// Notes waiting for the uploader, which never waits for anything itself.
pub(super) const UPLOAD_CAPACITY: usize = 1024;
/// Pieces of a pack between the session and the slot that writes them down, each at most 1 MiB.
pub(super) const PACK_CAPACITY: usize = 4;

/// The longest log piece in one message, so that a heartbeat behind it does not wait for long.
pub(super) const LOG_PIECE_MAX: u64 = 512 * 1024;
/// The shortest piece that a slow connection brings it down to.
pub(super) const LOG_PIECE_MIN: u64 = 4 * 1024;
/// Log bytes of an attempt that may be sent and not acknowledged, once the connection has proven fast.
pub(super) const LOG_WINDOW_MAX: u64 = 16 * 1024 * 1024;
/// The same at the start of a session: what a line of 8 kbit/s takes eight seconds for, behind which a ping comes in
/// time.
pub(super) const LOG_WINDOW_FIRST: u64 = 8 * 1024;
/// The same on a connection that takes seconds for an acknowledgement.
pub(super) const LOG_WINDOW_MIN: u64 = 4 * 1024;
/// An acknowledgement within this time widens the window.
pub(super) const FAST_ACK_MS: u64 = 250;
/// An acknowledgement that took longer than this narrows the window.
pub(super) const SLOW_ACK_MS: u64 = 2000;
/// When for this long after the results no more of the log is acknowledged, the rest is sent again, and the results.
pub(super) const LOG_STALL_MS: u64 = 15_000;
/// Results unanswered for this long are said again.
pub(super) const RESULTS_REPEAT_MS: u64 = 30_000;

/// One read from an attempt's output, once it has shown that it writes much.
pub(super) const READ_BYTES: usize = 256 * 1024;
/// What the kernel may hold of an attempt's output, once it has shown that it writes much.
pub(super) const PIPE_BYTES: usize = 1024 * 1024;
/// How long the output's end is waited for after every process of the attempt is gone.
pub(super) const OUTPUT_END: Duration = Duration::from_secs(2);
/// A task that failed while there was less free disk than this met a full disk: that is not the task's failure.
pub(super) const DISK_FULL_BYTES: u64 = 1024 * 1024;

/// Commits of a repository that a runner remembers having complete. A pack is the difference to all of them.
pub(super) const RECENT_COMMITS: usize = 8;
/// Warm trees named in a registration; the rest would only lengthen it.
pub(super) const WARM_TREES: usize = 256;
/// Repositories that a slot keeps open. A closed one costs a few file accesses to open again.
pub(super) const OPEN_REPOS: usize = 4;
/// A slot that has had nothing to do for so long tidies the store that it fetched into: it may be a while until it is
/// wanted.
pub(super) const QUIET: Duration = Duration::from_millis(25);
/// Fetches of a slot that is never without work, after which it tidies between two attempts.
pub(super) const UNTIDIED_FETCHES: u32 = 50;
/// The journal is written anew, without what is over, when it is longer than this.
pub(super) const JOURNAL_BYTES: u64 = 1024 * 1024;

/// How long the dispatcher may take for each step of the opening exchange.
pub(super) const GREETING: Duration = Duration::from_secs(10);
/// How long dialling one address may take.
pub(super) const DIAL: Duration = Duration::from_secs(3);
/// The first pause between two tries to reach the dispatcher.
pub(super) const REDIAL_FIRST_MS: u64 = 100;
/// The longest pause between two tries to reach the dispatcher.
pub(super) const REDIAL_MAX_MS: u64 = 3000;
/// A session shorter than this does not count as success: the next try waits longer, not shorter.
pub(super) const REAL_SESSION_MS: u64 = 1000;
/// The pause after a refusal that only a person can end, by changing the token or the program.
pub(super) const REFUSED: Duration = Duration::from_secs(30);
/// How long a listening runner waits for the dispatcher's call before it announces itself again.
pub(super) const CALL: Duration = Duration::from_secs(5);
/// Callers of a listening runner that have not shown its key yet.
pub(super) const CALLERS: usize = 8;

/// The pause after a call could not be accepted.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How long a runner that was told to stop goes on delivering.
pub(super) const LAST_WORDS_MS: u64 = 1000;
/// How long a drained runner waits for the dispatcher to have heard of it.
pub(super) const DRAIN_HEARD_MS: u64 = 2000;
/// What ending an exclusive attempt may take beyond the grace period: what a cancel may, and what a check may be late.
pub(super) const EXCLUSIVE_END_MS: u64 = 6_000;
/// An exclusive process is not started any more when it would have to be ended within this.
pub(super) const EXCLUSIVE_START_MS: u64 = 1_000;
/// How often exclusive attempts are checked against the time since the last renewal. A timer would stand still while
/// the machine sleeps; this finds out soon after waking.
pub(super) const EXCLUSIVE_CHECK_MS: u64 = 500;
