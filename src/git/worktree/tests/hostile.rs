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
            assert!(matches!(error, Some(GitError::Content { .. })), "{text} {kind}: {error:?}");
            assert!(!repo.beside("slots/tree").exists(), "{text} {kind}");
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
    assert!(matches!(error, Some(GitError::Content { .. })), "{error:?}");
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

/// Content that no disk can hold is told with its path and the reason, and the tree takes the next commit.
#[test]
fn content_that_cannot_be_on_a_disk_is_told_with_its_path_and_why() {
    let repo = Repo::new();
    let blob = repo.raw_object("blob", b"content");
    let link = |content: &[u8]| repo.raw_object("blob", content);
    let inner = repo.raw_tree(&[("100644", b"file", &blob)]);
    let (long, two) = ("x".repeat(256), "x".repeat(300));
    let cases: [(&str, &[u8], String, &str, &str); 8] = [
        ("120000", b"l", link(b""), "\"d/l\"", "is a symbolic link without a target"),
        ("120000", b"l", link(b"a\0b"), "\"d/l\"", "is a symbolic link to a path with a NUL byte"),
        ("120000", b"l", link(&[b'x'; 4_096]), "\"d/l\"", "is a symbolic link to a path of 4096 bytes"),
        ("120000", b"l", inner.clone(), "\"d/l\"", "is a file by its mode, and no blob by its content"),
        ("100644", b"f", inner.clone(), "\"d/f\"", "is a file by its mode, and no blob by its content"),
        ("40000", b"t", blob.clone(), "\"d/t\"", "is a directory by its mode, and no tree by its content"),
        ("100644", long.as_bytes(), blob.clone(), "xx\"", "has a name of more than 255 bytes"),
        ("100755", two.as_bytes(), blob.clone(), "…", "has a name of more than 255 bytes"),
    ];
    let fine = repo.raw_commit(&[("40000", b"d", &inner)]);
    for (mode, name, id, path, why) in cases {
        let directory = repo.raw_tree(&[("100644", b"a", &blob), (mode, name, &id)]);
        let bad = repo.raw_commit(&[("40000", b"d", &directory), ("40000", b"e", &inner)]);
        let store = repo.store(bad);
        for commit in [fine, bad] {
            deliver(&repo.watched(), &store, commit, &[]);
        }
        let mut tree = WorkTree::open(&repo.beside("store"), &repo.beside("slots/tree")).unwrap();
        tree.check_out(fine, &[]).unwrap();
        let text = match tree.check_out(bad, &[]) {
            Err(error @ GitError::Content { .. }) => error.to_string(),
            other => panic!("{path} {why}: {other:?}"),
        };
        assert!(text.contains(path) && text.contains(why) && text.len() < 500, "{text}");
        tree.check_out(fine, &[]).unwrap();
        assert_eq!(content_of(&tree.path), [("d".into(), 'd', vec![]), ("d/file".into(), 'f', b"content".into())]);
        assert!(store.check(bad).is_ok(), "the store is not damaged");
    }
}

/// What git takes for a submodule is an empty directory, of whatever mode.
#[test]
fn an_entry_of_an_unknown_type_is_a_submodule_as_for_git() {
    let fixture = Fixture::new(|repo| {
        let blob = repo.raw_object("blob", b"content");
        let other = "1".repeat(40);
        let entries: [(&str, &[u8], &str); 6] = [
            ("160000", b"a", &other),
            ("10644", b"b", &other),
            ("0", b"c", &other),
            ("177777", b"d", &other),
            ("000000100644", b"e", &blob),
            ("100777", b"f", &blob),
        ];
        vec![repo.raw_commit(&entries)]
    });
    assert!(fixture.at("b").is_dir() && fixture.at("e").is_file());
}

/// The longest path that Linux takes is checked out with a small stack and few descriptors, and removed again; one
/// byte more is told. git itself says "File name too long".
#[test]
fn a_tree_is_as_deep_as_a_path_can_be_long() {
    let repo = Repo::new();
    let blob = repo.raw_object("blob", b"content");
    let empty = repo.raw_commit(&[]);
    let deepest = repo.deep_tree(repo.raw_tree(&[("100644", b"f", &blob)]), 2_046);
    let deep = repo.raw_commit(&[("40000", b"d", &deepest)]);
    let deeper = repo.deep_tree(repo.raw_tree(&[("100644", b"f", &blob), ("100644", b"gg", &blob)]), 2_046);
    let too_deep = repo.raw_commit(&[("40000", b"d", &deeper)]);
    for commit in [empty, deep, too_deep] {
        deliver(&repo.watched(), &repo.store(commit), commit, &[]);
    }
    let (store, place) = (repo.beside("store"), repo.beside("slots/deep"));
    // A stack as small as that of any thread of the program.
    let thread = crate::threads::spawn("small", move || {
        let mut tree = WorkTree::open(&store, &place).unwrap();
        tree.check_out(deep, &[]).unwrap();
        let path = format!("{}f", "d/".repeat(2_047));
        assert_eq!(path.len(), 4_095);
        let shown = Command::new("cat").arg(&path).current_dir(&place).output().unwrap();
        assert_eq!(shown.stdout, b"content", "{shown:?}");
        tree.check_out(deep, &[]).unwrap();
        let error = tree.check_out(too_deep, &[]).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, GitError::Content { .. }) && text.contains("d/d/gg\" has a path of more than"),
            "{text}"
        );
        // A fresh start compares everything, and removes it.
        let mut tree = WorkTree::open(&store, &place).unwrap();
        tree.check_out(deep, &[]).unwrap();
        tree.check_out(empty, &[]).unwrap();
        assert_eq!(content_of(&place), []);
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn names_that_are_not_utf8_are_checked_out() {
    let repo = Repo::new();
    let blob = repo.raw_object("blob", b"content");
    let tree = hostile(&repo, &[("100644", b"\xff\xfe name", &blob), ("100644", b"new\nline", &blob)]).unwrap();
    assert_eq!(content_of(&tree.path).len(), 2);
}
