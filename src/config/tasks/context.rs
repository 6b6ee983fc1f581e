//! The occasion of a plan: everything besides the commit's own files that its tasks may depend on.

use crate::model::{BuildSource, TaskName};

/// The occasion of a plan. No key of a task depends on it yet; keys that name refs, triggers or trust will read it.
/// Changed paths are not part of it: a caller that plans for a build has the repository, `before` and the commit, and
/// can compute them when a key asks for them.
#[derive(Debug, Clone, Copy)]
pub enum PlanContext<'a> {
    /// The dispatcher plans a build: repository, commit, and the trigger with its ref, its trust and the head before.
    Build(&'a BuildSource),
    /// A task of a build wrote the file: its tasks join the build under the name of that task.
    WrittenBy(&'a TaskName),
    /// A commit's files are read without a build, or those of a directory: nothing but them is known.
    Unknown,
}
