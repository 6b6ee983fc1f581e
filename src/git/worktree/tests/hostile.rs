//! Hand-made trees that git would never write.

use super::*;

/// Makes a commit of raw tree entries, in a store, by a pack that this side builds.
fn hostile(repo: &Repo, entries: &[(&str, &[u8], &str)]) -> Result<WorkTree, GitError> {
    let commit = repo.raw_commit(entries);
    let store = repo.store(commit);
    deliver(&repo.watched(), &store, commit, &[]);
    let mut tree = WorkTree::open(&repo.beside("store"), &repo.beside("slots/tree")).unwrap();
    tree.check_out(commit, &[]).map(|()| tree)
}

#[test]
fn a_tree_that_would_write_elsewhere_is_refused_before_anything_is_written() {
    for name in [&b".."[..], b".", b".git", b".GIT", b".Git", b"git~1", b"a/b", b"../x", b"/etc", b""] {
        for kind in ["file", "directory", "link"] {
            let repo = Repo::new();
            let blob = repo.raw_object("blob", b"content");
            let inner = repo.raw_tree(&[("100644", b"inner", &blob)]);
            let (mode, id) = match kind {
                "file" => ("100644", &blob),
                "link" => ("120000", &blob),
                _ => ("40000", &inner),
            };
            let error = hostile(&repo, &[(mode, name, id), ("100644", b"zz", &blob)]).err();
            let text = String::from_utf8_lossy(name);
            assert!(matches!(error, Some(GitError::Hostile { .. })), "{text} {kind}: {error:?}");
            assert_eq!(content_of(&repo.beside("slots/tree")), [], "{text} {kind}");
            assert!(!repo.beside("slots/x").exists() && !repo.beside("slots/inner").exists());
        }
    }
}

#[test]
fn a_tree_cannot_write_through_its_own_link() {
    let repo = Repo::new();
    let outside = repo.beside("outside");
    fs::create_dir(&outside).unwrap();
    let target = repo.raw_object("blob", outside.as_os_str().as_bytes());
    let blob = repo.raw_object("blob", b"content");
    let inner = repo.raw_tree(&[("100644", b"inner", &blob)]);
    let error = hostile(&repo, &[("120000", b"way", &target), ("40000", b"way", &inner)]).err();
    assert!(matches!(error, Some(GitError::Hostile { .. })), "{error:?}");
    // Names that differ only in case are different names here.
    let mut tree = hostile(&repo, &[("120000", b"WAY", &target), ("40000", b"way", &inner)]).unwrap();
    // The entry is a link to a directory before, and a directory after.
    let commit = repo.raw_commit(&[("40000", b"WAY", &inner)]);
    deliver(&repo.watched(), &repo.store(commit), commit, &[]);
    tree.check_out(commit, &[]).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(repo.beside("slots/tree/WAY/inner").exists());
}

#[test]
fn a_link_to_the_root_is_just_a_link() {
    let repo = Repo::new();
    let target = repo.raw_object("blob", b"/");
    let tree = hostile(&repo, &[("120000", b"root", &target)]).unwrap();
    assert_eq!(fs::read_link(tree.path.join("root")).unwrap(), Path::new("/"));
}

#[test]
fn a_deep_tree_needs_no_large_stack_and_one_too_deep_is_refused() {
    let repo = Repo::new();
    let blob = repo.raw_object("blob", b"content");
    let mut tree = repo.raw_tree(&[("100644", b"f", &blob)]);
    for depth in 0..120 {
        tree = repo.raw_tree(&[("40000", b"d", &tree)]);
        if depth == 95 {
            let deep = repo.raw_commit(&[("40000", b"d", &tree)]);
            deliver(&repo.watched(), &repo.store(deep), deep, &[]);
            let (store, place) = (repo.beside("store"), repo.beside("slots/deep"));
            // A stack as small as that of any thread of the program.
            let thread = crate::threads::spawn("small", move || {
                let mut tree = WorkTree::open(&store, &place).unwrap();
                tree.check_out(deep, &[]).unwrap();
                tree.check_out(deep, &[]).unwrap();
            });
            thread.unwrap().join().unwrap();
        }
    }
    let error = hostile(&repo, &[("40000", b"d", &tree)]).err();
    assert!(matches!(error, Some(GitError::Hostile { .. })), "{error:?}");
}

#[test]
fn names_that_are_not_utf8_are_checked_out() {
    let repo = Repo::new();
    let blob = repo.raw_object("blob", b"content");
    let tree = hostile(&repo, &[("100644", b"\xff\xfe name", &blob), ("100644", b"new\nline", &blob)]).unwrap();
    assert_eq!(content_of(&tree.path).len(), 2);
}
