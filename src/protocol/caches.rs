//! The fields of messages about caches. A `key` and a `family` are 32 hexadecimal digits: a hash of everything that a
//! cache depends on, and one of that without the contents of files.

use serde::{Deserialize, Serialize};

use super::tool_entries::{EntryReport, ToolReport};

/// The fields of `find_cache`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheQuestion {
    pub attempt: u64,
    pub family: String,
    pub key: String,
}

/// The fields of `cache`: the answer to `find_cache`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheAnswer {
    pub attempt: u64,
    /// The key that was asked for.
    pub key: String,
    /// The most bytes of a cache that the dispatcher takes.
    pub max_bytes: u64,
    /// Absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundCache>,
}

/// A cache that an attempt may restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundCache {
    /// The blob with its manifest.
    pub manifest: String,
    pub key: String,
    /// Whether it has the key that was asked for; else it is the newest one of the family.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exact: bool,
    pub files: u64,
    /// The length of all files together.
    pub bytes: u64,
    /// The attempt that saved it, such as `b12/test`, and its scope, for people.
    pub from: String,
    pub scope: String,
}

/// The fields of `save_cache`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheSave {
    pub attempt: u64,
    pub family: String,
    pub key: String,
    /// The parts of which the key was made, for people.
    #[serde(default)]
    pub about: String,
    pub manifest: String,
    pub files: u64,
    /// The length of all files together.
    pub size: u64,
}

/// The fields of an operator's `caches` and `remove_caches`: the caches that are meant, all by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheSelection {
    /// Only those of this repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Only those of the one key that begins with these digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Only entries of the tool cache, those of this tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The most entries of a tool that are told one by one; 100 by default, at most 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The answer to an operator's `caches`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachesReport {
    /// Total size beyond which the least recently used caches are removed.
    pub limit_bytes: u64,
    /// The most recently used one first.
    pub caches: Vec<CacheReport>,
    /// The entries of the tool cache, together for each tool and scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolReport>,
    /// Some of these entries, the most recently used one first, if the question named a tool or a key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<EntryReport>,
    /// Whether the next message goes on with the list, or, for an operator that takes no pieces, whether some are left
    /// out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// A cache of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheReport {
    pub repo: String,
    pub key: String,
    pub family: String,
    /// The full name of the ref whose builds read and write it.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Whether trusted builds wrote it. Only untrusted builds of the ref read one that an untrusted build wrote.
    pub trusted: bool,
    pub files: u64,
    pub bytes: u64,
    /// The attempt that saved it.
    pub build: u64,
    pub task: String,
    pub number: u32,
    pub attempt: u64,
    pub saved_ms: i64,
    /// When an attempt last got it, or when it was saved; up to an hour too early.
    pub used_ms: i64,
    /// The parts of which the key was made.
    pub about: String,
    pub manifest: String,
}
