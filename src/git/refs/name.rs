//! Names of refs, and what HEAD names.

use crate::model::{BranchName, CommitId};

/// The beginning of the full names of branches.
pub(super) const BRANCHES: &str = "refs/heads/";

/// The content of HEAD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::git) enum HeadPointer {
    /// The full name of a ref, which may not exist yet.
    Names(String),
    /// The commit that it is at.
    Detached(CommitId),
}

/// Whether git allows a ref of this full name.
pub(super) fn is_ref_name(name: &str) -> bool {
    BranchName::is_allowed(name)
}
