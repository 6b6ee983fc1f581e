//! The rights of an attempt in the cache, and the places of entries that follow from them.

use super::entry::About;
use super::index::Place;
use super::tool::Name;
use crate::blobs::sum_of;
use crate::model::CacheScope;

/// The rights of an attempt in the cache, and its name.
#[derive(Debug, Clone)]
pub(crate) struct Rights {
    pub(super) repo: String,
    /// The scopes that it reads, in this order.
    pub(super) reads: Vec<CacheScope>,
    /// The scope that it writes.
    pub(super) writes: CacheScope,
    pub(super) build: u64,
    pub(super) task: String,
    pub(super) attempt: u64,
}

impl Rights {
    /// Returns the place of an entry in a scope.
    pub(super) fn place(&self, scope: &CacheScope, name: &Name) -> Place {
        // None of the parts has a NUL byte in it.
        let scope_parts = [scope.trust.word(), scope.reference.as_str()];
        let whole = [&[&*self.repo][..], &scope_parts, &[name.tool.word(), &name.text]].concat().join("\0");
        Place::new(scope.trust, sum_of(whole.as_bytes()))
    }

    /// Returns what is told of an entry that the attempt writes.
    pub(super) fn about(&self, name: &Name, headers: Vec<(String, String)>) -> About {
        About {
            repo: self.repo.clone(),
            scope: self.writes.to_string(),
            tool: name.tool.word().to_owned(),
            name: name.text.clone(),
            build: self.build,
            task: self.task.clone(),
            attempt: self.attempt,
            headers,
        }
    }
}
