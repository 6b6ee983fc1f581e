//! The caches of builds: which one an attempt gets, what it may save, and which are removed. A cache never decides
//! anything: whatever goes wrong with one is a miss.
//!
//! An entry is written once, when its manifest and all blobs of it are durable. The blobs are those of the blob store,
//! which a sweep leaves as long as an entry names them, and for a day after they were last found here: so a restore
//! that has begun ends, whatever is removed meanwhile. Sessions call this in threads of their own, which may wait.
//!
//! The entries of the tool cache (`tools.rs`) are beside them, in the same scopes and in the same room.

mod change;
mod error;
mod eviction;
mod files;
mod select;
mod tools;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::core::CoreHandle;
use super::limits;
use crate::blobs::BlobStore;
use crate::clock;
use crate::model::{
    BuildSource, CacheEntry, CacheKey, CacheScope, CacheScopes, RefName, RepoName, ToolEntry, ToolFilter,
};
use crate::store::{Reader, Readers, StoreError};
use change::change;
use eviction::{Candidate, Room, excess};

pub(crate) use error::CacheError;
pub(crate) use files::NewEntryFile;
pub(crate) use select::{Selected, Selection, select};
pub(crate) use tools::{FoundEntry, ToolEntries, key_of};

/// The part of the whole room that one cache may have, so that a single one does not push out all others.
const LARGEST_PART: u64 = 2;
/// The part that one entry of the tool cache may have, and the most bytes of one: a look-up reads all of it.
const LARGEST_ENTRY_PART: u64 = 8;
const LARGEST_ENTRY: u64 = 256 << 20;
/// The most entries of the tool cache. They are read one by one to find those that go.
const ENTRIES: usize = 200_000;
/// The part of the room that is made at a time when there are entries of the tool cache, so that it is seldom.
const MADE_PART: u64 = 16;

/// The caches of a dispatcher. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Caches {
    readers: Readers,
    core: CoreHandle,
    blobs: BlobStore,
    tools: ToolEntries,
    limit: u64,
}

/// A cache that an attempt gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) entry: CacheEntry,
    /// It has the key that was asked for.
    pub(crate) is_exact: bool,
}

impl Caches {
    /// Keeps caches of at most `limit` bytes together. The entries of the tool cache are in the directory `tools`.
    pub(crate) fn open(
        readers: Readers,
        core: CoreHandle,
        blobs: BlobStore,
        tools: PathBuf,
        limit: u64,
    ) -> io::Result<Self> {
        let tools = ToolEntries::open(readers.clone(), core.clone(), tools)?;
        Ok(Self { readers, core, blobs, tools, limit })
    }

    /// The entries of the tool cache.
    pub(crate) fn tools(&self) -> &ToolEntries {
        &self.tools
    }

    /// The most bytes of one entry of the tool cache.
    pub(crate) fn max_entry_bytes(&self) -> u64 {
        LARGEST_ENTRY.min(self.limit / LARGEST_ENTRY_PART)
    }

    /// Commits the records of the tool cache that wait, and removes what is too much then.
    pub(crate) fn commit_tools(&self) -> Result<(), CacheError> {
        if self.tools.commit()? { self.evict() } else { Ok(()) }
    }

    /// Removes what is too much, and the files of the tool cache that no record names.
    pub(crate) fn tidy(&self) -> Result<(), CacheError> {
        self.tools.commit()?;
        self.evict()?;
        let swept = self.tools.sweep()?;
        if swept > 0 {
            log::info!("removed {swept} files of the tool cache that no record names");
        }
        Ok(())
    }

    /// The bytes that all caches may have together.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns the limits as the log says them at the start.
    pub(crate) fn limits_sentence(&self) -> String {
        match self.limit {
            0 => "no caches are kept".to_owned(),
            limit => format!("caches are kept up to {} MiB in all, half of it for default branches", limit >> 20),
        }
    }

