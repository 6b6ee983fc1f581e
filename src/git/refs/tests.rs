//! Refs are what git says they are: branches are compared with `git for-each-ref` on generated repositories.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::git::tests::support::{Repo, git_in};

/// Parts of names. git refuses some of them anywhere, and some at the end only.
const PARTS: [&str; 20] = [
    "a", "b", "main", "x.y", "é", "-", "@", "deep", "a.lock", ".hid", "a..b", "a b", "a~", "x.", "[z", "@{q", "a:",
    "tmp?", "HEAD", "b\\c",
];

/// Places of refs. Those of the last two belong to one work tree.
const PLACES: [&str; 6] =
    ["refs/heads", "refs/heads", "refs/remotes/origin", "refs/tags", "refs/worktree", "refs/bisect"];

/// A ref, or something in its place.
#[derive(Debug, Clone)]
struct Made {
    name: String,
    is_packed: bool,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    /// One of the repository's two commits, with something behind it.
    Commit(usize, &'static str),
    CapitalCommit(usize),
    Symbolic(&'static str, String),
    Link(String),
    Bytes(&'static [u8]),
}

fn name() -> impl Strategy<Value = String> {
    let parts = vec(select(&PARTS[..]), 1..4).prop_map(|parts| parts.join("/"));
    (select(&PLACES[..]), parts).prop_map(|(place, rest)| format!("{place}/{rest}"))
}

/// The name of a ref that probably exists.
fn target() -> impl Strategy<Value = String> {
    let usual = ["refs/heads/main", "refs/heads/a", "refs/heads/b", "refs/remotes/origin/a", "refs/tags/a", "HEAD"];
    let of_others = [
        "main-worktree/HEAD",
        "main-worktree/refs/heads/a",
        "main-worktree/refs/worktree/a",
        "worktrees/linked/HEAD",
        "worktrees/linked/refs/heads/a",
        "refs/worktree/a",
        "ORIG_HEAD",
        "config",
        "no-such",
        "refs/heads/../x",
        "refs/heads/a/b",
    ];
    prop_oneof![
        4 => select(usual.to_vec()).prop_map(String::from),
        1 => select(of_others.to_vec()).prop_map(String::from),
        1 => name(),
    ]
}

fn content() -> impl Strategy<Value = Content> {
    let broken: [&[u8]; 6] =
        [b"", b"\n", b"garbage\n", &[0; 41], b"0000000000000000000000000000000000000000\n", b"ref: \n"];
    prop_oneof![
        4 => (0..2usize, select(&["\n", "", "  \n\n", " and more\n", "\tx", "x\n", "\r\n"][..]))
            .prop_map(|(which, end)| Content::Commit(which, end)),
        1 => (0..2usize).prop_map(Content::CapitalCommit),
        3 => (select(&["ref: ", "ref:", "ref:\t  ", "REF: "][..]), target())
            .prop_map(|(start, name)| Content::Symbolic(start, name)),
        1 => target().prop_map(Content::Link),
        1 => select(&["a", "b", "main", "../tags/a", "../heads/a", "../../HEAD", "a/b", "../tags"][..])
            .prop_map(|path| Content::Link(path.to_owned())),
        1 => select(broken.to_vec()).prop_map(Content::Bytes),
    ]
}

fn made() -> impl Strategy<Value = Made> {
    let usual =
        select(&["refs/heads/main", "refs/heads/a", "refs/heads/b", "refs/remotes/origin/a", "refs/tags/a"][..]);
    let name = prop_oneof![usual.prop_map(String::from), name()];
    (name, any::<bool>(), content()).prop_map(|(name, is_packed, content)| Made { name, is_packed, content })
}

/// Makes exactly these refs. Leaves out one for whose file there is no room beside the others, and links to directories
/// but for the first: git goes through two that lead round in circles for years.
fn make(repo: &Repo, commits: &[CommitId; 2], refs: &[Made]) {
    let git = repo.path().join(".git");
    fs::remove_dir_all(git.join("refs")).unwrap();
    fs::remove_file(git.join("packed-refs")).ok();
    fs::create_dir_all(git.join("refs/heads")).unwrap();
    let mut packed = BTreeMap::new();
    for Made { name, is_packed, content } in refs {
        let path = git.join(name);
        let text = match content {
            Content::Commit(which, _) if *is_packed => {
                packed.insert(name.as_bytes(), commits[*which]);
                continue;
            }
            Content::Commit(which, end) => format!("{}{end}", commits[*which]).into_bytes(),
            Content::CapitalCommit(which) => commits[*which].to_string().to_uppercase().into_bytes(),
            Content::Symbolic(start, target) => format!("{start}{target}\n").into_bytes(),
            Content::Bytes(bytes) => bytes.to_vec(),
            Content::Link(target) => {
                if fs::create_dir_all(path.parent().unwrap()).is_ok() {
                    symlink(target, path).ok();
                }
                continue;
            }
        };
        // A link may lead out of the directory of refs, and is not written through.
        let is_link = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink());
        if !is_link && fs::create_dir_all(path.parent().unwrap()).is_ok() {
            fs::write(path, text).ok();
        }
    }
    let links = refs.iter().filter(|made| matches!(made.content, Content::Link(_))).map(|made| git.join(&made.name));
    let to_directories = links.filter(|path| path.is_symlink() && path.is_dir()).collect::<BTreeSet<_>>();
    // The last first: a later path may lead through an earlier link. Two of them may be one link.
    to_directories.iter().skip(1).rev().for_each(|path| drop(fs::remove_file(path)));
    if !packed.is_empty() {
        let mut text = b"# pack-refs with: peeled fully-peeled sorted \n".to_vec();
        for (name, id) in packed {
            text.extend_from_slice(format!("{id} ").as_bytes());
            text.extend_from_slice(name);
            text.push(b'\n');
        }
        fs::write(git.join("packed-refs"), text).unwrap();
    }
}

fn check(repo: &Repo, at: &Path) {
    check_namespace(repo, at, "refs/heads/");
    check_namespace(repo, at, "refs/tags/");
    check_namespace(repo, at, "refs/remotes/origin/");
}

fn check_namespace(repo: &Repo, at: &Path, namespace: &str) {
    let listed = git_in(at, &["for-each-ref", "--format=%(objectname) %(refname)", namespace]);
    let mut expected: Vec<(String, CommitId)> = listed
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(id, name)| (name.to_owned(), id.parse().unwrap()))
        .collect();
    expected.sort();
    let git_dir = PathBuf::from(git_in(at, &["rev-parse", "--absolute-git-dir"]));
    let refs = Refs::Files(RefFiles::new(&git_dir, &repo.path().join(".git")));
    assert_eq!(refs.list(namespace).unwrap(), expected);
    for (name, id) in &expected {
        assert_eq!(refs.find(name).unwrap(), Some(*id), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        ..ProptestConfig::default()
    })]

