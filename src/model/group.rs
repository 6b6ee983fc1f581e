//! Groups of tasks, and the lines in which their jobs take turns.

use serde::{Deserialize, Serialize};

use super::{GroupName, RepoName, TaskName};

/// The group of a task. At most `limit` jobs of a group are executed at a time, in the order of builds, over all builds
/// of the repository.
///
/// Its serialised form is stored as a part of the task's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub name: GroupName,
    /// How many jobs of the group may be executed while this one is.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub limit: u32,
    /// Whether the task is exclusive as well, beside its group.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
}

impl Group {
    /// A group of one.
    #[must_use]
    pub fn new(name: GroupName) -> Self {
        Self { name, limit: 1, exclusive: false }
    }
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_one(limit: &u32) -> bool {
    *limit == 1
}

/// A line of jobs that take turns, over all builds of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Line {
    /// The jobs of an exclusive task.
    Task(RepoName, TaskName),
    /// The jobs of a group.
    Group(RepoName, GroupName),
}

impl Line {
    /// The repository.
    #[must_use]
    pub fn repo(&self) -> &RepoName {
        match self {
            Self::Task(repo, _) | Self::Group(repo, _) => repo,
        }
    }
}
