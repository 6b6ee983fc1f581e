//! Small packs: what is read without libgit2 has the index that git makes, and everything else is left to libgit2.

use std::os::unix::fs::symlink;
use std::path::Path;

use git2::{Indexer, ObjectFormat};
use sha1::{Digest, Sha1};

use super::support::Repo;
use crate::git::hash::format_with;
use crate::git::small_pack::SmallPack;

/// Returns the index that git makes of a pack.
fn index_by_git(repo: &Repo, pack: &[u8]) -> Vec<u8> {
    let (pack_file, index) = (repo.beside("p.pack"), repo.beside("p.idx"));
    std::fs::write(&pack_file, pack).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    repo.git(&["index-pack", "-o", &path(&index), &path(&pack_file)]);
    std::fs::read(index).unwrap()
}

/// Returns the index that libgit2 makes of a pack of SHA-1; `None` if it refuses it.
fn index_by_libgit2(pack: &[u8]) -> Option<Vec<u8>> {
    let place = tempfile::tempdir().unwrap();
    let mut indexer = Indexer::new_ext(None, place.path(), 0o444, false, ObjectFormat::Sha1).unwrap();
    std::io::Write::write_all(&mut indexer, pack).ok()?;
    let name = indexer.commit().ok()?;
    Some(std::fs::read(place.path().join(format!("pack-{name}.idx"))).unwrap())
}

/// Ends a pack with its hash.
fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let hash = Sha1::digest(&body);
    body.extend(hash);
    body
}

#[test]
fn the_index_is_the_one_that_git_makes() {
    for format in ["sha1", "sha256"] {
        let repo = Repo::with(&["--object-format", format]);
        let noise: Vec<u8> = (0..90_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        repo.write("empty", "").write("a/b/c", "deep").write("noise", &noise[..100_000]);
        symlink("a", repo.path().join("link")).unwrap();
        repo.commit("first");
        repo.git(&["tag", "--annotate", "--message", "one", "v1"]);
        for number in 0..200 {
            repo.write(&format!("many/{number}"), format!("{number}\n"));
        }
        repo.commit("second");
        let id_bytes = repo.git(&["rev-parse", "HEAD"]).len() / 2;
        let without_deltas = ["pack-objects", "--all", "--window=0", "--stdout", "--quiet"];
        let pack = repo.git_with(&without_deltas, b"");
        let read = SmallPack::read(&pack, format_with(id_bytes)).unwrap();
        assert_eq!(read.index, index_by_git(&repo, &pack), "{format}");
        assert_eq!(pack[pack.len() - id_bytes..], *read.name.as_bytes());
    }
}

#[test]
fn a_pack_with_a_delta_too_much_content_or_nothing_is_left_to_libgit2() {
    let read = |pack: &[u8]| SmallPack::read(pack, ObjectFormat::Sha1).is_some();
    let repo = Repo::new();
    let text: String = (0..500).map(|line| format!("line {line}\n")).collect();
    repo.write("a", &text).commit("first");
    repo.write("a", text + "more\n").commit("second");
    let pack = |repo: &Repo, window| repo.git_with(&["pack-objects", "--all", window, "--stdout", "--quiet"], b"");
    assert!(read(&pack(&repo, "--window=0")) && !read(&pack(&repo, "--window=10")));
    let large = Repo::new();
    large.write("a", vec![0; 5 << 20]).commit("first");
    let few_bytes = pack(&large, "--window=0");
    assert!(few_bytes.len() < 10_000 && !read(&few_bytes));
    assert!(!read(&sealed(b"PACK\0\0\0\x02\0\0\0\0".to_vec())), "it is empty");
}

/// Each byte of a pack in turn is another one, and the hash at the end is right.
#[test]
fn a_damaged_pack_is_read_only_if_libgit2_reads_it_so() {
    let repo = Repo::new();
    repo.write("file", "some content\n".repeat(20)).write("other", "").commit("first");
    let pack = repo.git_with(&["pack-objects", "--all", "--window=0", "--stdout", "--quiet"], b"");
    let body = &pack[..pack.len() - 20];
    let mut read = 0;
    for (at, bit) in (0..body.len()).flat_map(|at| [0x01, 0x10, 0x80].map(|bit| (at, bit))) {
        let mut damaged = body.to_vec();
        damaged[at] ^= bit;
        let damaged = sealed(damaged);
        if let Some(found) = SmallPack::read(&damaged, ObjectFormat::Sha1) {
            read += 1;
            assert_eq!(Some(found.index), index_by_libgit2(&damaged), "byte {at}, bit {bit:#x}");
        }
    }
    // A type of an object may be another one, for instance.
    assert!(read > 0);
    for odd in [[body, b"x"].concat(), body[..body.len() - 1].to_vec(), [&body[..11], &[9], &body[12..]].concat()] {
        assert!(SmallPack::read(&sealed(odd), ObjectFormat::Sha1).is_none());
    }
    let twice = [&body[..11], &[body[11] * 2], &body[12..], &body[12..]].concat();
    assert!(SmallPack::read(&sealed(twice), ObjectFormat::Sha1).is_none(), "each object is in it twice");
}