    /// The most bytes of one cache.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.limit / LARGEST_PART
    }

    /// Returns the cache that an attempt of a build gets: of that key, else the newest one of the family in the first
    /// of its scopes that has one. All its blobs are there, and stay for a day.
    pub(crate) fn find(
        &self,
        source: &BuildSource,
        family: &CacheKey,
        key: &CacheKey,
    ) -> Result<Option<Found>, CacheError> {
        let reader = self.readers.open()?;
        let scopes = CacheScopes::of(&source.trigger, &reader.observed_refs(&source.repo)?);
        let entries = reader.caches(Some(&source.repo))?;
        drop(reader);
        for found in candidates(entries, &scopes, family, key) {
            let CacheEntry { id, saved, used_at, .. } = &found.entry;
            if let Some(missing) = self.blobs.missing_of(saved.manifest)? {
                log::warn!("the cache {} of {} is removed: its blob {missing} is gone", saved.key.short(), source.repo);
                self.remove_entries(vec![*id])?;
                continue;
            }
            let (id, now) = (*id, clock::wall());
            if now.0.saturating_sub(used_at.0) > limits::NOTE_CACHE_USE_AFTER_MS {
                change(&self.core, move |store| store.note_cache_use(id, now))?;
            }
            return Ok(Some(found));
        }
        Ok(None)
    }

    /// Saves a cache, whose scope is the own one of its build. Returns false if the scope has one of that key, which
    /// stays. What is too much then is removed.
    pub(crate) fn save(&self, entry: CacheEntry) -> Result<bool, CacheError> {
        let bytes = entry.saved.bytes;
        if bytes > self.max_bytes() {
            return Err(CacheError::TooLarge { bytes, max: self.max_bytes() });
        }
        if self.blobs.missing_of(entry.saved.manifest)?.is_some() {
            return Err(CacheError::Incomplete);
        }
        let (repo, scope, key, attempt) =
            (entry.repo.clone(), entry.scope.clone(), entry.saved.key.clone(), entry.attempt);
        if change(&self.core, move |store| store.add_cache(&entry))? {
            self.evict()?;
            return Ok(true);
        }
        // The first answer may have been lost with its connection.
        let of_key = |entry: &CacheEntry| entry.scope == scope && entry.saved.key == key;
        let stored = self.readers.open()?.caches(Some(&repo))?;
        Ok(stored.iter().any(|entry| of_key(entry) && entry.attempt == attempt))
    }

    /// Removes what is too much.
    fn evict(&self) -> Result<(), CacheError> {
        let reader = self.readers.open()?;
        let entries = reader.caches(None)?;
        let of_caches: u64 = entries.iter().map(|entry| entry.saved.bytes).sum();
        let (tool_count, tool_bytes) = self.tools.total(&*reader)?;
        if of_caches + tool_bytes <= self.limit && tool_count <= ENTRIES as u64 {
            return Ok(());
        }
        let defaults = default_scopes(&*reader)?;
        let is_of_default = |repo: &RepoName, scope: &CacheScope| {
            defaults.get(repo).is_some_and(|scopes: &Vec<CacheScope>| scopes.contains(scope))
        };
        let of_cache = |CacheEntry { repo, scope, saved, used_at, .. }: &CacheEntry| Candidate {
            bytes: saved.bytes,
            used_at: *used_at,
            is_of_default: is_of_default(repo, scope),
        };
        let mut candidates: Vec<Candidate> = entries.iter().map(of_cache).collect();
        let mut keys = Vec::new();
        reader.tool_entries(ToolFilter::default(), &mut |ToolEntry { key, repo, scope, bytes, used_at, .. }| {
            candidates.push(Candidate { bytes, used_at, is_of_default: is_of_default(&repo, &scope) });
            keys.push(key);
            true
        })?;
        drop(reader);
        let made = |all: u64| if keys.is_empty() { all } else { all - all / MADE_PART };
        let room = Room { bytes: made(self.limit), count: ENTRIES - ENTRIES / MADE_PART as usize };
        let (mut removed, mut tools, mut bytes) = (Vec::new(), Vec::new(), 0);
        for at in excess(&candidates, room) {
            let Some(entry) = entries.get(at) else {
                bytes += candidates[at].bytes;
                tools.push(keys[at - entries.len()].clone());
                continue;
            };
            let CacheEntry { repo, scope, saved, id, .. } = entry;
            let (key, bytes) = (saved.key.short(), saved.bytes);
            log::info!("removed the cache {key} of {repo}, {scope}, for --keep-caches: {bytes} bytes");
            removed.push(*id);
        }
        if !tools.is_empty() {
            let count = tools.len();
            log::info!("removed {count} entries of the tool cache for --keep-caches: {bytes} bytes");
            self.tools.forget(tools)?;
        }
        if removed.is_empty() { Ok(()) } else { self.remove_entries(removed) }
    }

    /// Removes the caches that are meant. Returns the number of those that were there, and of their bytes: of caches,
    /// and of entries of the tool cache.
    pub(crate) fn remove(&self, selection: &Selection<'_>) -> Result<[(u64, u64); 2], CacheError> {
        let reader = self.readers.open()?;
        let caches = select(&*reader, selection, 0)?.caches;
        let mut keys = Vec::new();
        let mut of_tools = (0, 0);
        reader.tool_entries(selection.tools(), &mut |entry| {
            of_tools = (of_tools.0 + 1, of_tools.1 + entry.bytes);
            keys.push(entry.key);
            true
        })?;
        drop(reader);
        self.remove_entries(caches.iter().map(|entry| entry.id).collect())?;
        self.tools.forget(keys)?;
        let of_caches = (caches.len() as u64, caches.iter().map(|entry| entry.saved.bytes).sum());
        Ok([of_caches, of_tools])
    }

    fn remove_entries(&self, ids: Vec<i64>) -> Result<(), CacheError> {
        change(&self.core, move |store| store.remove_caches(&ids))
    }
}

