//! The scopes of caches: which builds read what other builds wrote. Pure; whatever is kept for later builds follows it.
//!
//! A build writes only into its own scope, which is its ref with its trust. It reads that scope, then the trusted one
//! of the same ref, then that of the default branch. So an untrusted build reads what trusted ones wrote, and no
//! trusted build reads what an untrusted one wrote (S46), whatever ref it was for.

use std::fmt;

use super::{ObservedRefs, RefName, Trigger, Trust};

/// A part of the caches of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheScope {
    pub trust: Trust,
    pub reference: RefName,
}

impl CacheScope {
    /// The scope of the trusted builds of a ref.
    #[must_use]
    pub fn trusted(reference: RefName) -> Self {
        Self { trust: Trust::Trusted, reference }
    }
}

/// As people know it: the ref, and whether its builds are untrusted.
impl fmt::Display for CacheScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reference.short())?;
        match self.trust {
            Trust::Trusted => Ok(()),
            Trust::Untrusted => f.write_str(" (untrusted)"),
        }
    }
}

/// The scopes of one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheScopes {
    /// The scopes that it reads, the first one with an answer: its own first, and each once.
    pub read: Vec<CacheScope>,
}

impl CacheScopes {
    /// The scope into which a build with this trigger writes.
    #[must_use]
    pub fn own(trigger: &Trigger) -> CacheScope {
        CacheScope { trust: trigger.trust, reference: trigger.reference.clone() }
    }

    /// The scopes of a build with this trigger, in a repository of which an observer told this.
    #[must_use]
    pub fn of(trigger: &Trigger, observed: &ObservedRefs) -> Self {
        let defaults = observed.default_branches().into_iter().map(RefName::of_branch);
        let mut read = vec![Self::own(trigger)];
        for reference in [trigger.reference.clone()].into_iter().chain(defaults) {
            let scope = CacheScope::trusted(reference);
            if !read.contains(&scope) {
                read.push(scope);
            }
        }
        Self { read }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BranchName, TriggerKind};

    fn trigger(reference: &str, trust: Trust) -> Trigger {
        let kind = TriggerKind::Ref { number: 1, before: None };
        Trigger { kind, reference: RefName::new(reference), trust }
    }

    fn read(reference: &str, trust: Trust, default: Option<&str>) -> Vec<String> {
        let observed = ObservedRefs { default_branch: default.map(BranchName::new), named: Vec::new() };
        let scopes = CacheScopes::of(&trigger(reference, trust), &observed);
        assert_eq!(scopes.read[0], CacheScopes::own(&trigger(reference, trust)));
        scopes.read.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_build_reads_its_own_scope_then_the_trusted_one_of_its_ref_then_that_of_the_default_branch() {
        use Trust::{Trusted, Untrusted};
        assert_eq!(read("refs/heads/trunk", Trusted, Some("trunk")), ["trunk"]);
        assert_eq!(read("refs/heads/x", Trusted, Some("trunk")), ["x", "trunk"]);
        assert_eq!(read("refs/heads/x", Untrusted, Some("trunk")), ["x (untrusted)", "x", "trunk"]);
        assert_eq!(read("refs/heads/trunk", Untrusted, Some("trunk")), ["trunk (untrusted)", "trunk"]);
        let pull = "refs/pull/1/head";
        assert_eq!(read(pull, Untrusted, None), [&*format!("{pull} (untrusted)"), pull, "main", "master"]);
    }

    /// S46: the scope into which an untrusted build writes is read by no trusted one, and by none of another ref.
    #[test]
    fn what_an_untrusted_build_writes_is_read_by_untrusted_builds_of_its_ref_alone() {
        let refs = ["refs/heads/main", "refs/heads/x", "refs/tags/main", "refs/pull/1/head", "HEAD"];
        let trusts = [Trust::Trusted, Trust::Untrusted];
        let all = refs.iter().flat_map(|reference| trusts.map(|trust| (*reference, trust)));
        for (writer, reader) in all.clone().flat_map(|writer| all.clone().map(move |reader| (writer, reader))) {
            let own = CacheScopes::own(&trigger(writer.0, writer.1)).to_string();
            let is_read = read(reader.0, reader.1, Some("main")).contains(&own);
            let is_allowed = match writer.1 {
                Trust::Untrusted => reader == writer,
                Trust::Trusted => reader.0 == writer.0 || writer.0 == "refs/heads/main",
            };
            assert_eq!(is_read, is_allowed, "{writer:?} and {reader:?}");
        }
    }
}
