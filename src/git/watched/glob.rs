//! Patterns for refs that are no branches, and the refs that match them. Reads refs and the objects that they name.

use std::collections::BTreeSet;
use std::path::PathBuf;

use wildmatch::WildMatch;

use super::{Head, Watched};
use crate::git::error::GitError;
use crate::git::objects::Peeled;
use crate::git::refs;
use crate::model::{CommitId, RefName};

/// A pattern for full names of refs that are no branches, such as `refs/tags/v*`. `*` also matches `/`. Only a pattern
/// that begins with `refs/tags/` matches tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefGlob(String);

/// The namespace of tags.
const TAGS: &str = "refs/tags/";

impl RefGlob {
    /// Takes a pattern for full names.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern selects the ref.
    #[must_use]
    pub fn matches(&self, reference: &RefName) -> bool {
        let is_of_kind = reference.branch().is_none() && reference.tag().is_some() == self.0.starts_with(TAGS);
        is_of_kind && WildMatch::new(&self.0).matches(reference.as_str())
    }

    /// Whether the pattern names one ref: it has no wildcard.
    #[must_use]
    pub fn is_name(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    /// The namespace below which all matching refs are.
    fn namespace(&self) -> &str {
        let fixed = self.0.split(['*', '?']).next().unwrap_or_default();
        fixed.rfind('/').map_or("refs/", |at| &fixed[..=at])
    }
}

/// Returns the namespaces of patterns, each once.
fn namespaces(globs: &[RefGlob]) -> Vec<&str> {
    globs.iter().map(RefGlob::namespace).collect::<BTreeSet<_>>().into_iter().collect()
}

impl Watched {
    /// Returns the directories in which a change of branches, or of refs that match a pattern, shows, for file-system
    /// notification.
    pub fn notify_paths(&self, globs: &[RefGlob]) -> Vec<PathBuf> {
        refs::notify_paths(&self.git_dir, &self.common_dir, &namespaces(globs))
    }

    /// Returns the refs that match one of the patterns, with the commit that each stands for: an annotated tag is
    /// peeled. Leaves out a ref that stands for no commit, and one that is broken. Sorted by name.
    pub fn matching(&self, globs: &[RefGlob]) -> Result<Vec<Head>, GitError> {
        let mut found = Vec::new();
        for namespace in namespaces(globs) {
            for (name, object) in self.refs.list(namespace)? {
                let reference = RefName::new(&name);
                if globs.iter().any(|glob| glob.matches(&reference))
                    && let Some(Peeled { commit, .. }) = self.peel(&reference, object)?
                {
                    found.push(Head { reference, commit });
                }
            }
        }
        // Namespaces may lie in one another.
        found.sort_by(|a, b| a.reference.cmp(&b.reference));
        found.dedup();
        Ok(found)
    }

    /// Returns the newest of these refs: an annotated tag is as old as it says, another ref as old as its commit. Of
    /// two equally old ones the later name is newer, by the numbers in it.
    pub fn newest(&self, heads: &[Head], count: usize) -> Result<BTreeSet<RefName>, GitError> {
        let mut dated: Vec<(Option<i64>, &Head)> = self.times(heads)?.into_iter().zip(heads).collect();
        dated.sort_by(|(a, old), (b, new)| b.cmp(a).then_with(|| new.reference.cmp_by_numbers(&old.reference)));
        Ok(dated.into_iter().take(count).map(|(_, head)| head.reference.clone()).collect())
    }

    /// Returns the times of these refs, in seconds since 1970: that of an annotated tag, else that of the commit.
    /// `None` if the object tells none, or is broken: one broken ref stops no other.
    pub fn times(&self, heads: &[Head]) -> Result<Vec<Option<i64>>, GitError> {
        heads.iter().map(|head| self.time(head)).collect()
    }

    fn time(&self, Head { reference, commit }: &Head) -> Result<Option<i64>, GitError> {
        // Only a tag has a time of its own. The object of a branch is its commit.
        let object = if reference.branch().is_none() { self.refs.find(reference.as_str())? } else { None };
        if let Some(object) = object
            && let Some(Peeled { tagged_s: Some(time), .. }) = self.peel(reference, object)?
        {
            return Ok(Some(time));
        }
        match self.describe(*commit) {
            Ok(text) => Ok(text.committed_s),
            Err(GitError::Object { .. } | GitError::WrongType { .. } | GitError::Format { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the commit that the object of a ref stands for. The answer is remembered, because objects never change.
    /// A ref whose object stands for no commit, or cannot be read, is told once.
    pub(super) fn peel(&self, reference: &RefName, object: CommitId) -> Result<Option<Peeled>, GitError> {
        if let Some(known) = self.peeled.borrow().get(&object) {
            return Ok(*known);
        }
        let peeled = match self.database.with(|objects| objects.peel(object)) {
            Ok(None) => {
                log::info!("{reference} of {} is passed over: it names no commit", self.path.display());
                None
            }
            // It may be there at the next look, as while a repository is copied.
            Err(error @ (GitError::Object { .. } | GitError::WrongType { .. } | GitError::Format { .. })) => {
                if self.unreadable.borrow_mut().insert(object) {
                    log::warn!("{reference} of {} is passed over: {error}", self.path.display());
                }
                return Ok(None);
            }
            other => other?,
        };
        self.peeled.borrow_mut().insert(object, peeled);
        Ok(peeled)
    }
}
