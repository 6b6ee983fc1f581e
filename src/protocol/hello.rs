//! The first exchange of every session: `hello`, answered by `welcome` or `error`.

use serde::{Deserialize, Serialize};

use super::limits::MAX_REFUSAL_BYTES;
use super::{MIN_VERSION, VERSION};

/// The most characters of a peer's text that a refusal repeats. No valid name is longer.
const QUOTE_CHARS: usize = 100;

/// The most characters of a refusal that a log repeats.
const LOG_CHARS: usize = 500;

/// The role of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Observer,
    Runner,
    Operator,
}

/// The first message of a peer: of one that dials, and of a listening runner that was dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Opening {
    /// Opens the session.
    Hello(Hello),
}

/// The fields of `hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The newest protocol version that the peer speaks.
    pub version: u32,
    /// The oldest protocol version that the peer speaks.
    pub min_version: u32,
    pub role: Role,
    /// The unique name of a runner; for other roles a text for logs.
    pub name: String,
    /// A random number that the peer's process draws at each start.
    pub incarnation: u64,
    /// The credential of the peer; a join token, with `join`; or the secret of the role, the content of the
    /// dispatcher's `tokens/<role>`.
    pub token: String,
    /// The name and version of the peer's program, for logs. Empty by default.
    #[serde(default)]
    pub program: String,
    /// Only from a runner that listens: the `host:port` that the dispatcher shall dial. The session ends after
    /// `welcome`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listens_at: Option<String>,
    /// Only with `listens_at`: the key that the dispatcher repeats in `dialled`, so that the runner recognises it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_key: Option<String>,
    /// Only with a join token: asks for a credential. The session ends after `welcome`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<JoinRequest>,
    /// Only from an operator: the name of the person, as `USER@HOST`. It is recorded with the orders of a session that
    /// was opened with the secret of the role, and proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The pins by which the peer knows the dispatcher, if it keeps others that the dispatcher names. None by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<String>,
    /// Whether an observer knows of refs that are no branches. False by default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_refs: bool,
    /// Whether an observer understands `wake`. False by default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_wakes: bool,
    /// Whether the peer takes an answer in several messages (see [`super::pieces`]). False by default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_pieces: bool,
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
            join: None,
            user: None,
            pins: Vec::new(),
            takes_refs: role == Role::Observer,
            takes_wakes: role == Role::Observer,
            takes_pieces: role != Role::Runner,
        }
    }
}

/// The request of a peer for a credential of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The secret of the credential: 64 lower-case hexadecimal digits that the peer has drawn at random, and keeps. The
    /// same request with the same secret may be repeated, and spends the join token once.
    pub secret: String,
    /// The name that the peer gets if neither `name` nor the join token says one.
    pub default_name: String,
    /// The name of a runner's machine. The runner may have the label `hostname=…` of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

/// The credential of a peer that has just joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedAs {
    /// The id of the credential, which is `svc1.ID.SECRET` with the secret that the peer has drawn.
    pub id: String,
    /// The name to say in `hello` from now on.
    pub name: String,
    /// The role: `observer`, `runner`, `reader`, `member` or `admin`.
    pub role: String,
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
    /// The version that both sides use from here on.
    pub version: u32,
    /// The session's number, for logs.
    pub session: u64,
    /// A random number that the dispatcher draws at each start.
    pub incarnation: u64,
    /// The interval at which the peer shall send `ping`, in milliseconds.
    pub ping_interval_ms: u64,
    /// The silence after which either side may give the other up, in milliseconds.
    pub timeout_ms: u64,
    /// Whether the dispatcher takes refs that are no branches. False by default; only an observer that takes them is
    /// told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_refs: bool,
    /// Whether the dispatcher keeps entries of the tool cache. False by default; only a runner is told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_entries: bool,
    /// The pins by which the peer is to know the dispatcher from now on, if `hello` named other ones: two while the
    /// dispatcher replaces its authority.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<String>,
    /// Only in the answer to a `join`: the credential that the peer has from now on. It is durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<JoinedAs>,
}

