//! How an attempt was executed: the isolation in force, and what the attempt used.

use serde::{Deserialize, Serialize};

use super::ServiceRecord;

/// How an attempt was executed, as its runner reports it. It is on the wire and in the store as it is, so a field is
/// only ever added, with a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecutionRecord {
    /// The tier that was in force, [`super::Tier::word`]; of a newer runner maybe a word that this program does not
    /// know.
    pub tier: String,
    /// The means by which it was in force, for people. Empty for `shared`, which takes none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub means: String,
    /// The most memory that the attempt's processes had at a time, as far as it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The processor time of the attempt's processes, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// The limits of the task that were not enforced, or not wholly, in words that begin with the limit's key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_enforced: Vec<String>,
    /// The limit of which the attempt used more, so that its processes were ended, in words; empty if there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub exceeded: String,
    /// The services of the attempt, in the order of the task.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceRecord>,
}
