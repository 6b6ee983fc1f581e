//! The limits of the wire, each with its reason.

/// The longest message line, newline included. A `dispatch` with a thousand commits takes 70 KiB; the rest is reserve.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// The longest first line. A `hello` is far shorter, and its sender is not authenticated yet.
pub const MAX_HELLO_BYTES: usize = 4096;
/// The longest payload behind one message. Longer content travels in several messages, so that a heartbeat never waits
/// for long.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// The most commits in the `range` of one `dispatch`. The older commits of a longer range are left out.
pub const MAX_RANGE_COMMITS: usize = 1000;
/// Tasks in one `passes`, as many as a commit has at most.
pub const MAX_ASKED_TASKS: usize = 1000;
/// Commits in the `ancestors` of a `dispatch`. Each is looked up for a pass of a task, so more of them would only make
/// the rare case slower in which none of them was ever built.
pub const MAX_ANCESTORS: usize = 200;
/// The most attempts that a runner may name in one message, and so its most slots.
pub const MAX_SLOTS: usize = 1024;
/// The most labels of a runner or of a task.
pub const MAX_LABELS: usize = 64;
/// The length at which one piece of a long answer ends: short enough that the longest entry still fits behind it, and
/// that a ping never waits for long.
pub const PIECE_BYTES: usize = 256 * 1024;
/// The longest name of a branch, in bytes: a file system allows no longer path.
pub const MAX_BRANCH_BYTES: usize = 4096;
/// The most refs that one first look may note: more than the largest repositories have.
pub const MAX_NOTED_REFS: usize = 1_000_000;
/// The most refs of one repository that an observer may watch by name, so that they fit into its question.
pub const MAX_NAMED_REFS: usize = 200;
/// The most patterns for refs of one repository, so that they fit beside the heads.
pub const MAX_PATTERNS: usize = 64;
/// The longest pattern for refs, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1024;
/// The longest place of an observed repository, in bytes: a host and a path.
pub const MAX_SOURCE_BYTES: usize = 8192;
/// The longest sentence of a peer, in bytes: a subject, an author, a reason. Longer ones are cut.
pub const MAX_SENTENCE_BYTES: usize = 1024;
/// The longest text of a report that the dispatcher makes itself, in bytes, such as the mistakes of a task file. Longer
/// ones are cut and end with `…`.
pub const MAX_REPORT_TEXT_BYTES: usize = 32 * 1024;
/// The most warnings of one `status`.
pub const MAX_WARNINGS: usize = 100;
/// The most commits in the `haves` of a `source` that count: each costs a walk of its tree.
pub const MAX_HAVES: usize = 64;
/// The most values of inputs in a `submit`, and the longest of them in bytes: an environment takes no more.
pub const MAX_INPUTS: usize = 1_000;
pub const MAX_INPUT_BYTES: usize = 32 * 1024;
/// The longest file of further tasks in a result, in bytes. Even if every character is escaped, it fits into a line.
pub const MAX_WRITTEN_BYTES: usize = 256 * 1024;
/// The most streams that a result may name beside its log.
pub const MAX_STREAMS: usize = 256;
/// The most blobs in one `have`, whose names take 67 KiB, and the most pieces in one `want`.
pub const MAX_ASKED_BLOBS: usize = 1000;
/// The most bytes of the words about the key of a cache.
pub const MAX_CACHE_ABOUT_BYTES: usize = 4 * 1024;
/// The most artifacts that a result may name, and the longest name of one, in bytes.
pub const MAX_ARTIFACTS: usize = 100;
pub const MAX_ARTIFACT_NAME_BYTES: usize = 64;
/// The most steps of a task, and the longest name of one, in bytes.
pub const MAX_STEPS: usize = 64;
pub const MAX_STEP_NAME_BYTES: usize = 256;
/// The longest text of an `error`, in bytes. The names of a thousand tasks of a usual length fit; longer texts are cut.
pub const MAX_REFUSAL_BYTES: usize = 32 * 1024;
/// The most pairs in the `ages` of a `log` that count.
pub const MAX_AGES: usize = 512;
