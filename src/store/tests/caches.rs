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

fn tool_entry(repo: &str, trust: Trust, tool: &str, key: u8) -> ToolEntry {
    ToolEntry {
        key: CacheKey::of(BlobId([key; 32])),
        repo: RepoName::new(repo).unwrap(),
        scope: CacheScope { trust, reference: RefName::new("refs/heads/main") },
        tool: tool.into(),
        name: format!("ab/{key}"),
        headers: vec![("x-artifact-tag".into(), "t".into())],
        blob: BlobId([key; 32]),
        bytes: u64::from(key),
        attempt: AttemptId(3),
        build: BuildId(2),
        task: TaskName::new("test@os=linux").unwrap(),
        number: 1,
        saved_at: WallTime(1_700_000_000_000),
        used_at: WallTime(1_700_000_000_000 + i64::from(key)),
    }
}

/// S46: an entry of the tool cache is written once, too.
pub(super) fn an_entry_of_a_tool_is_written_once_and_found_by_its_key(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    let entries = [
        tool_entry("app", Trust::Trusted, "ccache", 0x11),
        tool_entry("app", Trust::Untrusted, "ccache", 0x12),
        tool_entry("app", Trust::Trusted, "nx", 0x21),
        tool_entry("lib", Trust::Trusted, "nx", 0x22),
    ];
    store.save_tool_entries(&entries, &[]).unwrap();
    let late = ToolEntry { bytes: 99, build: BuildId(9), ..entries[0].clone() };
    let used = WallTime(1_700_000_000_777);
    let gone = CacheKey::of(BlobId([0x77; 32]));
    store.save_tool_entries(&[late], &[(entries[3].key.clone(), used), (gone.clone(), used)]).unwrap();
    drop(store);
    let mut store = place.open();
    let reader = place.reader();
    assert_eq!(reader.tool_entry(&entries[0].key).unwrap(), Some(entries[0].clone()));
    assert_eq!(reader.tool_entry(&gone).unwrap(), None);
    let listed = |filter: ToolFilter<'_>, most: usize| {
        let mut found = Vec::new();
        let mut each = |entry: ToolEntry| {
            found.push(entry.bytes);
            found.len() < most
        };
        reader.tool_entries(filter, &mut each).unwrap();
        found
    };
    let all = ToolFilter::default();
    assert_eq!(listed(all, 9), [0x22, 0x21, 0x12, 0x11], "the one that was used last comes first");
    assert_eq!(listed(all, 2), [0x22, 0x21]);
    assert_eq!(listed(ToolFilter { repo: Some("app"), ..all }, 9), [0x21, 0x12, 0x11]);
    assert_eq!(listed(ToolFilter { tool: Some("nx"), ..all }, 9), [0x22, 0x21]);
    assert_eq!(listed(ToolFilter { key: Some("1"), ..all }, 9), [0x12, 0x11]);
    assert_eq!(listed(ToolFilter { key: Some("2121"), repo: Some("lib"), ..all }, 9), [] as [u64; 0]);
    let totals = reader.tool_totals(ToolFilter { tool: Some("ccache"), ..all }).unwrap();
    let told: Vec<_> = totals.iter().map(|of| (of.scope.trust, of.entries, of.bytes, of.used_at)).collect();
    let expected = [entries[0].clone(), entries[1].clone()].map(|of| (of.scope.trust, 1, of.bytes, of.used_at));
    assert_eq!(told, expected);
    assert_eq!(reader.tool_totals(all).unwrap().len(), 4);
    reader.check(&mut drop).unwrap();
    store.remove_tool_entries(&[entries[0].key.clone(), gone]).unwrap();
    assert_eq!(place.reader().tool_entry(&entries[0].key).unwrap(), None);
    assert_eq!(place.reader().tool_totals(all).unwrap().len(), 3);
}
