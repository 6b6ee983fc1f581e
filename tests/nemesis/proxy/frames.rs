//! Cuts a stream into messages: a line, and the payload that its `bytes` announces.

use serde_json::Value;

/// One message, as it stood on the wire.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The line with its line feed, and the payload behind it.
    pub(crate) bytes: Vec<u8>,
    /// The line as JSON; null if it is none.
    pub(crate) message: Value,
}

impl Frame {
    pub(crate) fn kind(&self) -> &str {
        self.message["type"].as_str().unwrap_or_default()
    }

    pub(crate) fn number(&self, field: &str) -> Option<u64> {
        self.message[field].as_u64()
    }

    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.message[field].as_str()
    }
}

/// Bytes of a stream that form no whole message yet.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    buffer: Vec<u8>,
}

impl Splitter {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next whole message out.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let line = self.buffer.iter().position(|byte| *byte == b'\n')? + 1;
        let message: Value = serde_json::from_slice(&self.buffer[..line]).unwrap_or_default();
        let payload = usize::try_from(message["bytes"].as_u64().unwrap_or(0)).unwrap();
        if self.buffer.len() < line + payload {
            return None;
        }
        let rest = self.buffer.split_off(line + payload);
        Some(Frame { bytes: std::mem::replace(&mut self.buffer, rest), message })
    }

    /// The part of a message behind the last whole one.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }
}
