//! The caches of builds: which one an attempt gets, what it may save, and which are removed. A cache never decides
//! anything: whatever goes wrong with one is a miss.
//!
//! An entry is written once, when its manifest and all blobs of it are durable. The blobs are those of the blob store,
//! which a sweep leaves as long as an entry names them, and for a day after they were last found here: so a restore
//! that has begun ends, whatever is removed meanwhile. Sessions call this in threads of their own, which may wait.

mod eviction;

use std::collections::BTreeMap;

use super::core::{CoreHandle, ToCore};
use crate::blobs::{BlobStore, ManifestError};
use crate::clock;
use crate::error_chain::chain;
use crate::model::{BuildSource, CacheEntry, CacheKey, CacheScope, CacheScopes, RefName, RepoName, SavedCache};
use crate::store::{Reader, Readers, Store, StoreError};
use eviction::{excess, is_of_default};

/// An entry that is used again is noted as used if that was noted longer ago than this, in milliseconds. More often
/// would only cost writes.
const NOTE_USE_AFTER_MS: i64 = 60 * 60 * 1000;
/// The part of the whole room that one cache may have, so that a single one does not push out all others.
const LARGEST_PART: u64 = 2;

/// The caches of a dispatcher. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Caches {
    readers: Readers,
    core: CoreHandle,
    blobs: BlobStore,
    limit: u64,
}

/// Why something about caches was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("a cache of {bytes} bytes is larger than the {max} bytes that the dispatcher takes (--keep-caches)")]
    TooLarge { bytes: u64, max: u64 },
    #[error("its blobs are not all there")]
    Incomplete,
    #[error("there is no cache with a key that begins with {key}: `surveil cache list` lists them")]
    NoKey { key: String },
    #[error("several keys begin with {key}: {}", candidates.join(", "))]
    Ambiguous { key: String, candidates: Vec<String> },
    #[error("the dispatcher cannot write it to its disk now: {0}")]
    NotNow(String),
    #[error("the dispatcher is shutting down")]
    Ending,
    #[error("the caches cannot be read")]
    Store(#[from] StoreError),
    #[error("the blobs of a cache cannot be read")]
    Manifest(#[from] ManifestError),
}

/// A cache that an attempt gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) entry: CacheEntry,
    /// It has the key that was asked for.
    pub(crate) is_exact: bool,
}

impl Caches {
    /// Keeps caches of at most `limit` bytes together.
    pub(crate) fn new(readers: Readers, core: CoreHandle, blobs: BlobStore, limit: u64) -> Self {
        Self { readers, core, blobs, limit }
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
            if now.0.saturating_sub(used_at.0) > NOTE_USE_AFTER_MS {
                self.change(move |store| store.note_cache_use(id, now))?;
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
        if self.change(move |store| store.add_cache(&entry))? {
            self.evict()?;
            return Ok(true);
        }
        // The first answer may have been lost with its connection.
        let of_key = |entry: &CacheEntry| entry.scope == scope && entry.saved.key == key;
        let stored = self.readers.open()?.caches(Some(&repo))?;
        Ok(stored.iter().any(|entry| of_key(entry) && entry.attempt == attempt))
    }

    /// Removes what is too much.
    pub(crate) fn evict(&self) -> Result<(), CacheError> {
        let reader = self.readers.open()?;
        let entries = reader.caches(None)?;
        if entries.iter().map(|entry| entry.saved.bytes).sum::<u64>() <= self.limit {
            return Ok(());
        }
        let defaults = default_scopes(&*reader, &entries)?;
        drop(reader);
        let of = |entry: &CacheEntry| defaults.get(&entry.repo).map_or(&[][..], Vec::as_slice);
        let removed = excess(&entries, self.limit, &|entry| is_of_default(&entry.scope, of(entry)));
        for entry in entries.iter().filter(|entry| removed.contains(&entry.id)) {
            let CacheEntry { repo, scope, saved: SavedCache { key, bytes, .. }, .. } = entry;
            log::info!("removed the cache {} of {repo}, {scope}, for --keep-caches: {bytes} bytes", key.short());
        }
        self.remove_entries(removed)
    }

    /// Removes the caches of a repository, or of all, those of one key if it is given. Returns those that were there.
    pub(crate) fn remove(&self, repo: Option<&str>, key: Option<&str>) -> Result<Vec<CacheEntry>, CacheError> {
        let removed = select(&*self.readers.open()?, repo, key)?;
        self.remove_entries(removed.iter().map(|entry| entry.id).collect())?;
        Ok(removed)
    }

    fn remove_entries(&self, ids: Vec<i64>) -> Result<(), CacheError> {
        self.change(move |store| store.remove_caches(&ids))
    }

    /// Makes a change on the core's thread, which owns the store.
    fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, CacheError> {
        let answered = self.core.answered(|answer| {
            ToCore::Store(Box::new(move |store| {
                let done = match change(store) {
                    Ok(value) => Ok(value),
                    Err(error) if error.is_transient() => Err(CacheError::NotNow(error.to_string())),
                    Err(error) => return Err(error),
                };
                // If the session has ended meanwhile, nobody waits for the answer.
                drop(answer.try_send(done));
                Ok(())
            }))
        });
        answered.unwrap_or(Err(CacheError::Ending))
    }
}

impl CacheError {
    /// The words for the log of an attempt.
    pub(crate) fn told(&self) -> String {
        chain(self)
    }
}

/// Returns the caches of a repository, or of all, those of one key if its first digits are given. The most recently
/// used one comes first.
pub(crate) fn select(
    reader: &dyn Reader,
    repo: Option<&str>,
    key: Option<&str>,
) -> Result<Vec<CacheEntry>, CacheError> {
    let mut entries = reader.caches(None)?;
    entries.retain(|entry| repo.is_none_or(|repo| entry.repo.as_str() == repo));
    if let Some(key) = key {
        entries.retain(|entry| entry.saved.key.as_str().starts_with(key));
        let mut keys: Vec<String> = entries.iter().map(|entry| entry.saved.key.to_string()).collect();
        keys.sort();
        keys.dedup();
        match keys.len() {
            0 => return Err(CacheError::NoKey { key: key.chars().take(80).collect() }),
            1 => {}
            _ => {
                keys.truncate(MAX_CANDIDATES);
                return Err(CacheError::Ambiguous { key: key.chars().take(80).collect(), candidates: keys });
            }
        }
    }
    entries.sort_by_key(|entry| std::cmp::Reverse((entry.used_at.0, entry.id)));
    Ok(entries)
}

/// Keys that an error names.
const MAX_CANDIDATES: usize = 10;

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

/// Returns the scopes of the default branch of each repository that has entries.
fn default_scopes(
    reader: &dyn Reader,
    entries: &[CacheEntry],
) -> Result<BTreeMap<RepoName, Vec<CacheScope>>, StoreError> {
    let mut scopes = BTreeMap::new();
    for entry in entries {
        if !scopes.contains_key(&entry.repo) {
            let branches = reader.observed_refs(&entry.repo)?.default_branches().into_iter();
            let of_repo = branches.map(|branch| CacheScope::trusted(RefName::of_branch(branch))).collect();
            scopes.insert(entry.repo.clone(), of_repo);
        }
    }
    Ok(scopes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AttemptId, BlobId, BuildId, ObservedRefs, TaskName, Trigger, TriggerKind, Trust, WallTime};

    /// An entry of a trusted ref, with a key of this byte.
    pub(super) fn entry(id: i64, reference: &str, key: u8) -> CacheEntry {
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
