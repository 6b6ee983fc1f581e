//! The caches that builds saved.

use super::error::OperationError;
use super::questions::Operations;
use crate::dispatcher::caches::{Caches, select};
use crate::dispatcher::core::NoAnswer;
use crate::model::CacheEntry;

impl Operations {
    /// Returns the caches of a repository, or of all, those of one key if its first digits are given; the most recently
    /// used one first. And the bytes that all may have together, 0 if no dispatcher runs.
    pub(crate) fn caches(
        &self,
        repo: Option<&str>,
        key: Option<&str>,
    ) -> Result<(Vec<CacheEntry>, u64), OperationError> {
        let limit = self.caches.as_ref().map_or(0, Caches::limit);
        Ok((select(&*self.reader, repo, key)?, limit))
    }

    /// Removes the caches that [`Operations::caches`] lists. Returns a sentence about it.
    pub(crate) fn remove_caches(&self, repo: Option<&str>, key: Option<&str>) -> Result<String, OperationError> {
        let removed = self.caches.as_ref().ok_or(NoAnswer::Absent)?.remove(repo, key)?;
        let bytes: u64 = removed.iter().map(|entry| entry.saved.bytes).sum();
        Ok(match removed.len() {
            0 => "there is no cache to remove".to_owned(),
            1 => format!("removed 1 cache of {bytes} bytes"),
            count => format!("removed {count} caches of {bytes} bytes"),
        })
    }
}
