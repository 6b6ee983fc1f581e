//! A runner's questions about caches. They are answered in the thread of the session's blobs, because the answer waits
//! for the disk.

use std::sync::Arc;

use crate::clock;
use crate::dispatcher::caches::{Caches, Found};
use crate::dispatcher::data_dir::LogPlace;
use crate::model::{AttemptId, BuildSource, CacheEntry, CacheKey, CacheScopes, SavedCache};
use crate::protocol::caches::{CacheAnswer, FoundCache};
use crate::protocol::runner::ToRunner;

/// The attempt that asks.
pub(super) struct Asker {
    pub(super) attempt: AttemptId,
    pub(super) source: Arc<BuildSource>,
    pub(super) place: LogPlace,
}

impl Asker {
    /// Answers `find_cache`. An error is a miss.
    pub(super) fn find(&self, caches: &Caches, family: &CacheKey, key: &CacheKey) -> ToRunner {
        let attempt = self.attempt;
        let found = caches.find(&self.source, family, key).unwrap_or_else(|error| {
            log::warn!("attempt {attempt} gets no cache: {}", error.told());
            None
        });
        let found = found.map(|Found { entry, is_exact }| FoundCache {
            manifest: entry.saved.manifest.to_string(),
            key: entry.saved.key.to_string(),
            exact: is_exact,
            files: entry.saved.files,
            bytes: entry.saved.bytes,
            from: format!("{}/{}", entry.build, entry.task),
            scope: entry.scope.to_string(),
        });
        ToRunner::Cache(CacheAnswer { attempt: attempt.0, key: key.to_string(), max_bytes: caches.max_bytes(), found })
    }

    /// Answers `save_cache`.
    pub(super) fn save(self, caches: &Caches, saved: SavedCache) -> ToRunner {
        let (attempt, now) = (self.attempt, clock::wall());
        let LogPlace { repo, build, task, number, .. } = self.place;
        let (key, bytes) = (saved.key.clone(), saved.bytes);
        let entry = CacheEntry {
            id: 0,
            repo,
            scope: CacheScopes::own(&self.source.trigger),
            saved,
            attempt,
            build,
            task,
            number,
            saved_at: now,
            used_at: now,
        };
        let reason = match caches.save(entry) {
            Ok(true) => {
                log::info!("attempt {attempt} saved the cache {}: {bytes} bytes", key.short());
                None
            }
            Ok(false) => Some("another attempt has saved this key meanwhile".to_owned()),
            Err(error) => {
                log::warn!("the cache {} of attempt {attempt} is not saved: {}", key.short(), error.told());
                Some(error.told())
            }
        };
        ToRunner::CacheSaved { attempt: attempt.0, key: key.to_string(), reason }
    }
}
