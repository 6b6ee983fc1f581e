//! The caches and the entries of the tool cache that an operator means.

use super::error::CacheError;
use crate::model::{CacheEntry, CacheKey, ToolEntry, ToolFilter, ToolTotal};
use crate::store::Reader;

/// Keys that an error names.
const MAX_CANDIDATES: usize = 10;

/// The caches that an operator means: all by default.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Selection<'a> {
    /// Only those of this repository.
    pub(crate) repo: Option<&'a str>,
    /// Only those of the one key that begins with these digits.
    pub(crate) key: Option<&'a str>,
    /// Only entries of the tool cache, those of this tool.
    pub(crate) tool: Option<&'a str>,
}

/// The caches that were meant, the most recently used one first.
#[derive(Debug, Default)]
pub(crate) struct Selected {
    pub(crate) caches: Vec<CacheEntry>,
    /// The entries of the tool cache, together for each tool and scope.
    pub(crate) totals: Vec<ToolTotal>,
    /// Some of these entries.
    pub(crate) entries: Vec<ToolEntry>,
}

impl Selection<'_> {
    /// The entries of the tool cache that are meant.
    pub(super) fn tools(&self) -> ToolFilter<'_> {
        ToolFilter { repo: self.repo, tool: self.tool, key: self.key }
    }
}

/// Returns the caches that are meant. With a key, or with a tool, at most `limit` entries of the tool cache are told
/// one by one.
pub(crate) fn select(reader: &dyn Reader, selection: &Selection<'_>, limit: usize) -> Result<Selected, CacheError> {
    let Selection { repo, key, tool } = *selection;
    let mut caches = if tool.is_some() { Vec::new() } else { reader.caches(None)? };
    caches.retain(|entry| repo.is_none_or(|repo| entry.repo.as_str() == repo));
    caches.retain(|entry| key.is_none_or(|key| entry.saved.key.as_str().starts_with(key)));
    caches.sort_by_key(|entry| std::cmp::Reverse((entry.used_at.0, entry.id)));
    let mut entries = Vec::new();
    if key.is_some() || tool.is_some() {
        // One key more than there may be tells that they are several.
        let limit = if key.is_some() { MAX_CANDIDATES + 1 } else { limit };
        reader.tool_entries(selection.tools(), &mut |entry| {
            if entries.len() < limit {
                entries.push(entry);
            }
            entries.len() < limit
        })?;
    }
    if let Some(key) = key {
        let of_caches = caches.iter().map(|entry| &entry.saved.key);
        one_key(key, of_caches.chain(entries.iter().map(|entry| &entry.key)))?;
    }
    let totals = reader.tool_totals(selection.tools())?;
    Ok(Selected { caches, totals, entries })
}

/// Refuses digits with which no key begins, or several do.
fn one_key<'k>(digits: &str, keys: impl Iterator<Item = &'k CacheKey>) -> Result<(), CacheError> {
    let mut keys: Vec<String> = keys.map(ToString::to_string).collect();
    keys.sort();
    keys.dedup();
    let key = || digits.chars().take(80).collect();
    match keys.len() {
        0 => Err(CacheError::NoKey { key: key() }),
        1 => Ok(()),
        _ => {
            keys.truncate(MAX_CANDIDATES);
            Err(CacheError::Ambiguous { key: key(), candidates: keys })
        }
    }
}
