//! Files that are too large to be held in memory.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::support::{Repo, deliver, objects_in, pack_of};
use crate::git::hash::Hash;
use crate::git::{GitError, PackStore, Watched, WorkTree};
use crate::model::CommitId;

const SIZE: usize = 5 << 20;

/// Content that compresses to about half, the same for the same seed except for its beginning.
fn content(seed: u8) -> Vec<u8> {
    let mut state = 1u32;
    let mut content: Vec<u8> = (0..SIZE)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 28) as u8
        })
        .collect();
    content[..1000].fill(seed);
    content
}

/// A repository with two commits of a large file beside more files than one thread packs.
fn repository() -> (Repo, [CommitId; 2]) {
    let repo = Repo::new();
    for number in 0..80 {
        repo.write(&format!("small/{number}"), format!("{number}\n").repeat(300));
    }
    let first = repo.write("large", content(1)).commit("first");
    let second = repo.write("large", content(2)).commit("second");
    (repo, [first, second])
}

/// Sends both commits to a store and from there to another one, and checks them out there.
fn travel(repo: &Repo, watched: &Watched, commits: &[CommitId; 2], place: &Path) {
    let (mirror, store) = (place.join("mirror"), place.join("store"));
    let [mirror, store_of_runner] = [&mirror, &store].map(|path| PackStore::open(path, commits[0]).unwrap());
    let mut tree = WorkTree::open(&store, &place.join("tree")).unwrap();
    let file = place.join("tree/large");
    for (commit, seed) in commits.iter().zip(1..) {
        let haves: &[CommitId] = if seed == 1 { &[] } else { &commits[..1] };
        deliver(watched, &mirror, *commit, haves);
        mirror.check(*commit).unwrap();
        let mut receiver = store_of_runner.receive().unwrap();
        mirror
            .pack(*commit, haves, &mut |piece| {
                receiver.write(piece).unwrap();
                true
            })
            .unwrap();
        receiver.finish(*commit, false).unwrap();
        tree.check_out(*commit, &[]).unwrap();
        assert!(fs::read(&file).unwrap() == content(seed));
        // A task changes it, with and without its size.
        for damage in [
            |file: &fs::File| file.write_all_at(b"?", 4_999_999).unwrap(),
            |file: &fs::File| {
                file.set_len(4_999_999).unwrap();
            },
        ] {
            damage(&fs::File::options().write(true).open(&file).unwrap());
            tree.check_out(*commit, &[]).unwrap();
            assert!(fs::read(&file).unwrap() == content(seed));
        }
        // After a restart all contents are compared.
        tree = WorkTree::open(&store, &place.join("tree")).unwrap();
        tree.check_out(*commit, &[]).unwrap();
    }
    assert_eq!(repo.head(), commits[1]);
}

#[test]
fn a_large_file_arrives_as_it_is_however_its_repository_stores_it() {
    let (repo, commits) = repository();
    travel(&repo, &repo.watched(), &commits, &repo.beside("of-loose"));
    let borrower = repo.beside("borrower");
    repo.git(&["clone", "--quiet", "--shared", ".", borrower.to_str().unwrap()]);
    travel(&repo, &Watched::open(&borrower).unwrap(), &commits, &repo.beside("of-borrowed"));
    repo.git(&["-c", "core.bigFileThreshold=1m", "repack", "-adq"]);
    travel(&repo, &repo.watched(), &commits, &repo.beside("of-packed"));
    repo.git(&["repack", "-adfq"]);
    travel(&repo, &repo.watched(), &commits, &repo.beside("of-delta"));
}

