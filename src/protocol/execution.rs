//! How attempts are executed, in the words in which runners tell it and reports repeat it.

use serde::{Deserialize, Serialize};

/// How an attempt was executed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// The tier that was in force: `shared`, `guarded`, `sealed` or `image`.
    pub tier: String,
    /// The means by which it was in force, a few words. Empty for `shared`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub means: String,
    /// The most memory that the attempt's processes had at a time, as far as it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The processor time of the attempt's processes, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// The limits of the task that were not enforced, or not wholly, each in a few words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_enforced: Vec<String>,
    /// The limit of which the attempt used more, so that its processes were ended. Empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub exceeded: String,
    /// The services of the attempt. None by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceEnd>,
}

/// The fate of one service of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEnd {
    pub name: String,
    /// The time after which it was ready. Absent if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_ms: Option<u64>,
    /// How it failed: before it was ready, or else before its task ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<ServiceFailureEnd>,
    /// The last lines of its log, if it is the reason why the task could not start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// The container tool and the digest of its image, a few words. Empty for a program of the runner's machine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub means: String,
}

/// How a service failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFailureEnd {
    /// `exit_code`, `signal`, `could_not_start` or `not_ready`.
    pub code: String,
    /// The exit code, the signal, or with `not_ready` the exit code of the last try of `ready`, if one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<i32>,
    /// With `could_not_start`: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// With `not_ready`: the time within which it had to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// The tiers of isolation that a runner offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tiers {
    /// The tier of a task that asks for less: `shared`, `guarded` or `sealed`.
    pub least: String,
    /// The highest tier that a task can ask for.
    pub most: String,
    /// The means by which attempts are guarded, a few words. Empty if none are.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub means: String,
}
