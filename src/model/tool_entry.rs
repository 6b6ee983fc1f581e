//! Entries of the tool cache: results of build tools that the dispatcher keeps for later attempts.

use super::{AttemptId, BlobId, BuildId, CacheKey, CacheScope, RepoName, TaskName, WallTime};

/// An entry of the tool cache. It is written once and never changed, except for the time of its last use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolEntry {
    /// A hash of the repository, the scope, the tool and the name.
    pub key: CacheKey,
    pub repo: RepoName,
    pub scope: CacheScope,
    /// The tool, as the first part of its paths names it, such as `ccache`.
    pub tool: String,
    /// The tool's own name for the entry.
    pub name: String,
    /// HTTP headers that its readers get.
    pub headers: Vec<(String, String)>,
    /// The hash of its bytes, and their number.
    pub blob: BlobId,
    pub bytes: u64,
    /// The attempt that wrote it, with its build, its task and its number.
    pub attempt: AttemptId,
    pub build: BuildId,
    pub task: TaskName,
    pub number: u32,
    pub saved_at: WallTime,
    /// When an attempt last got it, or when it was written. It may be an hour old.
    pub used_at: WallTime,
}

/// The entries of one tool in one scope, together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolTotal {
    pub repo: RepoName,
    pub scope: CacheScope,
    pub tool: String,
    pub entries: u64,
    pub bytes: u64,
    /// The latest use of any of them.
    pub used_at: WallTime,
}

/// The entries that are meant: all by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct ToolFilter<'a> {
    /// Only those of this repository.
    pub repo: Option<&'a str>,
    /// Only those of this tool.
    pub tool: Option<&'a str>,
    /// Only those whose keys begin with these digits.
    pub key: Option<&'a str>,
}