/// libgit2 maps the pack of an entry of 4 GiB without end. The file is compressed to about half, and small files are
/// before and behind it.
#[test]
fn a_pack_with_an_entry_that_is_too_long_is_refused_and_one_that_is_longer_as_a_whole_is_not() {
    let (repo, [first, second]) = repository();
    let pack = pack_of(&repo.watched(), &[first, second], &[]);
    let received = |limit: usize| {
        let mut receiver = repo.store(first).receive().unwrap();
        receiver.limit_entries(limit as u64);
        pack.chunks(10_000).try_for_each(|piece| receiver.write(piece)).and_then(|()| receiver.finish(second, false))
    };
    assert!(pack.len() > SIZE, "{}", pack.len());
    let error = received(SIZE / 4).unwrap_err();
    let GitError::BrokenPack { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.message(), "an object in it has more than 4 GiB in compressed form");
    received(SIZE / 4 * 3).unwrap();
}

/// The only file with this ending.
fn only_file(directory: &Path, ending: &str) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|it| it == ending))
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap()
}

/// Fails without the comparison of hashes in `LargeObject::read`: what was compressed by level 0 stays readable.
#[test]
fn a_large_file_that_is_damaged_is_an_error_at_every_reader() {
    let repo = Repo::new();
    repo.git(&["config", "core.compression", "0"]);
    let commit = repo.write("large", content(1)).commit("first");
    let store = repo.store(commit);
    deliver(&repo.watched(), &store, commit, &[]);
    let blob = repo.git(&["rev-parse", "HEAD:large"]);
    let loose = repo.path().join(".git/objects").join(&blob[..2]).join(&blob[2..]);
    let damage = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    };
    damage(&loose);
    let packed = repo.watched().pack(&[commit], &[], &mut |_| true);
    assert!(matches!(packed, Err(GitError::Object { .. })), "{packed:?}");
    damage(&only_file(&repo.beside("store/objects/pack"), "pack"));
    let store = PackStore::open(&repo.beside("store"), commit).unwrap();
    assert!(store.check(commit).unwrap_err().is_damage());
    assert!(store.pack(commit, &[], &mut |_| true).is_err());
    let mut tree = WorkTree::open(&repo.beside("store"), &repo.beside("tree")).unwrap();
    assert!(tree.check_out(commit, &[]).unwrap_err().is_damage());
    assert_eq!(tree.commit(), None);
}

#[test]
fn a_file_that_is_larger_than_a_limit_is_found_in_each_commit_that_has_it() {
    let repo = Repo::new();
    let before = repo.write("a/b/small", "x".repeat(100)).commit("before");
    let with = repo.write("a/b/large", "x".repeat(101)).commit("with");
    let still = repo.write("other", "").commit("still");
    fs::remove_file(repo.path().join("a/b/large")).unwrap();
    let after = repo.commit("after");
    let store = repo.store(before);
    let expect = |store: &PackStore, limit| {
        [before, with, still, after].map(|commit| store.file_larger_than(commit, limit).unwrap().map(|(path, _)| path))
    };
    let mut haves = Vec::new();
    for commit in [before, with, still, after] {
        deliver(&repo.watched(), &store, commit, &haves);
        store.file_larger_than(commit, 100).unwrap();
        haves = vec![commit];
    }
    let large = || Some("a/b/large".to_owned());
    assert_eq!(expect(&store, 100), [None, large(), large(), None]);
    assert_eq!(store.file_larger_than(with, 100).unwrap().unwrap().1, 101);
    assert_eq!(expect(&store, 101), [None, None, None, None]);
    assert_eq!(expect(&store, 100), [None, large(), large(), None]);
    let again = PackStore::open(&repo.beside("store"), before).unwrap();
    assert_eq!(expect(&again, 100), [None, large(), large(), None]);
}

/// Another program may send deltas, whose own size says nothing.
#[test]
fn a_file_that_came_as_a_delta_has_the_size_of_what_comes_of_it() {
    let repo = Repo::new();
    let first = repo.write("large", content(1)).commit("first");
    let second = repo.write("large", content(2)).commit("second");
    let revisions = format!("{second}\n");
    let pack = repo.git_with(&["pack-objects", "--revs", "--stdout", "--quiet"], revisions.as_bytes());
    assert!(pack.len() < SIZE, "there is no delta in it");
    let store = repo.store(second);
    let mut receiver = store.receive().unwrap();
    receiver.write(&pack).unwrap();
    receiver.finish(second, false).unwrap();
    let large = Some(("large".to_owned(), SIZE as u64));
    for commit in [first, second] {
        assert_eq!(store.file_larger_than(commit, SIZE as u64 - 1).unwrap(), large);
        assert_eq!(store.file_larger_than(commit, SIZE as u64).unwrap(), None);
    }
}

