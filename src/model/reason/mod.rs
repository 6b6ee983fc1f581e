//! Reasons as data: why the scheduler decided as it did. Each enum is closed, and each variant has a code in snake_case
//! that never changes its meaning: the store, the wire and `--format json` carry it beside the text. `words/` is the
//! only folder that makes text of a reason.
//!
//! Reasons that are stored are JSON there, tagged by their code. A field is only ever added with a default, and a
//! variant is never renamed.

mod choice;
mod ending;
mod history;
mod loss;
mod order;
mod status;
mod timeout;

pub use choice::ChangeReason;
pub use ending::{
    CancelReason, ErrorReason, LeftOutReason, LostWith, MissingFit, SecretDenial, SkipReason, TaskFailure,
};
pub use history::{DecisionKind, HistoryEntry, Quarantine};
pub use loss::{LossReason, PlacementReason};
pub use order::{CloseReason, NamedJobs, OrderDone, RefusalReason};
pub use status::{AttemptStatus, Concern, FirstInLine, JobStatus, Notice};
pub use timeout::TimeoutReason;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{BuildId, GroupName, Label, RunnerName, TaskName};

/// A reason of which only the text is known: a row from before there were codes, or a code of a newer program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedReason {
    pub code: Option<String>,
    pub text: String,
}

/// A reason that is stored. `Display` gives its text.
pub trait StoredReason: Serialize + DeserializeOwned + From<RecordedReason> + std::fmt::Display {
    /// The stable code; `None` for a row from before there were codes.
    fn code(&self) -> Option<&str>;
}

/// Names stand in stored reasons as their text.
macro_rules! stored_as_text {
    ($($name:ident)+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(|text| Self::recorded(&text))
            }
        }
    )+};
}

stored_as_text!(TaskName RunnerName Label GroupName);

/// A build stands in stored reasons as its number.
impl Serialize for BuildId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for BuildId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self)
    }
}
