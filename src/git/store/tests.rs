use std::fs;
use std::path::Path;

use super::*;
use crate::git::fixture::{Repo, deliver, objects_in, pack_of};

fn entries_of(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[test]
fn a_commit_arrives_with_its_whole_tree_and_without_its_history() {
    let repo = Repo::new();
    let first = repo.write("a/b/file", "one").commit("first");
    let second = repo.write("other", "two").commit("second");
    let (watched, store) = (repo.watched(), repo.store(second));
    assert!(!store.has(second));
    deliver(&watched, &store, second, &[]);
    assert!(store.has(second));
    assert!(!store.has(first));
    store.check(second).unwrap();
    assert_eq!(store.read_file(second, "a/b/file", 100).unwrap().unwrap(), b"one");
}

#[test]
fn a_pack_holds_only_what_the_receiver_lacks() {
    let repo = Repo::new();
    let first = repo.write("kept/file", "one").write("changed/file", "one").commit("first");
    let second = repo.write("changed/file", "two").commit("second");
    let (watched, store) = (repo.watched(), repo.store(second));
    deliver(&watched, &store, first, &[]);
    // The commit, the root, the changed directory, the changed file.
    assert_eq!(objects_in(&pack_of(&watched, &[second], &[first])), 4);
    deliver(&watched, &store, second, &[first]);
    store.check(second).unwrap();
    assert_eq!(objects_in(&pack_of(&watched, &[second], &[second])), 1);
}

#[test]
fn a_pack_of_nothing_new_is_accepted() {
    let repo = Repo::new();
    let commit = repo.write("file", "one").commit("first");
    let (watched, store) = (repo.watched(), repo.store(commit));
    deliver(&watched, &store, commit, &[]);
    deliver(&watched, &store, commit, &[commit]);
    deliver(&watched, &store, commit, &[]);
    let empty = pack_of(&watched, &[], &[]);
    assert_eq!(objects_in(&empty), 0);
    let mut receiver = store.receive().unwrap();
    receiver.write(&empty).unwrap();
    receiver.finish(commit, true).unwrap();
    assert_eq!(entries_of(&repo.beside("store/objects/pack")), 4);
}