/// A few kilobytes of a pack may be gigabytes of a tree, which every reader would hold in memory.
#[test]
fn a_tree_beyond_any_size_that_trees_have_is_refused_unread() {
    let repo = Repo::new();
    let blob = repo.raw_object("blob", b"");
    let id = blob.parse::<CommitId>().unwrap();
    let entry = |number: u32| [format!("100644 {number:0200}\0").as_bytes(), id.as_bytes()].concat();
    let tree = repo.raw_object("tree", &(0..300_000).flat_map(entry).collect::<Vec<u8>>());
    let commit = repo.git(&["commit-tree", "-m", "a huge tree", &tree]).parse().unwrap();
    let packed = repo.watched().pack(&[commit], &[], &mut |_| true);
    assert!(matches!(packed, Err(GitError::BrokenTree { .. })), "{packed:?}");
    let pack = repo.git_with(&["pack-objects", "--revs", "--stdout", "--quiet"], format!("{commit}\n").as_bytes());
    let mut receiver = repo.store(commit).receive().unwrap();
    receiver.write(&pack).unwrap();
    let received = receiver.finish(commit, false);
    assert!(matches!(received, Err(GitError::BrokenTree { .. })), "{received:?}");
    assert!(!repo.store(commit).has(commit));
}

/// A delta of some hundred bytes that says sixty times: the whole base, once more.
#[test]
fn a_delta_that_becomes_more_than_memory_holds_is_refused() {
    let repo = Repo::new();
    let base = vec![b'x'; 10 << 20];
    let commit = repo.write("base", &base).commit("first");
    let number = |mut size: usize| {
        let mut bytes = Vec::new();
        while size > 0x7f {
            bytes.push(size as u8 | 0x80);
            size >>= 7;
        }
        bytes.push(size as u8);
        bytes
    };
    let pack = |copies: usize| {
        let mut delta = [number(base.len()), number(copies * base.len())].concat();
        // Copies that many bytes of the base, from its beginning. The size takes three bytes.
        let copy = [&[0b1111_0000][..], &(base.len() as u32).to_le_bytes()[..3]].concat();
        delta.extend(copy.repeat(copies));
        let mut pack = pack_of(&repo.watched(), &[commit], &[]);
        pack.truncate(pack.len() - 20);
        let count = objects_in(&pack) + 1;
        pack[8..12].copy_from_slice(&count.to_be_bytes());
        // A delta whose base is named by its id.
        let size = delta.len();
        pack.extend([0xf0 | (size & 15) as u8, (size >> 4) as u8]);
        pack.extend(repo.git(&["rev-parse", "HEAD:base"]).parse::<CommitId>().unwrap().as_bytes());
        let mut compressed = Vec::with_capacity(2 * size + 100);
        let mut compress = flate2::Compress::new(flate2::Compression::fast(), true);
        compress.compress_vec(&delta, &mut compressed, flate2::FlushCompress::Finish).unwrap();
        pack.extend(compressed);
        let mut hash = Hash::new(git2::ObjectFormat::Sha1);
        hash.update(&pack);
        pack.extend(hash.finish().as_bytes());
        pack
    };
    let receive = |pack: &[u8]| {
        let mut receiver = repo.store(commit).receive().unwrap();
        receiver.write(pack).unwrap();
        receiver.finish(commit, false)
    };
    let refused = receive(&pack(60)).unwrap_err();
    assert!(crate::error_chain::chain(&refused).contains("629145600 bytes in it is a delta"), "{refused:?}");
    assert!(!repo.store(commit).has(commit));
    receive(&pack(2)).unwrap();
}
