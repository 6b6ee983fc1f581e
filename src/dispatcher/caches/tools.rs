//! The entries of the tool cache that runners share. A file and a record make an entry. The file comes first and is not
//! synced; records are committed together, a moment later, so that thousands of small entries cost few syncs. A crash
//! may lose an entry, and no entry is ever wrong: its bytes are verified each time before they are delivered.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::change::change;
use super::error::CacheError;
use super::files::{EntryFiles, NewEntryFile};
use crate::blobs::sum_of;
use crate::clock;
use crate::dispatcher::core::CoreHandle;
use crate::dispatcher::limits;
use crate::model::{BuildSource, CacheKey, CacheScope, CacheScopes, Moment, RepoName, ToolEntry, ToolFilter, WallTime};
use crate::store::{Reader, Readers, StoreError};
use crate::threads;

/// Entries after which their records are committed.
const COMMIT_ENTRIES: usize = 256;
/// Time after which they are, in milliseconds.
const COMMIT_AFTER_MS: u64 = 500;
/// Entries without a record beyond which none is taken: the store cannot keep up.
const MAX_FRESH: usize = 8 * COMMIT_ENTRIES;
/// Records that are removed in one transaction, which takes the core some milliseconds.
const REMOVED_AT_ONCE: usize = 1000;

/// The entries. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ToolEntries(Arc<Inner>);

struct Inner {
    readers: Readers,
    core: CoreHandle,
    files: EntryFiles,
    state: Mutex<State>,
    /// A reader that is kept open, because opening one takes longer than many look-ups. Held for one look-up. It is
    /// taken after `state`.
    reader: Mutex<Option<Box<dyn Reader>>>,
}

/// The state that is not in the store.
#[derive(Default)]
struct State {
    /// Entries without a record.
    fresh: HashMap<CacheKey, ToolEntry>,
    /// Uses to note.
    used: HashMap<CacheKey, WallTime>,
    /// When the first of them came.
    since: Option<Moment>,
    is_committing: bool,
    /// The number and the bytes of all entries with a record; `None` if they have to be counted.
    total: Option<(u64, u64)>,
}

/// An entry, and its file.
pub(crate) struct FoundEntry {
    pub(crate) entry: ToolEntry,
    pub(crate) file: File,
}

