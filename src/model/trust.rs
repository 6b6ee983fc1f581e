//! What decides whether a build is trusted.

use super::{BranchName, RefName};

/// The refs that an observer of a repository tells apart from others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedRefs {
    /// The repository's default branch, if it is known.
    pub default_branch: Option<BranchName>,
    /// The branches and tags that the observer watches by name, and not by a pattern.
    pub named: Vec<RefName>,
}
