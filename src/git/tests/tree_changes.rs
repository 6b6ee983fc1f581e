//! The paths in which two commits differ, compared with what `git diff` says.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::support::{Repo, deliver};
use crate::git::MAX_CHANGED_PATHS;
use crate::model::CommitId;

fn by_git(repo: &Repo, old: CommitId, new: CommitId) -> Vec<String> {
    let (old, new) = (old.to_string(), new.to_string());
    let mut paths: Vec<String> =
        repo.git(&["diff-tree", "-r", "--name-only", "--no-renames", &old, &new]).lines().map(str::to_owned).collect();
    paths.sort();
    paths
}

#[test]
fn the_paths_that_differ_are_those_of_git() {
    let repo = Repo::new();
    for path in ["same", "edited", "gone", "dir/same", "dir/edited", "away/deep/x", "mode", "file-to-dir", "link"] {
        repo.write(path, path);
    }
    let old = repo.commit("old");
    repo.write("edited", "2").write("dir/edited", "2").write("fresh/a/b", "x").write("fresh.txt", "x");
    let at = |path: &str| repo.path().join(path);
    for path in ["gone", "file-to-dir", "link"] {
        fs::remove_file(at(path)).unwrap();
    }
    fs::remove_dir_all(at("away")).unwrap();
    repo.write("away", "a file now").write("file-to-dir/below", "x");
    symlink("same", at("link")).unwrap();
    fs::set_permissions(at("mode"), fs::Permissions::from_mode(0o755)).unwrap();
    let new = repo.commit("new");
    let expected = by_git(&repo, old, new);
    assert_eq!(expected.len(), 11);
    let watched = repo.watched();
    assert_eq!(watched.changed_paths(old, new).unwrap().unwrap(), expected);
    assert_eq!(watched.changed_paths(new, old).unwrap().unwrap(), expected);
    assert_eq!(watched.changed_paths(new, new).unwrap().unwrap(), [""; 0]);
    // A mirror answers the same as soon as it has both commits.
    let store = repo.store(new);
    deliver(&watched, &store, new, &[]);
    assert!(store.changed_paths(old, new).is_err(), "the tree of the old commit is not there");
    deliver(&watched, &store, old, &[]);
    assert_eq!(store.changed_paths(old, new).unwrap().unwrap(), expected);
}

#[test]
fn commits_that_differ_in_too_many_paths_differ_everywhere() {
    let repo = Repo::new();
    let old = repo.write("x", "1").commit("old");
    let blob = repo.git(&["hash-object", "-w", "x"]);
    let index = |count: usize| {
        let lines: String = (0..count).map(|at| format!("100644 {blob}\td{}/f{at}\n", at % 7)).collect();
        repo.git(&["read-tree", "--empty"]);
        repo.git_with(&["update-index", "--index-info"], lines.as_bytes());
        let tree = repo.git(&["write-tree"]);
        repo.git(&["commit-tree", "-p", "HEAD", "-m", "new", &tree]).parse().unwrap()
    };
    // `x` is gone in both.
    let paths = repo.watched().changed_paths(old, index(MAX_CHANGED_PATHS - 1)).unwrap();
    assert_eq!(paths.map(|paths| paths.len()), Some(MAX_CHANGED_PATHS));
    assert_eq!(repo.watched().changed_paths(old, index(MAX_CHANGED_PATHS)).unwrap(), None);
}
