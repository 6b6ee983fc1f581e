//! The names of streams in messages.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// The name of one of an attempt's streams. Messages leave out `log`, the only stream of the protocol's version 1, so
/// that a piece of a log costs no allocation for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum StreamName {
    #[default]
    Log,
    Other(Arc<str>),
}

impl StreamName {
    pub(super) fn is_log(&self) -> bool {
        *self == Self::Log
    }

    /// The name as text.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Log => "log",
            Self::Other(name) => name,
        }
    }
}

impl From<String> for StreamName {
    fn from(name: String) -> Self {
        if name == "log" { Self::Log } else { Self::Other(name.into()) }
    }
}

impl Serialize for StreamName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}
