//! The caches that builds saved.

use super::error::OperationError;
use super::questions::Operations;
use crate::dispatcher::caches::{Caches, Selected, Selection, select};
use crate::dispatcher::core::NoAnswer;

impl Operations {
    /// Returns the caches that are meant, the most recently used one first, with at most `limit` entries of the tool
    /// cache one by one. And the bytes that all may have together, 0 if no dispatcher runs.
    pub(crate) fn caches(&self, selection: &Selection<'_>, limit: usize) -> Result<(Selected, u64), OperationError> {
        if let Some(caches) = &self.caches {
            // An entry that could not be committed is not told; a full disk is no reason to tell nothing.
            drop(caches.commit_tools());
        }
        let limit_bytes = self.caches.as_ref().map_or(0, Caches::limit);
        Ok((select(&*self.reader, selection, limit)?, limit_bytes))
    }

    /// Removes the caches that are meant. Returns a sentence about it.
    pub(crate) fn remove_caches(&self, selection: &Selection<'_>) -> Result<String, OperationError> {
        let caches = self.caches.as_ref().ok_or(NoAnswer::Absent)?;
        caches.commit_tools()?;
        let [of_caches, of_tools] = caches.remove(selection)?;
        let words = |(count, bytes), one: &str, several: &str| match count {
            0 => None,
            1 => Some(format!("1 {one} of {bytes} bytes")),
            count => Some(format!("{count} {several} of {bytes} bytes")),
        };
        let removed = [
            words(of_caches, "cache", "caches"),
            words(of_tools, "entry of the tool cache", "entries of the tool cache"),
        ];
        let removed: Vec<String> = removed.into_iter().flatten().collect();
        Ok(match removed.as_slice() {
            [] => "there is no cache to remove".to_owned(),
            removed => format!("removed {}", removed.join(" and ")),
        })
    }
}