/// Returns the entries that a build may get, the best one first: those of the key, scope by scope, then the others of
/// the family, scope by scope and the newest first.
fn candidates(entries: Vec<CacheEntry>, scopes: &CacheScopes, family: &CacheKey, key: &CacheKey) -> Vec<Found> {
    let rank = |entry: &CacheEntry| scopes.read.iter().position(|scope| *scope == entry.scope);
    let found = |entry: CacheEntry| {
        let is_exact = entry.saved.key == *key;
        let place = rank(&entry).filter(|_| is_exact || entry.saved.family == *family)?;
        Some((place, Found { entry, is_exact }))
    };
    let mut all: Vec<(usize, Found)> = entries.into_iter().filter_map(found).collect();
    all.sort_by_key(|(place, found)| (!found.is_exact, *place, std::cmp::Reverse(found.entry.id)));
    all.into_iter().map(|(_, found)| found).collect()
}

/// Returns the scopes of the default branch of each repository.
fn default_scopes(reader: &dyn Reader) -> Result<BTreeMap<RepoName, Vec<CacheScope>>, StoreError> {
    let mut scopes = BTreeMap::new();
    for repo in reader.repos()? {
        let branches = reader.observed_refs(&repo)?.default_branches().into_iter();
        let of_repo = branches.map(|branch| CacheScope::trusted(RefName::of_branch(branch))).collect();
        scopes.insert(repo, of_repo);
    }
    Ok(scopes)
}

#[cfg(test)]
mod tests {
    mod entries;

    use super::*;
    use crate::model::{
        AttemptId, BlobId, BuildId, ObservedRefs, SavedCache, TaskName, Trigger, TriggerKind, Trust, WallTime,
    };

    /// An entry of a trusted ref, with a key of this byte.
    fn entry(id: i64, reference: &str, key: u8) -> CacheEntry {
        let (family, key) = (CacheKey::of(BlobId([7; 32])), CacheKey::of(BlobId([key; 32])));
        CacheEntry {
            id,
            repo: RepoName::new("app").unwrap(),
            scope: CacheScope::trusted(RefName::new(reference)),
            saved: SavedCache { family, key, about: String::new(), manifest: BlobId([0; 32]), files: 1, bytes: 1 },
            attempt: AttemptId(1),
            build: BuildId(1),
            task: TaskName::new("test").unwrap(),
            number: 1,
            saved_at: WallTime(0),
            used_at: WallTime(id),
        }
    }

    #[test]
    fn the_key_comes_before_the_scope_and_the_newest_of_the_nearest_scope_serves_as_a_start() {
        let (main, x) = ("refs/heads/main", "refs/heads/x");
        let all = [entry(1, main, 1), entry(2, x, 2), entry(3, x, 3), entry(4, main, 4), entry(5, "refs/heads/y", 5)];
        let order = |reference: &str, trust: Trust, key: u8| -> Vec<(i64, bool)> {
            let kind = TriggerKind::Ref { number: 1, before: None };
            let trigger = Trigger { kind, reference: RefName::new(reference), trust };
            let scopes = CacheScopes::of(&trigger, &ObservedRefs::default());
            let (family, key) = (CacheKey::of(BlobId([7; 32])), CacheKey::of(BlobId([key; 32])));
            let found = candidates(all.to_vec(), &scopes, &family, &key);
            found.iter().map(|found| (found.entry.id, found.is_exact)).collect()
        };
        assert_eq!(order(x, Trust::Trusted, 1), [(1, true), (3, false), (2, false), (4, false)]);
        assert_eq!(order(main, Trust::Trusted, 2), [(4, false), (1, false)], "no branch is read by the default one");
        assert_eq!(order("refs/pull/1/head", Trust::Untrusted, 4), [(4, true), (1, false)]);
        let others = candidates(
            all.to_vec(),
            &CacheScopes::of(
                &Trigger::push(&crate::model::BranchName::new("main"), None, vec![]),
                &ObservedRefs::default(),
            ),
            &CacheKey::of(BlobId([8; 32])),
            &CacheKey::of(BlobId([9; 32])),
        );
        assert_eq!(others, []);
    }
}
