//! The trust of a build: the operator's rule decides it, with the facts that an observer tells of the repository's
//! refs.

use super::glob::matches_name;
use super::{BranchName, RefName, Trust};

/// The refs that an observer of a repository tells apart from others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedRefs {
    /// The repository's default branch, if it is known.
    pub default_branch: Option<BranchName>,
    /// The branches and tags that the observer watches by name, and not by a pattern.
    pub named: Vec<RefName>,
}

/// The default branches of repositories whose default branch nobody has told.
const USUAL_DEFAULTS: [&str; 2] = ["main", "master"];

impl ObservedRefs {
    /// Returns the default branch, or the names that it usually has if nobody has told it.
    #[must_use]
    pub fn default_branches(&self) -> Vec<BranchName> {
        match &self.default_branch {
            Some(branch) => vec![branch.clone()],
            None => USUAL_DEFAULTS.map(BranchName::new).into(),
        }
    }
}

/// An operator's rule about the refs of a repository that are trusted. A part that is `None` is not decided by the
/// operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustRule {
    /// Whether the default branch is trusted, by default yes.
    pub default_branch: Option<bool>,
    /// Globs for branches; by default those that the observer watches by name.
    pub branches: Option<Vec<String>>,
    /// Globs for tags; by default those that the observer watches by name.
    pub tags: Option<Vec<String>>,
    /// Globs for full names of other refs, by default none.
    pub refs: Option<Vec<String>>,
}

impl TrustRule {
    /// Returns the rule in which each part that this one leaves open is that of the other rule.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            default_branch: self.default_branch.or(other.default_branch),
            branches: self.branches.clone().or_else(|| other.branches.clone()),
            tags: self.tags.clone().or_else(|| other.tags.clone()),
            refs: self.refs.clone().or_else(|| other.refs.clone()),
        }
    }

    /// Decides whether a build of this ref is trusted.
    #[must_use]
    pub fn judge(&self, reference: &RefName, observed: &ObservedRefs) -> Trust {
        let is_listed = |globs: &Option<Vec<String>>, name: &str| match globs {
            Some(globs) => globs.iter().any(|glob| matches_name(glob, name)),
            None => observed.named.contains(reference),
        };
        let is_trusted = match (reference.branch(), reference.tag()) {
            (Some(branch), _) => {
                let is_default = observed.default_branches().iter().any(|default| default.as_str() == branch);
                is_default && self.default_branch.unwrap_or(true) || is_listed(&self.branches, branch)
            }
            (None, Some(tag)) => is_listed(&self.tags, tag),
            // No observer makes one of these trusted: anybody may open a pull request.
            (None, None) => self.refs.is_some() && is_listed(&self.refs, reference.as_str()),
        };
        if is_trusted { Trust::Trusted } else { Trust::Untrusted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|glob| (*glob).to_owned()).collect())
    }

    #[track_caller]
    fn assert_trusted(rule: &TrustRule, observed: &ObservedRefs, trusted: &[&str], untrusted: &[&str]) {
        for (names, trust) in [(trusted, Trust::Trusted), (untrusted, Trust::Untrusted)] {
            for name in names {
                assert_eq!(rule.judge(&RefName::new(name), observed), trust, "{name}");
            }
        }
    }

    #[test]
    fn the_default_branch_and_watched_names_are_trusted_if_the_operator_decides_nothing() {
        let named = ["refs/heads/release/1", "refs/tags/v1", "refs/pull/1/head"].map(RefName::new).into();
        let observed = ObservedRefs { default_branch: Some(BranchName::new("trunk")), named };
        let trusted = ["refs/heads/trunk", "refs/heads/release/1", "refs/tags/v1"];
        let untrusted = ["refs/heads/main", "refs/heads/release/2", "refs/tags/trunk", "refs/tags/v2", "HEAD"];
        assert_trusted(&TrustRule::default(), &observed, &trusted, &untrusted);
        let others = ["refs/pull/1/head", "refs/pull/2/head", "refs/heads/x/trunk", "trunk"];
        assert_trusted(&TrustRule::default(), &observed, &[], &others);
        let usual = ["refs/heads/main", "refs/heads/master"];
        let others = ["refs/heads/topic", "refs/tags/main", "refs/heads/x/main", "main"];
        assert_trusted(&TrustRule::default(), &ObservedRefs::default(), &usual, &others);
    }

    #[test]
    fn each_list_of_the_operator_takes_the_place_of_the_watched_names() {
        let named = ["refs/heads/dev", "refs/tags/v1"].map(RefName::new).into();
        let observed = ObservedRefs { default_branch: Some(BranchName::new("main")), named };
        let rule = TrustRule { branches: globs(&["release/*"]), ..TrustRule::default() };
        let trusted = ["refs/heads/main", "refs/heads/release/1/x", "refs/tags/v1"];
        assert_trusted(&rule, &observed, &trusted, &["refs/heads/dev", "refs/heads/release", "refs/tags/release/1"]);
        let rule = TrustRule { default_branch: Some(false), tags: globs(&[]), ..rule };
        assert_trusted(&rule, &observed, &["refs/heads/release/1"], &["refs/heads/main", "refs/tags/v1"]);
        let rule = TrustRule { refs: globs(&["refs/changes/*"]), ..TrustRule::default() };
        assert_trusted(&rule, &observed, &["refs/changes/01/1/2"], &["refs/pull/1/head", "HEAD"]);
    }

    #[test]
    fn a_rule_takes_what_it_leaves_open_from_another_one() {
        let general = TrustRule { default_branch: Some(false), branches: globs(&["a"]), ..TrustRule::default() };
        let own = TrustRule { branches: globs(&[]), refs: globs(&["refs/x"]), ..TrustRule::default() };
        let both =
            TrustRule { default_branch: Some(false), branches: globs(&[]), tags: None, refs: globs(&["refs/x"]) };
        assert_eq!(own.or(&general), both);
    }
}
