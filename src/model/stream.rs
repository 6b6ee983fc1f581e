//! The byte streams that an attempt leaves: its log, and that of each of its services.

use std::fmt;
use std::sync::Arc;

use super::{AttemptId, LogSummary};

/// The longest name of a stream. It is a part of file names.
const MAX_NAME_BYTES: usize = 64;

/// The beginning of the names of services' logs.
const OF_SERVICE: &str = "service-";

/// The content of an attempt's stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    /// The output of the task. The least kind, so that the log comes first when an attempt's streams are sorted.
    Log,
    /// Another stream, by its name: the log of a service ([`Self::of_service`]), or one that this program gives no
    /// meaning to. A dispatcher refuses those.
    Other(Arc<str>),
}

/// A text that cannot name a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot name a stream: use 1 to {MAX_NAME_BYTES} of a-z 0-9 _ - and start with a letter")]
pub struct StreamNameError(String);

impl StreamKind {
    /// Returns the kind with this name. Names are safe in file names.
    pub fn new(name: &Arc<str>) -> Result<Self, StreamNameError> {
        let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        match &**name {
            "log" => Ok(Self::Log),
            text if (1..=MAX_NAME_BYTES).contains(&text.len())
                && text.starts_with(|first: char| first.is_ascii_lowercase())
                && text.bytes().all(is_fine) =>
            {
                Ok(Self::Other(name.clone()))
            }
            text => Err(StreamNameError(text.chars().take(80).collect())),
        }
    }

    /// The kind of the log of the service with this name.
    #[must_use]
    pub fn of_service(name: &str) -> Self {
        Self::Other(format!("{OF_SERVICE}{name}").into())
    }

    /// Returns the name of the service of which it is the log.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.name().strip_prefix(OF_SERVICE)
    }

    /// The name on the wire and in file names.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Log => "log",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for StreamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One stream of one attempt. Shown as `log of attempt a12`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub attempt: AttemptId,
    pub kind: StreamKind,
}

impl StreamId {
    /// The attempt's log, which comes before all of its other streams.
    #[must_use]
    pub fn log(attempt: AttemptId) -> Self {
        Self { attempt, kind: StreamKind::Log }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of attempt {}", self.kind, self.attempt)
    }
}

/// A stream beside the log that an attempt left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSummary {
    pub kind: StreamKind,
    pub summary: LogSummary,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streams_name_is_safe_in_a_file_name() {
        let kind = |name: &str| StreamKind::new(&name.into());
        assert_eq!(kind("log"), Ok(StreamKind::Log));
        let report = kind("report-2").unwrap();
        assert_eq!(report.service(), None);
        assert_eq!(StreamId { attempt: AttemptId(7), kind: report }.to_string(), "report-2 of attempt a7");
        let service = StreamKind::of_service("db");
        assert_eq!((kind("service-db"), service.service()), (Ok(service.clone()), Some("db")));
        for name in ["", "../x", "a.b", "A", "-a", "2a", &"a".repeat(65)] {
            assert!(kind(name).unwrap_err().to_string().contains("cannot name a stream"), "{name}");
        }
    }
}