/// The fields of `error`: the reason why a message or a session was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: ErrorCode,
    /// A sentence for a person: what was refused, and what to do about it. At most [`MAX_REFUSAL_BYTES`] are sent,
    /// because the sentence may repeat the peer's own words, and those may be as long as a line.
    #[serde(serialize_with = "serialize_cut")]
    pub text: String,
    /// The code of the reason, if it is one of those in "Reasons" of the protocol document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<String>,
}

impl Refusal {
    /// A refusal whose reason has no code of its own.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), reason_code: None }
    }

    /// The same refusal with the code of its reason.
    #[must_use]
    pub fn because(self, reason_code: &str) -> Self {
        Self { reason_code: Some(reason_code.to_owned()), ..self }
    }

    /// Returns the text as a line of a log: it may repeat the peer's own words.
    pub fn line(&self) -> String {
        self.text.chars().take(LOG_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
    }

    /// Returns a peer's text as a sentence may repeat it: on one line, with escapes, and of bounded length.
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

/// The kind of refusal. Programs branch on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The line is not a message: it is no JSON, has a wrong or missing field, is too long or nests too deep. Or the
    /// first line is no `hello`. The session ends.
    Malformed,
    /// There is no common protocol version. The session ends.
    Version,
    /// The token is wrong. The session ends.
    Token,
    /// The role may not send this message now. The session ends.
    NotAllowed,
    /// A runner of that name is connected already, or the repository name belongs to another source. The session ends.
    NameTaken,
    /// The dispatcher has as many connections as it allows. The session ends; try later.
    Busy,
    /// The dispatcher is shutting down. The session ends; come back later.
    ShuttingDown,
    /// Nothing has that name. The session goes on.
    NotFound,
    /// The request makes no sense in the present state, such as cancelling a finished build. Or the message has a type
    /// that this role does not have; it was passed over. The session goes on.
    Refused,
    /// The pack or an object in it is broken. The session goes on.
    BrokenSource,
    /// The dispatcher failed, and has logged why. The session goes on.
    Internal,
}

/// What a peer does about a refusal. The table is the same for all roles and commands, and stands in "Error codes" of
/// the protocol document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Only a person can help, with another token or program. A peer that never had a session ends; one that had a
    /// session goes on trying, slowly, because the person may be at the dispatcher.
    Person,
    /// It passes by itself. The peer tries again, with pauses that grow.
    Time,
    /// Nothing is wrong with the session, only with this request.
    OtherRequest,
}

impl ErrorCode {
    /// Returns what a peer does about a refusal with this code. A taken name passes if it is a runner's, because the
    /// other runner may be gone without the dispatcher's knowledge; that of a repository needs a person.
    #[must_use]
    pub fn remedy(self) -> Remedy {
        match self {
            Self::Malformed | Self::Version | Self::Token | Self::NotAllowed => Remedy::Person,
            Self::NameTaken | Self::Busy | Self::ShuttingDown => Remedy::Time,
            Self::NotFound | Self::Refused | Self::BrokenSource | Self::Internal => Remedy::OtherRequest,
        }
    }
}

/// The dispatcher's first message on a connection that it dialled to a listening runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Call {
    /// Carries the key from the runner's `hello`. The runner answers with `hello`, as if it had dialled.
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
            let line = serde_json::to_string(&Refusal::new(ErrorCode::NotFound, said)).unwrap();
            // A character that JSON escapes takes six.
            assert!(line.len() < 6 * MAX_REFUSAL_BYTES + 100, "{} bytes", line.len());
            let back: Refusal = serde_json::from_str(&line).unwrap();
            assert!(back.text.ends_with('…') && back.text.len() <= MAX_REFUSAL_BYTES);
        }
        assert_eq!(Refusal::quote("a\nb"), "a\\nb");
        let line = Refusal::new(ErrorCode::Malformed, format!("a\nb\u{1b}c{}", "x".repeat(1000))).line();
        assert!(line.starts_with("a b cx") && line.len() == LOG_CHARS, "{line}");
    }
}
