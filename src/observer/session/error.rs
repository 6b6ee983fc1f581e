//! The reasons why a session could not be opened, or why it ended.

use std::io;
use std::path::PathBuf;

use crate::config::ConfigError;
use crate::model::{Address, CommitIdError};
use crate::observer::translate::Refused;
use crate::transport::TransportError;

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error(transparent)]
    Token(ConfigError),
    #[error("dispatcher at {address} cannot be reached")]
    Unreachable { address: Address, source: io::Error },
    #[error("could not open a session with the dispatcher at {address}")]
    Broken { address: Address, source: TransportError },
    #[error("dispatcher at {address} closed the connection without an answer")]
    NoAnswer { address: Address },
    #[error(
        "dispatcher at {address} refuses the token read from {} (--token-file names another file): {text}",
        path.display()
    )]
    WrongToken { address: Address, path: PathBuf, text: String },
    #[error("dispatcher at {address} refuses this observer: {text}")]
    Protocol { address: Address, text: String },
    #[error("dispatcher at {address} cannot serve this observer now: {text}")]
    Later { address: Address, text: String },
    #[error("could not start a thread for the session")]
    Thread(#[source] io::Error),
}

impl DialError {
    /// Whether another attempt is useless until a person does something.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Broken { source, .. } => source.is_wrong_pin(),
            Self::WrongToken { .. } | Self::Protocol { .. } | Self::Token(ConfigError::TokenPipe { .. }) => true,
            Self::Token(_) | Self::Unreachable { .. } | Self::NoAnswer { .. } | Self::Later { .. } => false,
            Self::Thread(_) => false,
        }
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the dispatcher closed the connection")]
    Closed,
    #[error("the connection broke")]
    Broken(#[source] TransportError),
    #[error("the dispatcher sent an impossible commit id")]
    Nonsense(#[source] CommitIdError),
    #[error("the dispatcher ended the session: {}", .0.text)]
    Refused(Refused),
    #[error("the dispatcher is silent")]
    Silent,
    #[error("the dispatcher sent replies that nobody asked for")]
    Flooded,
}

impl SessionError {
    /// Whether the dispatcher said what this observer cannot understand, so that the next session will hardly be
    /// better.
    pub(crate) fn is_misunderstanding(&self) -> bool {
        matches!(self, Self::Nonsense(_) | Self::Flooded | Self::Broken(TransportError::Malformed(_)))
    }
}

/// The session is over, so the request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionOver;
