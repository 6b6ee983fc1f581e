//! Caches that attempts saved.

use super::MakePlace;
use crate::model::*;

fn entry(repo: &str, trust: Trust, reference: &str, key: u8) -> CacheEntry {
    let saved = SavedCache {
        family: CacheKey::of(BlobId([7; 32])),
        key: CacheKey::of(BlobId([key; 32])),
        about: "linux x86_64".into(),
        manifest: BlobId([key; 32]),
        files: 2,
        bytes: u64::from(key),
    };
    CacheEntry {
        id: 0,
        repo: RepoName::new(repo).unwrap(),
        scope: CacheScope { trust, reference: RefName::new(reference) },
        saved,
        attempt: AttemptId(3),
        build: BuildId(2),
        task: TaskName::new("test@os=linux").unwrap(),
        number: 1,
        saved_at: WallTime(1_700_000_000_000),
        used_at: WallTime(1_700_000_000_000),
    }
}

/// S46: of two that save one key in one scope the first wins, and nothing changes it.
pub(super) fn a_cache_is_written_once_in_each_scope(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    let main = entry("app", Trust::Trusted, "refs/heads/main", 1);
    let untrusted = entry("app", Trust::Untrusted, "refs/heads/main", 1);
    let other = entry("lib", Trust::Trusted, "refs/heads/main", 1);
    for added in [&main, &untrusted, &other] {
        assert!(store.add_cache(added).unwrap());
    }
    let late =
        CacheEntry { saved: SavedCache { bytes: 99, ..main.saved.clone() }, attempt: AttemptId(9), ..main.clone() };
    assert!(!store.add_cache(&late).unwrap());
    store.note_cache_use(1, WallTime(1_700_000_000_001)).unwrap();
    store.note_cache_use(77, WallTime(1)).unwrap();
    drop(store);
    let mut store = place.open();
    let used = CacheEntry { id: 1, used_at: WallTime(1_700_000_000_001), ..main };
    let untrusted = CacheEntry { id: 2, ..untrusted };
    assert_eq!(place.reader().caches(Some(&used.repo)).unwrap(), [used.clone(), untrusted.clone()]);
    assert_eq!(place.reader().caches(None).unwrap(), [used, untrusted.clone(), CacheEntry { id: 3, ..other }]);
    store.remove_caches(&[1, 3, 77]).unwrap();
    assert_eq!(place.reader().caches(None).unwrap(), [untrusted]);
    place.reader().check(&mut drop).unwrap();
}
