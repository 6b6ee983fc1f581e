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
/// The most attempts that a runner may name in one message, and so its most slots.
pub const MAX_SLOTS: usize = 1024;
/// The most labels of a runner or of a task.
pub const MAX_LABELS: usize = 64;
/// The longest text of an `error`, in bytes. The names of a thousand tasks of a usual length fit; longer texts are cut.
pub const MAX_REFUSAL_BYTES: usize = 32 * 1024;
