//! The first exchange of every session: `hello`, answered by `welcome` or `error`.

use serde::{Deserialize, Serialize};

use super::limits::MAX_REFUSAL_BYTES;
use super::{MIN_VERSION, VERSION};

/// Enough of any name to know it again; names that exist are no longer.
const QUOTE_CHARS: usize = 100;

/// Who connects, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Observer,
    Runner,
    Operator,
}

/// What a dialling peer, or a listening runner that was dialled, may say first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Opening {
    /// Opens the session.
    Hello(Hello),
}

/// The fields of `hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The newest protocol version the peer speaks.
    pub version: u32,
    /// The oldest protocol version the peer speaks.
    pub min_version: u32,
    pub role: Role,
    /// A runner's unique name; for other roles a text for logs.
    pub name: String,
    /// A random number drawn at each start of the peer's process.
    pub incarnation: u64,
    /// The secret of the role, as in the dispatcher's `tokens/<role>`.
    pub token: String,
    /// The name and version of the peer's program, for logs.
    #[serde(default)]
    pub program: String,
    /// Only for a runner that listens: `host:port` for the dispatcher to dial. The session ends after `welcome`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listens_at: Option<String>,
    /// Only with `listens_at`: what the dispatcher must say in `dialled`, so that the runner knows who calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_key: Option<String>,
}

impl Hello {
    /// The `hello` of this program for a peer that dials.
    pub fn new(role: Role, name: String, incarnation: u64, token: String) -> Self {
        Self {
            version: VERSION,
            min_version: MIN_VERSION,
            role,
            name,
            incarnation,
            token,
            program: concat!("surveil ", env!("CARGO_PKG_VERSION")).to_owned(),
            listens_at: None,
            callback_key: None,
        }
    }
}

/// The answer to `hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Greeting {
    Welcome(Welcome),
    /// The session is refused or ended; the connection closes after it.
    Error(Refusal),
}

/// The fields of `welcome`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version both sides use from here on.
    pub version: u32,
    /// The session's number, for logs.
    pub session: u64,
    /// A random number drawn at each start of the dispatcher.
    pub incarnation: u64,
    /// How often the peer is to send `ping`, in milliseconds.
    pub ping_interval_ms: u64,
    /// After this much silence either side may give the other up, in milliseconds.
    pub timeout_ms: u64,
}

/// The fields of `error`: why a message or a session was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: ErrorCode,
    /// A sentence for a person: what was refused and what to do. At most [`MAX_REFUSAL_BYTES`] are sent, because it may
    /// repeat what the peer has said, and that may be as long as a line.
    #[serde(serialize_with = "serialize_cut")]
    pub text: String,
}

impl Refusal {
    /// What a peer has said, as a sentence may repeat it: on one line, readable, and not for ever.
    pub fn quote(said: &str) -> String {
        match said.char_indices().nth(QUOTE_CHARS) {
            Some((end, _)) => format!("{}…", said[..end].escape_debug()),
            None => said.escape_debug().to_string(),
        }
    }
}

fn serialize_cut<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if text.len() <= MAX_REFUSAL_BYTES {
        return serializer.serialize_str(text);
    }
    serializer.collect_str(&format_args!("{}…", &text[..text.floor_char_boundary(MAX_REFUSAL_BYTES - "…".len())]))
}

/// What a program may branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The line is not a message: not JSON, wrong or missing field, too long, nested too deep; or the first line is no
    /// `hello`. The session ends.
    Malformed,
    /// No common protocol version. The session ends.
    Version,
    /// The token is wrong. The session ends.
    Token,
    /// The message is not one this role may send now. The session ends.
    NotAllowed,
    /// A runner of that name is connected already, or the repository name belongs to another source. The session ends.
    NameTaken,
    /// The dispatcher has as many connections as it allows. The session ends; try later.
    Busy,
    /// The dispatcher is shutting down. The session ends; come back later.
    ShuttingDown,
    /// Nothing by that name. The session goes on.
    NotFound,
    /// The request makes no sense as things stand: cancelling a finished build, say. Or the message is of a type that
    /// is not known for this role; it was passed over. The session goes on.
    Refused,
    /// The pack or an object in it is broken. The session goes on.
    BrokenSource,
    /// Something failed at the dispatcher, which has logged it. The session goes on.
    Internal,
}

/// What the dispatcher says first on a connection that it dialled to a listening runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Call {
    /// The key from the runner's `hello`; the runner answers with `hello` as if it had dialled.
    Dialled { callback_key: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_short_however_long_that_is_which_it_repeats() {
        for said in ["\u{1}".repeat(1 << 20), "x".repeat(1 << 20), "🦀".repeat(1 << 18)] {
            let quoted = Refusal::quote(&said);
            assert!(quoted.len() <= 10 * QUOTE_CHARS && quoted.ends_with('…'), "{quoted}");
            let line = serde_json::to_string(&Refusal { code: ErrorCode::NotFound, text: said }).unwrap();
            // A character that JSON escapes takes six.
            assert!(line.len() < 6 * MAX_REFUSAL_BYTES + 100, "{} bytes", line.len());
            let back: Refusal = serde_json::from_str(&line).unwrap();
            assert!(back.text.ends_with('…') && back.text.len() <= MAX_REFUSAL_BYTES);
        }
        assert_eq!(Refusal::quote("a\nb"), "a\\nb");
    }
}
