//! Tests of a whole endpoint over loopback: recorded requests of each client, scopes, damage, and clients that do not
//! behave.

mod bounds;
mod client;
mod shared;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::sync::Arc;

use super::rights::Rights;
use super::server::Endpoint;
use super::tiers::Tiers;
use crate::model::{CacheScope, RefName, Trust};
use client::Client;

/// A runner's cache in a directory of its own.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("cache")
    }

    /// The tiers of a runner that starts now, and has no session with a dispatcher.
    fn disk(&self, limit: u64) -> Arc<Tiers> {
        Arc::new(Tiers::new(self.root(), limit, 0))
    }

    /// All files in it.
    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.root()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() { open.push(path) } else { found.push(path) }
            }
        }
        found
    }
}

const MIB: u64 = 1 << 20;

fn scope(trust: Trust, branch: &str) -> CacheScope {
    CacheScope { trust, reference: RefName::of_branch(branch) }
}

/// An attempt of the repository `app` that writes the first of these scopes, and reads all.
fn rights(scopes: &[CacheScope]) -> Rights {
    Rights {
        repo: "app".into(),
        reads: scopes.to_vec(),
        writes: scopes[0].clone(),
        build: 3,
        task: "test".into(),
        attempt: 7,
    }
}

/// The endpoint of a trusted attempt of `main`.
fn endpoint(disk: &Arc<Tiers>) -> Endpoint {
    Endpoint::open(rights(&[scope(Trust::Trusted, "main")]), disk.clone()).unwrap()
}

/// S46. Untrusted builds read what trusted ones wrote, and write nothing for them.
#[test]
fn an_attempt_reads_its_scopes_in_order_and_writes_its_own() {
    let place = Place::new();
    let disk = place.disk(MIB);
    let (main, pull) = (scope(Trust::Trusted, "main"), scope(Trust::Untrusted, "topic"));
    let open = |scopes: &[CacheScope]| Endpoint::open(rights(scopes), disk.clone()).unwrap();
    let (trusted, untrusted) = (open(from_ref(&main)), open(&[pull.clone(), main.clone()]));
    let (mut of_main, mut of_pull) = (Client::of(&trusted), Client::of(&untrusted));
    assert_eq!(of_pull.put("ccache/aa", b"poison"), 200);
    assert_eq!(of_main.get("ccache/aa"), None);
    assert_eq!(of_pull.get("ccache/aa").unwrap(), b"poison");
    assert_eq!(of_main.put("ccache/aa", b"good"), 200);
    assert_eq!(of_main.get("ccache/aa").unwrap(), b"good");
    assert_eq!(of_pull.get("ccache/aa").unwrap(), b"poison", "its own scope comes first");
    assert_eq!(of_main.put("ccache/bb", b"main's"), 200);
    assert_eq!(of_pull.get("ccache/bb").unwrap(), b"main's");
    // Another ref, another repository, and a tool of another name for the same thing find nothing.
    let other = open(&[scope(Trust::Untrusted, "other"), main.clone()]);
    assert_eq!(Client::of(&other).get("ccache/aa").unwrap(), b"good");
    let repo = Endpoint::open(Rights { repo: "lib".into(), ..rights(&[main]) }, disk.clone()).unwrap();
    assert_eq!(Client::of(&repo).get("ccache/aa"), None);
    assert_eq!(of_main.get("sccache/aa"), None);
    // Another attempt's path opens nothing, even at the right port.
    let (own, foreign) = (trusted.url(), untrusted.url());
    let port = own.rsplit_once('/').unwrap().0;
    let mixed = format!("{port}/{}", foreign.rsplit_once('/').unwrap().1);
    assert_eq!(Client::at(&mixed).get("ccache/aa"), None);
    assert_eq!(trusted.summary().unwrap(), "tool cache: 1 of 3 reads hit, 2 stored (10 bytes)");
}

#[test]
fn an_entry_is_written_once_and_outlives_the_runner() {
    let place = Place::new();
    let disk = place.disk(MIB);
    let first = endpoint(&disk);
    let mut client = Client::of(&first);
    assert_eq!(client.put("gradle/0123", b"one"), 200);
    assert_eq!(client.put("gradle/0123", b"two"), 200);
    assert_eq!(client.get("gradle/0123").unwrap(), b"one");
    let long: Vec<u8> = (0..3 * MIB / 16).flat_map(|number| number.to_be_bytes()).collect();
    drop((client, first, disk));
    fs::write(place.root().join("new/77"), "left by a runner that was killed").unwrap();
    let disk = place.disk(16 * MIB);
    let next = endpoint(&disk);
    let mut client = Client::of(&next);
    assert_eq!(client.get("gradle/0123").unwrap(), b"one");
    assert_eq!(client.put("gradle/0123", b"two"), 200, "it is not on the list yet, and is there");
    assert_eq!(client.get("gradle/0123").unwrap(), b"one");
    assert_eq!(client.put("gradle/long", &long), 200);
    assert_eq!(client.get("gradle/long").unwrap(), long);
    assert_eq!(place.files().len(), 2, "{:?}", place.files());
    let text = fs::read(place.files().iter().min_by_key(|path| path.metadata().unwrap().len()).unwrap()).unwrap();
    let wanted = r#"{"repo":"app","scope":"main","tool":"gradle","name":"0123","build":3,"task":"test","attempt":7}"#;
    assert!(String::from_utf8_lossy(&text).contains(wanted), "who wrote it: {}", String::from_utf8_lossy(&text));
}

