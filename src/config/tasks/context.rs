//! The occasion of a plan: everything besides the commit's own files that its tasks and schedules may depend on.

use crate::model::{BranchName, BuildSource, TaskName};

/// The occasion of a plan. Changed paths are not part of it: a caller that plans for a build has the repository,
/// `before` and the commit, and judges them afterwards.
#[derive(Debug, Clone, Copy)]
pub enum PlanContext<'a> {
    /// The dispatcher plans the build of a ref's new head, with the default branches of the repository. Only such a
    /// plan has the schedules of the branch.
    Head(&'a BuildSource, &'a [BranchName]),
    /// The dispatcher plans another build: repository, commit, and the trigger with its ref and its trust.
    Build(&'a BuildSource),
    /// A task of a build wrote the file: its tasks join the build under the name of that task.
    WrittenBy(&'a TaskName),
    /// A commit's files are read without a build, or those of a directory: nothing but them is known.
    Unknown,
}
