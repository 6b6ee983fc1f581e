//! Messages to lines and back, on byte slices.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a line is not a message.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("the line is not a message")]
    Malformed(#[source] serde_json::Error),
    #[error("the line has {0} bytes, at most {max} are allowed", max = super::limits::MAX_LINE_BYTES)]
    TooLong(usize),
}

/// Reads one message from a line without its newline.
pub fn decode<M: DeserializeOwned>(line: &[u8]) -> Result<M, CodecError> {
    serde_json::from_slice(line).map_err(CodecError::Malformed)
}

/// Appends a message as a line, newline included.
pub fn encode<M: Serialize>(message: &M, line: &mut Vec<u8>) {
    serde_json::to_writer(&mut *line, message).expect("wire types have text keys only and a Vec takes every byte");
    line.push(b'\n');
}