/// Damage of any kind is a miss, and what is damaged is gone.
#[test]
fn a_damaged_entry_is_a_miss_and_is_removed() {
    let place = Place::new();
    let disk = place.disk(16 * MIB);
    let endpoint = endpoint(&disk);
    let mut client = Client::of(&endpoint);
    type Harm<'a> = &'a dyn Fn(&Path, &[u8]);
    let harms: [Harm<'_>; 6] = [
        &|path, bytes| fs::write(path, &bytes[..bytes.len() - 1]).unwrap(),
        &|path, bytes| fs::write(path, [bytes, b"x"].concat()).unwrap(),
        &|path, _| fs::write(path, b"").unwrap(),
        &|path, bytes| fs::write(path, &bytes[..20]).unwrap(),
        &|path, bytes| {
            let mut bytes = bytes.to_vec();
            bytes[1] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        &|path, _| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
    ];
    for content in [vec![7; 1000], vec![7; 2 * MIB as usize]] {
        for (number, harm) in harms.iter().enumerate() {
            let name = format!("ccache/{}/{number}", content.len());
            assert_eq!(client.put(&name, &content), 200);
            let files = place.files();
            let [path] = &files[..] else { panic!("{files:?}") };
            harm(path, &fs::read(path).unwrap());
            assert_eq!(client.get(&name), None, "harm {number}");
            if path.is_dir() {
                fs::remove_dir(path).unwrap();
            }
            assert_eq!(place.files(), Vec::<PathBuf>::new());
            assert_eq!(client.put(&name, &content), 200, "it can be stored again");
            assert_eq!(client.get(&name).unwrap(), content);
            fs::remove_file(&place.files()[0]).unwrap();
        }
    }
}

#[test]
fn a_full_cache_removes_what_was_used_longest_ago() {
    let place = Place::new();
    let disk = place.disk(64 * 1024);
    let endpoint = endpoint(&disk);
    let mut client = Client::of(&endpoint);
    for number in 0..20 {
        assert_eq!(client.put(&format!("ccache/{number}"), &[1; 8 * 1024]), 200);
        client.get("ccache/0").unwrap();
    }
    assert!(client.get("ccache/0").is_some() && client.get("ccache/19").is_some());
    assert_eq!(client.get("ccache/1"), None);
    let bytes: u64 = place.files().iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes <= 64 * 1024, "{bytes}");
}

/// A tool must never take a cache that keeps nothing for an error.
#[test]
fn what_is_not_kept_is_no_error() {
    let place = Place::new();
    let disk = place.disk(64 * 1024);
    let endpoint = endpoint(&disk);
    let mut client = Client::of(&endpoint);
    let long = vec![1; 17 * 1024];
    for (name, status) in
        [("bazel/ac/".to_owned() + &"a".repeat(64), 413), ("gradle/a".into(), 200), ("nx/v1/cache/a".into(), 200)]
    {
        assert_eq!(client.put(&name, &long), status);
        assert_eq!(client.put_in_chunks(&name, &long), status);
        assert_eq!(client.get(&name), None);
    }
    assert!(endpoint.summary().unwrap().ends_with(" reads hit, 0 stored (0 bytes), 6 not stored"));
    fs::remove_dir_all(place.root()).unwrap();
    assert_eq!((client.put("ccache/b", b"b"), client.get("ccache/b")), (200, None), "somebody removed the directory");
    // It is there again with the next attempt.
    let next = super::tests::endpoint(&disk);
    assert_eq!(client.put("ccache/b", b"b"), 200);
    assert_eq!(Client::of(&next).get("ccache/b").unwrap(), b"b");
    let full = Arc::new(Tiers::new(place.root(), MIB, u64::MAX));
    let full = super::tests::endpoint(&full);
    assert_eq!(Client::of(&full).put("ccache/c", b"c"), 200, "the disk is full");
    assert_eq!(Client::of(&full).get("ccache/c"), None);
    assert_eq!(Client::of(&full).get("ccache/b").unwrap(), b"b");
}