    #[test]
    fn branches_are_what_git_lists(refs in vec(made(), 1..14)) {
        thread_local! {
            static REPO: (Repo, [CommitId; 2]) = {
                let repo = Repo::new();
                let first = repo.write("file", "1").commit("first");
                let second = repo.write("file", "2").commit("second");
                repo.git(&["worktree", "add", "--quiet", "--detach", "../linked"]);
                (repo, [first, second])
            };
        }
        REPO.with(|(repo, commits)| {
            make(repo, commits, &refs);
            check(repo, repo.path());
            check(repo, &repo.beside("linked"));
        });
    }
}

#[test]
fn a_ref_that_names_another_one_is_only_listed_if_git_finds_that_one() {
    let repo = Repo::new();
    let commits = [repo.write("file", "1").commit("first"), repo.write("file", "2").commit("second")];
    let refs = |list: &[(&str, Content)]| -> Vec<Made> {
        let packed = |name: &str| Made { name: name.to_owned(), is_packed: true, content: Content::Commit(0, "") };
        let loose = list.iter().map(|(name, content)| Made {
            name: (*name).to_owned(),
            is_packed: false,
            content: content.clone(),
        });
        // Packed first: a loose one overrides it.
        list.iter().map(|(name, _)| packed(name)).chain(loose).collect()
    };
    let symbolic = |name: &str| Content::Symbolic("ref: ", name.to_owned());
    let link = |path: &str| Content::Link(path.to_owned());
    for list in [
        // The packed ref is listed under its own name, and not found under the other one.
        refs(&[("refs/heads/main", link("HEAD")), ("refs/heads/a", symbolic("main-worktree/HEAD"))]),
        refs(&[("refs/heads/main", link("main")), ("refs/heads/a", symbolic("refs/heads/main"))]),
        refs(&[("refs/heads/main", link("../tags")), ("refs/heads/a", symbolic("HEAD"))]),
        // A file in the place of a directory.
        refs(&[
            ("refs/heads/b", symbolic("refs/heads/main")),
            ("refs/heads/b/c", Content::Commit(1, "")),
            ("refs/heads/a", symbolic("refs/heads/b/c")),
        ]),
        // Only the refs that a work tree has for itself are found in another one.
        refs(&[("refs/heads/main", symbolic("main-worktree/refs/heads/b")), ("refs/heads/b", Content::Commit(1, ""))]),
    ] {
        make(&repo, &commits, &list);
        check(&repo, repo.path());
    }
}

