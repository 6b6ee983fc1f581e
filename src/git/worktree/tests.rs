use std::fs;

use super::*;
use crate::git::fixture::{Repo, deliver};

struct Fixture {
    repo: Repo,
    tree: WorkTree,
}

#[test]
fn smoke() {
    let repo = Repo::new();
    let first = repo.write("a/b/file", "one").write("c", "x").commit("first");
    let second = repo.write("c", "two").commit("second");
    let (watched, store) = (repo.watched(), repo.store(second));
    deliver(&watched, &store, first, &[]);
    deliver(&watched, &store, second, &[first]);
    let place = repo.beside("tree");
    let mut tree = WorkTree::open(&repo.beside("store"), &place).unwrap();
    tree.check_out(first, &[]).unwrap();
    assert_eq!(fs::read(place.join("a/b/file")).unwrap(), b"one");
    fs::write(place.join("junk"), "x").unwrap();
    fs::write(place.join("a/b/file"), "eno").unwrap();
    tree.check_out(first, &[]).unwrap();
    assert_eq!(fs::read(place.join("a/b/file")).unwrap(), b"one");
    assert!(!place.join("junk").exists());
    tree.check_out(second, &[]).unwrap();
    assert_eq!(fs::read(place.join("c")).unwrap(), b"two");
}
