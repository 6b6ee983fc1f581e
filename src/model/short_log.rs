//! Streams that are so short that the store takes their bytes along with the outcome.

use super::BuildId;

/// The bytes of a short stream, which the store keeps until its file is durable. A sync of a file of its own would take
/// longer than the rest of a short attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortLog {
    /// The build of the attempt. If it is forgotten, so is this.
    pub build: BuildId,
    /// The place of the stream's file, in the directory of logs.
    pub path: String,
    pub bytes: Vec<u8>,
}

impl ShortLog {
    /// The most bytes of a stream that is short: a page of the store has room for them.
    pub const MAX_BYTES: usize = 4 * 1024;
}