/// git lists the refs of one link in a circle, 40 times; two would keep it, and whoever watches the repository, busy
/// for years.
#[test]
fn links_that_lead_round_in_circles_are_an_error() {
    let repo = Repo::new();
    repo.write("file", "1").commit("first");
    let heads = repo.path().join(".git/refs/heads");
    symlink(".", heads.join("one")).unwrap();
    check(&repo, repo.path());
    symlink(".", heads.join("two")).unwrap();
    let refs = Refs::Files(RefFiles::new(&repo.path().join(".git"), &repo.path().join(".git")));
    let error = refs.branches().unwrap_err().to_string();
    assert!(error.contains("refs/heads/") && error.contains("round in circles"), "{error}");
    assert!(refs.find("refs/heads/main").unwrap().is_some());
}

#[test]
fn a_linked_work_tree_has_some_refs_of_its_own_and_shares_the_others() {
    let repo = Repo::new();
    let first = repo.write("file", "1").commit("first");
    let second = repo.write("file", "2").commit("second");
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", "-b", "side", linked.to_str().unwrap(), &first.to_string()]);
    repo.git(&["update-ref", "refs/worktree/mark", &first.to_string()]);
    git_in(&linked, &["update-ref", "refs/worktree/mark", &second.to_string()]);
    let heads = repo.path().join(".git/refs/heads");
    for (name, target) in [
        ("mark", "refs/worktree/mark"),
        ("main-mark", "main-worktree/refs/worktree/mark"),
        ("linked-head", "worktrees/linked/HEAD"),
        ("here", "HEAD"),
    ] {
        fs::write(heads.join(name), format!("ref: {target}\n")).unwrap();
    }
    check(&repo, repo.path());
    check(&repo, &linked);
}

#[test]
fn what_is_no_ref_stops_nobody_and_a_broken_one_only_itself() {
    let repo = Repo::new();
    let commit = repo.write("file", "1").commit("first");
    let heads = repo.path().join(".git/refs/heads");
    for (name, content) in [
        ("main.lock", ""),
        ("main~", "x"),
        (".main.swp", "\0"),
        ("main (conflict 1)", ""),
        ("a..b", ""),
        ("broken", ""),
    ] {
        fs::write(heads.join(name), content).unwrap();
    }
    fs::create_dir(heads.join("a directory")).unwrap();
    fs::write(heads.join("a directory/x"), "").unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, heads.join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let refs = Refs::Files(RefFiles::new(&repo.path().join(".git"), &repo.path().join(".git")));
    assert_eq!(refs.branches().unwrap(), [("refs/heads/main".to_owned(), commit)]);
    // Whoever asks for the broken one hears that it is broken, so that it never looks deleted.
    assert!(matches!(refs.find("refs/heads/broken"), Err(GitError::Broken { .. })));
    assert!(matches!(refs.find("refs/heads/pipe"), Err(GitError::Broken { .. })));
    assert_eq!(refs.find("refs/heads/absent").unwrap(), None);
}
