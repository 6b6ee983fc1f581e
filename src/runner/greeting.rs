//! The opening exchange from the runner's side: `hello`, then `welcome` or a refusal. Classifies refusals. The
//! session's thread decides when to try again.

use crate::model::RunnerName;

use super::limits::GREETING;
use crate::config::{ConfigError, KnownPins, TokenSource};
use crate::protocol::hello::{ErrorCode, Greeting, Hello, Opening, Refusal, Remedy, Role, Welcome};
use crate::protocol::limits::MAX_LINE_BYTES;
use crate::protocol::{MIN_VERSION, VERSION};
use crate::transport::{self, Frame, FrameReader, Stream, TransportError};

/// The identity of the runner. It is the same for all sessions.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) name: RunnerName,
    /// A random number, drawn at the start of this process.
    pub(super) incarnation: u64,
    pub(super) token: TokenSource,
    /// The way to call the runner, if it listens.
    pub(super) callback: Option<Callback>,
}

/// The way in which a dispatcher calls a runner that listens.
#[derive(Debug, Clone)]
pub(super) struct Callback {
    pub(super) address: String,
    /// The secret by which the runner knows the dispatcher's call.
    pub(super) key: String,
}

/// The reason why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum Setback {
    #[error(transparent)]
    Token(#[from] ConfigError),
    #[error(transparent)]
    Connection(#[from] TransportError),
    #[error("the dispatcher closed the connection without a word")]
    Silent,
    /// A refusal that passes by itself: a busy dispatcher, a dispatcher that shuts down.
    #[error("the dispatcher refused for now: {0}")]
    ForNow(String),
    /// Another runner has the name, or had it a moment ago and is not given up yet.
    #[error("the dispatcher refused: {0}")]
    NameTaken(String),
    /// A refusal that lasts until a person changes the token or a program.
    #[error("the dispatcher refused: {0}")]
    ForGood(String),
    #[error(
        "the dispatcher answered with protocol version {0}; this runner speaks {MIN_VERSION} to {VERSION}: run one version of surveil at both"
    )]
    Version(u32),
}

impl Setback {
    /// Whether a new try is useless until a person acts.
    pub(super) fn is_for_good(&self) -> bool {
        match self {
            Self::Connection(error) => error.is_wrong_pin(),
            Self::ForGood(_) | Self::Version(_) | Self::Token(ConfigError::TokenPipe { .. }) => true,
            Self::Token(_) | Self::Silent | Self::ForNow(_) | Self::NameTaken(_) => false,
        }
    }
}

/// Sends `hello` and reads the answer. With `call` the `hello` names the listening address and its key; the session
/// ends after that.
pub(super) fn greet(
    stream: &Stream,
    reader: &mut FrameReader,
    who: &Identity,
    (pins, call): (&KnownPins, bool),
) -> Result<Welcome, Setback> {
    let token = who.token.read()?;
    let callback = who.callback.clone().filter(|_| call);
    let (listens_at, callback_key) = callback.map(|Callback { address, key }| (address, key)).unzip();
    let hello = Hello::new(Role::Runner, who.name.to_string(), who.incarnation, token);
    let hello = Hello { listens_at, callback_key, pins: pins.texts(), ..hello };
    reader.set_timeout(Some(GREETING))?;
    transport::write_frame(stream, &Frame::new(&Opening::Hello(hello)))?;
    match reader.read::<Greeting>(MAX_LINE_BYTES)? {
        Some(Greeting::Welcome(welcome)) if (MIN_VERSION..=VERSION).contains(&welcome.version) => Ok(welcome),
        Some(Greeting::Welcome(welcome)) => Err(Setback::Version(welcome.version)),
        Some(Greeting::Error(refusal)) => Err(setback(refusal, &who.token)),
        None => Err(Setback::Silent),
    }
}

fn setback(Refusal { code, text, .. }: Refusal, token: &TokenSource) -> Setback {
    match code.remedy() {
        _ if code == ErrorCode::NameTaken => Setback::NameTaken(text),
        _ if code == ErrorCode::Token => {
            let file = token.path().display();
            Setback::ForGood(format!("{text} (the token was read from {file}; --token-file names another file)"))
        }
        Remedy::Person => Setback::ForGood(text),
        Remedy::Time | Remedy::OtherRequest => Setback::ForNow(text),
    }
}
