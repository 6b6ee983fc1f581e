//! The fields of messages about entries of the tool cache: results of build tools that runners share.

use serde::{Deserialize, Serialize};

/// The fields of `find_entry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryQuestion {
    pub attempt: u64,
    /// A number that the runner chose, by which it knows the answer.
    pub request: u64,
    /// The tool, such as `ccache`, and its own name for the entry.
    pub tool: String,
    pub name: String,
    /// The offset at which the wanted piece begins. 0 by default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: u64,
}

/// The fields of `entry`: the answer to `find_entry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryAnswer {
    pub attempt: u64,
    pub request: u64,
    /// Absent if there is none, or if the dispatcher cannot tell now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<EntryFacts>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: u64,
    /// The length of the piece.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes: u64,
}

/// An entry that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryFacts {
    /// The scope in which it is: the full name of a ref, and whether trusted builds wrote it.
    #[serde(rename = "ref")]
    pub reference: String,
    pub trusted: bool,
    /// The BLAKE3 hash of its bytes, as 64 hexadecimal digits, and their number.
    pub blob: String,
    pub size: u64,
    /// Pairs of a name and a value: HTTP headers that the tool gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The build, the task and the attempt that wrote it.
    pub build: u64,
    pub task: String,
    pub by: u64,
}

/// The fields of `keep_entry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryPiece {
    pub attempt: u64,
    /// A number that the runner chose, by which it knows the answer.
    pub request: u64,
    pub tool: String,
    pub name: String,
    pub blob: String,
    /// The length of the whole entry. It ends with the piece that reaches it.
    pub size: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The length of the piece.
    pub bytes: u64,
}

/// Entries of the tool cache of one tool in one scope together, for an operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolReport {
    pub repo: String,
    pub tool: String,
    /// The full name of the ref whose builds read and write them.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Whether trusted builds wrote them. Only untrusted builds of the ref read those that untrusted builds wrote.
    pub trusted: bool,
    pub entries: u64,
    pub bytes: u64,
    /// When an attempt last got one of them, or when it was written; up to an hour too early.
    pub used_ms: i64,
}

/// An entry of the tool cache, for an operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryReport {
    pub key: String,
    pub repo: String,
    pub tool: String,
    pub name: String,
    /// The full name of the ref whose builds read and write it.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Whether trusted builds wrote it.
    pub trusted: bool,
    pub bytes: u64,
    /// The attempt that wrote it.
    pub build: u64,
    pub task: String,
    pub number: u32,
    pub attempt: u64,
    pub saved_ms: i64,
    pub used_ms: i64,
    pub blob: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