impl ToolEntries {
    /// Keeps the files of entries in this directory.
    pub(super) fn open(readers: Readers, core: CoreHandle, root: PathBuf) -> io::Result<Self> {
        let (files, state, reader) = (EntryFiles::open(root)?, Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Inner { readers, core, files, state, reader })))
    }

    /// Returns the entry of a tool that a build gets: the one in the first of its scopes that has one. With `verify`
    /// its bytes are verified; an entry that fails that is removed.
    pub(crate) fn find(
        &self,
        source: &BuildSource,
        (tool, name): (&str, &str),
        verify: bool,
    ) -> Result<Option<FoundEntry>, CacheError> {
        let scopes = self.read(|reader| reader.observed_refs(&source.repo))?;
        for scope in CacheScopes::of(&source.trigger, &scopes).read {
            let key = key_of(&source.repo, &scope, tool, name);
            let Some(entry) = self.entry(&key)? else { continue };
            // A key is a hash, and shorter than what it stands for.
            if entry.repo != source.repo || entry.scope != scope || entry.tool != tool || entry.name != name {
                continue;
            }
            match self.0.files.read(&entry, verify).map_err(not_now)? {
                Some(file) => {
                    self.note_use(&entry);
                    return Ok(Some(FoundEntry { entry, file }));
                }
                None => {
                    log::warn!("the entry {} of the tool cache is removed: its file is damaged or gone", key.short());
                    self.forget(vec![key])?;
                }
            }
        }
        Ok(None)
    }

    /// Whether there is an entry with this key.
    pub(crate) fn has(&self, key: &CacheKey) -> Result<bool, CacheError> {
        Ok(self.entry(key)?.is_some())
    }

    /// Begins the file of an entry of at most `limit` bytes.
    pub(crate) fn begin(&self, limit: u64) -> io::Result<NewEntryFile> {
        self.0.files.begin(limit)
    }

    /// Returns the free space of the disk, in bytes.
    pub(crate) fn free(&self) -> io::Result<u64> {
        self.0.files.free()
    }

    /// Keeps an entry whose file is complete, unless there is one with its key.
    pub(crate) fn keep(&self, entry: ToolEntry, file: &NewEntryFile) -> Result<(), CacheError> {
        let mut state = threads::lock(&self.0.state);
        if state.fresh.contains_key(&entry.key) || self.record(&entry.key)?.is_some() {
            return Ok(());
        }
        if state.fresh.len() >= MAX_FRESH {
            return Err(CacheError::NotNow("too many entries wait for their records".to_owned()));
        }
        self.0.files.put(file, &entry.key).map_err(not_now)?;
        state.fresh.insert(entry.key.clone(), entry);
        state.since.get_or_insert_with(clock::now);
        Ok(())
    }

    /// Whether records wait for long enough to be committed.
    pub(crate) fn is_due(&self) -> bool {
        let state = threads::lock(&self.0.state);
        state.fresh.len() >= COMMIT_ENTRIES
            || state.since.is_some_and(|since| clock::now().since(since) >= COMMIT_AFTER_MS)
    }

    /// Commits the records that wait. If that cannot be done now, their entries are lost. Returns whether there were
    /// any.
    pub(super) fn commit(&self) -> Result<bool, CacheError> {
        let mut state = threads::lock(&self.0.state);
        if state.is_committing || state.since.is_none() {
            return Ok(false);
        }
        (state.is_committing, state.since) = (true, None);
        // They stay in the list until they are in the store, so that they are found all the time.
        let new: Vec<ToolEntry> = state.fresh.values().cloned().collect();
        let used: Vec<(CacheKey, WallTime)> = state.used.drain().collect();
        drop(state);
        let of_entry = |entry: &ToolEntry| (entry.key.clone(), entry.bytes);
        let saved: Vec<(CacheKey, u64)> = new.iter().map(of_entry).collect();
        let done = change(&self.0.core, move |store| store.save_tool_entries(&new, &used));
        let mut state = threads::lock(&self.0.state);
        state.is_committing = false;
        for (key, bytes) in saved {
            // One that was removed meanwhile has no record, or gets none any more.
            if state.fresh.remove(&key).is_none() {
                state.total = None;
            } else if done.is_err() {
                self.0.files.remove(&key);
            } else if let Some((count, all)) = &mut state.total {
                (*count, *all) = (*count + 1, *all + bytes);
            }
        }
        done.map(|()| true)
    }

    /// Returns the number and the bytes of all entries with a record.
    pub(super) fn total(&self, reader: &dyn Reader) -> Result<(u64, u64), CacheError> {
        if let Some(total) = threads::lock(&self.0.state).total {
            return Ok(total);
        }
        let of_tools = reader.tool_totals(ToolFilter::default())?;
        let total = of_tools.iter().fold((0, 0), |(count, bytes), of| (count + of.entries, bytes + of.bytes));
        threads::lock(&self.0.state).total = Some(total);
        Ok(total)
    }

    /// Removes entries.
    pub(super) fn forget(&self, keys: Vec<CacheKey>) -> Result<(), CacheError> {
        for keys in keys.chunks(REMOVED_AT_ONCE) {
            let (of_store, mut state) = (keys.to_vec(), threads::lock(&self.0.state));
            keys.iter().for_each(|key| drop(state.fresh.remove(key)));
            drop(state);
            change(&self.0.core, move |store| store.remove_tool_entries(&of_store))?;
            let mut state = threads::lock(&self.0.state);
            state.total = None;
            // An entry that was written again meanwhile has a file of its own.
            keys.iter().filter(|key| !state.fresh.contains_key(*key)).for_each(|key| self.0.files.remove(key));
        }
        Ok(())
    }

    /// Removes the files that no record names, which a crash left. Returns their number.
    pub(super) fn sweep(&self) -> Result<u64, CacheError> {
        let mut swept = 0;
        for key in self.0.files.keys() {
            // Under the lock, so that none becomes an entry just then.
            let state = threads::lock(&self.0.state);
            if !state.fresh.contains_key(&key) && self.record(&key)?.is_none() {
                self.0.files.remove(&key);
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// Gives back what only makes the next look-ups quicker.
    pub(crate) fn rest(&self) {
        drop(threads::lock(&self.0.reader).take());
    }

    fn note_use(&self, entry: &ToolEntry) {
        let now = clock::wall();
        if now.0.saturating_sub(entry.used_at.0) > limits::NOTE_CACHE_USE_AFTER_MS {
            let mut state = threads::lock(&self.0.state);
            if state.used.len() < MAX_FRESH {
                state.used.insert(entry.key.clone(), now);
                state.since.get_or_insert_with(clock::now);
            }
        }
    }

    fn entry(&self, key: &CacheKey) -> Result<Option<ToolEntry>, StoreError> {
        let fresh = threads::lock(&self.0.state).fresh.get(key).cloned();
        fresh.map_or_else(|| self.record(key), |entry| Ok(Some(entry)))
    }

    fn record(&self, key: &CacheKey) -> Result<Option<ToolEntry>, StoreError> {
        self.read(|reader| reader.tool_entry(key))
    }

    fn read<T>(&self, read: impl FnOnce(&dyn Reader) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut kept = threads::lock(&self.0.reader);
        let reader = kept.take().map_or_else(|| self.0.readers.open(), Ok)?;
        // After an error the next look-up opens another one.
        let found = read(&*reader)?;
        *kept = Some(reader);
        Ok(found)
    }
}

/// Returns the key of an entry.
pub(crate) fn key_of(repo: &RepoName, scope: &CacheScope, tool: &str, name: &str) -> CacheKey {
    // None of the parts has a NUL byte in it.
    let parts = [repo.as_str(), scope.trust.word(), scope.reference.as_str(), tool, name];
    CacheKey::of(sum_of(parts.join("\0").as_bytes()))
}

fn not_now(error: io::Error) -> CacheError {
    CacheError::NotNow(error.to_string())
}
