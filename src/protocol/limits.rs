//! The limits of the wire, each with its reason.

/// The longest message line, newline included. A `dispatch` with a thousand commits takes 70 KiB; the rest is room.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// The longest first line. A `hello` is far shorter, and whoever sends it has not authenticated.
pub const MAX_HELLO_BYTES: usize = 4096;
/// The longest payload behind one message. Longer things travel in several, so that a heartbeat never waits for long.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// Commits listed in one `dispatch`. Older ones of a longer range are left out.
pub const MAX_RANGE_COMMITS: usize = 1000;
/// Attempts a runner may name in one message, which bounds its slots too.
pub const MAX_SLOTS: usize = 1024;
/// Labels of a runner or of a task.
pub const MAX_LABELS: usize = 64;
/// The longest text of an `error`: the names of a thousand tasks of a usual length fit. Longer ones are cut.
pub const MAX_REFUSAL_BYTES: usize = 32 * 1024;
