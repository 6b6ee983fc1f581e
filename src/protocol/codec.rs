//! Encodes messages as lines and decodes lines, on byte slices. Owns nothing and never touches a socket;
//! [`crate::transport`] calls it.
//!
//! A line that is not a message is an error, whatever bytes it has: serde_json checks UTF-8 and refuses lone surrogates
//! and numbers out of range. Nesting is bounded here, so no line of a peer can exhaust the stack.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::limits::MAX_LINE_BYTES;

/// The deepest nesting of arrays and objects. A status report reaches 7. The parser's own limit is 128, but in an
/// unoptimised build the 256 KiB stack of a session's thread overflows before that.
const MAX_DEPTH: usize = 32;

/// Why a line is not a message.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("the line is not a message")]
    Malformed(#[source] serde_json::Error),
    /// A JSON object whose `type` is not one of the expected types. `bytes` bytes of payload follow it.
    #[error("the message type `{name}` is not known")]
    UnknownType { name: String, bytes: u64 },
    /// A JSON object of an unknown `type`. Its payload cannot be skipped, because its length cannot be read.
    #[error("the message type `{name}` is not known, and `bytes`, the length of its payload, is no number")]
    UnknownLength { name: String },
    #[error("the line has {0} bytes, at most {MAX_LINE_BYTES} are allowed")]
    TooLong(usize),
    #[error("arrays and objects nest deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// Decodes one message from a line without its newline.
///
/// ```
/// use surveil::protocol::codec::decode;
/// use surveil::protocol::runner::FromRunner;
///
/// let message: FromRunner = decode(br#"{"type":"ping","holding":[7],"a_later_field":true}"#)?;
/// assert_eq!(message, FromRunner::Ping { holding: vec![7] });
/// # Ok::<(), surveil::protocol::codec::CodecError>(())
/// ```
pub fn decode<M: DeserializeOwned>(line: &[u8]) -> Result<M, CodecError> {
    if line.len() >= MAX_LINE_BYTES {
        return Err(CodecError::TooLong(line.len() + 1));
    }
    if is_too_deep(line) {
        return Err(CodecError::TooDeep);
    }
    serde_json::from_slice(line).map_err(|error| explain(line, error))
}

/// Appends a message as a line, newline included.
///
/// ```
/// use surveil::protocol::codec::encode;
/// use surveil::protocol::runner::{StreamName, ToRunner};
///
/// let mut line = Vec::new();
/// encode(&ToRunner::LogAck { attempt: 7, stream: StreamName::Log, offset: 4096 }, &mut line);
/// assert_eq!(line, b"{\"type\":\"log_ack\",\"attempt\":7,\"offset\":4096}\n");
/// ```
pub fn encode<M: Serialize>(message: &M, line: &mut Vec<u8>) {
    serde_json::to_writer(&mut *line, message).expect("wire types have text keys only and a Vec takes every byte");
    line.push(b'\n');
}

/// Whether arrays and objects nest deeper than `MAX_DEPTH`. The answer is right for every JSON text; for other lines it
/// does not matter.
fn is_too_deep(line: &[u8]) -> bool {
    let opens = |byte: &u8| matches!(byte, b'[' | b'{');
    // Counting takes a few nanoseconds, and nearly every line returns here.
    if line.iter().filter(|byte| opens(byte)).count() <= MAX_DEPTH {
        return false;
    }
    let mut depth = 0_usize;
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in line {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => depth += 1,
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// Distinguishes a well-formed message of an unknown type from every other mistake.
fn explain(line: &[u8], error: serde_json::Error) -> CodecError {
    /// The fields that every message has, and every message with a payload.
    #[derive(Deserialize)]
    struct Envelope {
        r#type: String,
        #[serde(default)]
        bytes: Option<Value>,
    }
    let Envelope { r#type: name, bytes } = match serde_json::from_slice(line) {
        Ok(envelope) => envelope,
        // The type is unknown, but more is wrong with the line.
        Err(worse) if error.to_string().starts_with("unknown variant") => return CodecError::Malformed(worse),
        Err(_) => return CodecError::Malformed(error),
    };
    // Serde's text is the only sign that the tag, and not some field, was unknown.
    if !error.to_string().starts_with(&format!("unknown variant `{name}`,")) {
        return CodecError::Malformed(error);
    }
    let name = name.chars().take(64).collect();
    match bytes.map_or(Some(0), |bytes| bytes.as_u64()) {
        Some(bytes) => CodecError::UnknownType { name, bytes },
        None => CodecError::UnknownLength { name },
    }
}

#[cfg(test)]
mod tests {
    use super::super::hello::Opening;
    use super::super::runner::FromRunner;
    use super::*;

    fn refusal(line: &[u8]) -> CodecError {
        decode::<FromRunner>(line).unwrap_err()
    }

    #[test]
    fn an_unknown_type_is_told_from_a_broken_line() {
        let unknown = refusal(br#"{"type":"dance","bytes":3}"#);
        assert!(matches!(&unknown, CodecError::UnknownType { name, bytes: 3 } if name == "dance"), "{unknown:?}");
        let unknown = refusal(br#"{"bytes":0,"type":"dance"}"#);
        assert!(matches!(&unknown, CodecError::UnknownType { name, bytes: 0 } if name == "dance"), "{unknown:?}");
        for bytes in ["-1", "1.5", "\"3\"", "[3]", "18446744073709551616"] {
            let unknown = refusal(format!(r#"{{"type":"dance","bytes":{bytes}}}"#).as_bytes());
            assert!(matches!(&unknown, CodecError::UnknownLength { name } if name == "dance"), "{unknown:?}");
        }
        let twice = refusal(br#"{"type":"dance","bytes":1,"bytes":2}"#);
        let text = std::error::Error::source(&twice).unwrap().to_string();
        assert!(text.starts_with("duplicate field `bytes`"), "{text}");
        for line in [r#"{"type":"ping"}"#, r#"{"type":7}"#, r#"{"holding":[]}"#, "[]", "", "null", "ping"] {
            assert!(matches!(refusal(line.as_bytes()), CodecError::Malformed(_)), "{line}");
        }
        let role =
            br#"{"type":"hello","version":1,"min_version":1,"role":"pope","name":"","incarnation":1,"token":""}"#;
        assert!(matches!(decode::<Opening>(role), Err(CodecError::Malformed(_))));
    }

    #[test]
    fn unknown_fields_are_ignored_wherever_they_stand() {
        let ping = FromRunner::Ping { holding: vec![1] };
        for line in [
            r#"{"x":{"y":[1,"2",null]},"type":"ping","holding":[1]}"#,
            r#"{"type":"ping","holding":[1],"x":1e9}"#,
            r#"{"type":"ping","holding":[1],"x":1,"x":2}"#,
            r#"{"type":"ping","holding":[1],"bytes":3}"#,
        ] {
            assert_eq!(decode::<FromRunner>(line.as_bytes()).unwrap(), ping, "{line}");
        }
    }

    #[test]
    fn hostile_lines_are_malformed_and_nothing_worse() {
        let deep = |open: &str| format!("{{\"type\":\"ping\",\"holding\":[],\"x\":{}", open.repeat(100_000));
        let deepest = |depth: usize| {
            let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
            format!("{{\"x\":{open}{close},\"type\":\"ping\",\"holding\":[]}}")
        };
        let too_deep = [deep("["), deep("{\"a\":"), "[".repeat(100_000), deepest(MAX_DEPTH + 1)];
        let fine = [deepest(MAX_DEPTH), format!(r#"{{"type":"ping","holding":[],"\"[":"{}"}}"#, "[{\\\\".repeat(100))];
        let lines = [
            r#"{"type":"ping","holding":[18446744073709551616]}"#.to_owned(),
            r#"{"type":"ping","holding":[-1]}"#.to_owned(),
            r#"{"type":"ping","holding":[1e400]}"#.to_owned(),
            r#"{"type":"ping","holding":[1.5]}"#.to_owned(),
            r#"{"type":"ping","holding":[],"x":"\ud800"}"#.to_owned(),
            r#"{"type":"ping","holding":[],"x":"\udc00\ud800"}"#.to_owned(),
            "{\"type\":\"ping\",\"holding\":[]}\0".to_owned(),
            r#"{"type":"ping","holding":[],"holding":[]}"#.to_owned(),
            r#"{"type":"ping","type":"ping","holding":[]}"#.to_owned(),
            r#"{"type":"ping","holding":[]} {"type":"ping","holding":[]}"#.to_owned(),
        ];
        // The stack has the size of a session's, not of a test's.
        let check = move || {
            for line in lines {
                let shown: String = line.chars().take(60).collect();
                assert!(matches!(refusal(line.as_bytes()), CodecError::Malformed(_)), "{shown}");
            }
            for line in too_deep {
                assert!(matches!(refusal(line.as_bytes()), CodecError::TooDeep));
            }
            for line in fine {
                assert_eq!(decode::<FromRunner>(line.as_bytes()).unwrap(), FromRunner::Ping { holding: Vec::new() });
            }
            let text = b"{\"type\":\"started\",\"attempt\":1,\"x\":\"\xff\"}";
            assert!(matches!(refusal(text), CodecError::Malformed(_)));
        };
        std::thread::Builder::new().stack_size(256 * 1024).spawn(check).unwrap().join().unwrap();
    }

    #[test]
    fn a_line_beyond_the_limit_is_refused_before_it_is_parsed() {
        let mut line = br#"{"type":"ping","holding":[]"#.to_vec();
        line.push(b'}');
        line.resize(MAX_LINE_BYTES - 1, b' ');
        assert!(decode::<FromRunner>(&line).is_ok());
        line.push(b' ');
        assert!(matches!(refusal(&line), CodecError::TooLong(len) if len == MAX_LINE_BYTES + 1));
    }
}
