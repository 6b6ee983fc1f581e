//! The cause of a build. A build is a repository, a commit and a trigger; the same trigger never makes two builds.

use std::fmt;
use std::sync::Arc;

use super::{BranchName, CommitId};

/// A ref's full name, such as `refs/heads/main`. It may be any text that git allows, so it is never used as a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(Arc<str>);

/// The namespace of branches.
const BRANCHES: &str = "refs/heads/";

impl RefName {
    /// Takes a full name without a check.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The full name of a branch.
    #[must_use]
    pub fn of_branch(branch: &BranchName) -> Self {
        Self(format!("{BRANCHES}{branch}").into())
    }

    /// The full name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without `refs/heads/`, if the ref is a branch.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.0.strip_prefix(BRANCHES)
    }

    /// The name as people know it: a branch without `refs/heads/`, any other ref in full.
    #[must_use]
    pub fn short(&self) -> &str {
        self.branch().unwrap_or(&self.0)
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

worded! {
    /// Whether a build may use things that are reserved for the owners' own commits, such as secrets.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Trust: word {
        Trusted = "trusted",
        Untrusted = "untrusted",
    }
}

impl Trust {
    /// The default trust in a ref, without a rule of the operator: `main` and `master` are trusted.
    #[must_use]
    pub fn by_default(reference: &RefName) -> Self {
        match reference.branch() {
            Some("main" | "master") => Self::Trusted,
            _ => Self::Untrusted,
        }
    }
}

worded! {
    /// The event that asks for a build, with the data of that kind of event.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum TriggerKind: word {
        /// A branch moved to the commit.
        Push {
            /// The number of the move, see [`Trigger::number`].
            number: u64,
            /// The head of the branch that the dispatcher accepted before; `None` for a new branch.
            before: Option<CommitId>,
            /// First-parent commits from `before` (exclusive) to the commit (inclusive), oldest first, bounded by the
            /// observer.
            range: Vec<CommitId>,
            /// The number of those commits, with the older ones that `range` leaves out. `None` if the commit does not
            /// follow `before`, as after a forced push, or if the number is not known.
            commits: Option<u64>,
        } = "push",
    }
}

/// The cause of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    pub kind: TriggerKind,
    /// The ref that the trigger concerns.
    pub reference: RefName,
    pub trust: Trust,
}

impl Trigger {
    /// A push to a branch, with the trust that the branch has by default. `range` has all commits of the push. It has
    /// no number yet.
    #[must_use]
    pub fn push(branch: &BranchName, before: Option<CommitId>, range: Vec<CommitId>) -> Self {
        let commits = Some(range.len() as u64);
        Self::push_of(branch, before, range, commits)
    }

    /// Like [`Trigger::push`], of this number of commits.
    #[must_use]
    pub fn push_of(branch: &BranchName, before: Option<CommitId>, range: Vec<CommitId>, commits: Option<u64>) -> Self {
        let reference = RefName::of_branch(branch);
        let kind = TriggerKind::Push { number: 0, before, range, commits };
        Self { kind, trust: Trust::by_default(&reference), reference }
    }

    /// The same trigger with the number under which the dispatcher has accepted it.
    #[must_use]
    pub fn numbered(mut self, accepted: u64) -> Self {
        let TriggerKind::Push { number, .. } = &mut self.kind;
        *number = accepted;
        self
    }

    /// The number of a push among the accepted moves of all branches of its repository, from 1. It is 0 before the push
    /// is accepted, and for builds from before moves were numbered.
    #[must_use]
    pub fn number(&self) -> u64 {
        let TriggerKind::Push { number, .. } = &self.kind;
        *number
    }

    /// Distinguishes the trigger from others of its kind, ref and commit, so that one trigger makes one build. The key
    /// of a push is its number, in eight bytes, and the head before it. A push without a number has only the head.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        let TriggerKind::Push { number, before, .. } = &self.kind;
        let mut key = if *number == 0 { Vec::new() } else { number.to_be_bytes().to_vec() };
        key.extend_from_slice(before.as_ref().map_or(&[], CommitId::as_bytes));
        key
    }

    /// The head before a push, if there was one.
    #[must_use]
    pub fn before(&self) -> Option<CommitId> {
        let TriggerKind::Push { before, .. } = &self.kind;
        *before
    }

    /// The commits that a push brought.
    #[must_use]
    pub fn range(&self) -> &[CommitId] {
        let TriggerKind::Push { range, .. } = &self.kind;
        range
    }

    /// The number of commits that a push brought, if it is known.
    #[must_use]
    pub fn commits(&self) -> Option<u64> {
        let TriggerKind::Push { commits, .. } = &self.kind;
        *commits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(at: u8) -> CommitId {
        CommitId::from_bytes(&[at; 20]).unwrap()
    }

    #[test]
    fn a_key_tells_pushes_apart_by_branch_and_number_and_not_by_their_range() {
        let key = |branch: &str, before, range: &[u8]| {
            let range = range.iter().map(|at| commit(*at)).collect();
            let trigger = Trigger::push(&BranchName::new(branch), before, range);
            (trigger.kind.word(), trigger.reference.clone(), trigger.key())
        };
        let numbered =
            |number, before| Trigger::push(&BranchName::new("main"), before, Vec::new()).numbered(number).key();
        assert_ne!(numbered(1, Some(commit(1))), numbered(3, Some(commit(1))), "the same heads, moved twice");
        assert_eq!(numbered(258, None), [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(numbered(1, Some(commit(9)))[8..], [9; 20]);
        let main = RefName::new("refs/heads/main");
        assert_eq!(key("main", None, &[1]), ("push", main.clone(), Vec::new()));
        assert_eq!(key("main", Some(commit(1)), &[2]), ("push", main, vec![1; 20]));
        assert_eq!(key("main", Some(commit(1)), &[2]), key("main", Some(commit(1)), &[]));
        assert_ne!(key("main", None, &[]), key("topic", None, &[]));
        assert_ne!(key("main", Some(commit(1)), &[]), key("main", Some(commit(2)), &[]));
    }

    #[test]
    fn only_main_and_master_are_trusted_by_default() {
        let trust = |reference: &str| Trust::by_default(&RefName::new(reference));
        assert_eq!([trust("refs/heads/main"), trust("refs/heads/master")], [Trust::Trusted; 2]);
        for other in ["refs/heads/topic", "refs/heads/x/main", "refs/tags/main", "refs/pull/1/head", "main"] {
            assert_eq!(trust(other), Trust::Untrusted, "{other}");
        }
    }

    #[test]
    fn a_branch_is_shown_without_its_namespace() {
        let main = RefName::of_branch(&BranchName::new("main"));
        assert_eq!((main.as_str(), main.short(), main.branch()), ("refs/heads/main", "main", Some("main")));
        assert_eq!(
            (RefName::new("refs/tags/v1").short(), RefName::new("refs/tags/v1").branch()),
            ("refs/tags/v1", None)
        );
    }
}
