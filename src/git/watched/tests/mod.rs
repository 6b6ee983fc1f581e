//! Tests of watched repositories, in every state that they may be in.

mod commits;
mod refs;
mod trouble;

use std::fs;

use super::*;
use crate::git::tests::support::{Repo, git_in, objects_in, pack_of};

fn names(heads: &[Head]) -> Vec<&str> {
    heads.iter().map(|head| head.reference.short()).collect()
}

fn main_of(watched: &Watched) -> Vec<Head> {
    watched.heads(&BranchSelection::Main).unwrap()
}

fn matching(globs: &[&str]) -> BranchSelection {
    BranchSelection::Matching(globs.iter().map(|glob| (*glob).to_owned()).collect())
}

#[test]
fn the_main_branch_is_what_head_names_and_moves_as_others_move_it() {
    let repo = Repo::new();
    let first = repo.write("file", "1").commit("first");
    let watched = repo.watched();
    assert_eq!(main_of(&watched), [Head { reference: RefName::of_branch("main"), commit: first }]);
    let second = repo.write("file", "2").commit("second");
    assert_eq!(main_of(&watched)[0].commit, second);
    repo.git(&["pack-refs", "--all"]);
    assert_eq!(main_of(&watched)[0].commit, second);
    let third = repo.write("file", "3").commit("third");
    assert_eq!(main_of(&watched)[0].commit, third);
    repo.git(&["pack-refs", "--all"]);
    repo.git(&["update-ref", "refs/heads/main", &first.to_string()]);
    repo.git(&["pack-refs", "--all"]);
    assert_eq!(main_of(&watched)[0].commit, first);
    repo.git(&["switch", "--quiet", "--create", "trunk/next"]);
    assert_eq!(names(&main_of(&watched)), ["trunk/next"]);
}

#[test]
fn an_unborn_head_is_no_branch_and_no_error() {
    let repo = Repo::new();
    let watched = repo.watched();
    assert_eq!(main_of(&watched), []);
    assert_eq!(watched.heads(&matching(&["*"])).unwrap(), []);
    repo.write("file", "1").commit("first");
    assert_eq!(names(&main_of(&watched)), ["main"]);
}

#[test]
fn branches_are_selected_by_globs_in_which_a_star_matches_slashes_too() {
    let repo = Repo::new();
    repo.write("file", "1").commit("first");
    for name in ["release/1.0", "release/2.0/fix", "topic", "-x", "a;b", "$(x)", "emoji-🦀"] {
        repo.git(&["update-ref", &format!("refs/heads/{name}"), "HEAD"]);
    }
    let watched = repo.watched();
    let both = ["release/1.0", "release/2.0/fix"];
    assert_eq!(names(&watched.heads(&matching(&["release/*"])).unwrap()), both);
    repo.git(&["pack-refs", "--all"]);
    repo.git(&["update-ref", "refs/heads/loose", "HEAD"]);
    assert_eq!(names(&watched.heads(&matching(&["release/*"])).unwrap()), both);
    assert_eq!(
        names(&watched.heads(&matching(&["topic", "main", "absent", "../x", "main"])).unwrap()),
        ["main", "topic"]
    );
    let all = ["$(x)", "-x", "a;b", "emoji-🦀", "loose", "main", "release/1.0", "release/2.0/fix", "topic"];
    assert_eq!(names(&watched.heads(&matching(&["*"])).unwrap()), all);
    repo.git(&["update-ref", "-d", "refs/heads/topic"]);
    assert_eq!(watched.heads(&matching(&["topic"])).unwrap(), []);
}

#[test]
fn a_name_is_selected_by_a_glob_and_never_as_the_main_branch() {
    let (deep, topic) = (RefName::of_branch("release/2.0/fix"), RefName::of_branch("topic"));
    let some = matching(&["main", "release/*"]);
    assert!(some.matches(&deep) && !some.matches(&topic));
    assert!(matching(&["*"]).matches(&topic) && !matching(&["top"]).matches(&topic));
    assert!(!matching(&["*"]).matches(&RefName::new("refs/tags/topic")));
    assert!(!BranchSelection::Main.matches(&RefName::of_branch("main")));
}

#[test]
fn a_branch_name_may_be_very_long() {
    let repo = Repo::new();
    repo.write("file", "1").commit("first");
    let name = vec!["component-of-a-name"; 150].join("/");
    // As a packed ref, because as a file its path would be too long.
    let id = repo.head();
    fs::write(repo.path().join(".git/packed-refs"), format!("{id} refs/heads/{name}\n")).unwrap();
    assert_eq!(names(&repo.watched().heads(&matching(&["component*"])).unwrap()), [name]);
}

#[test]
fn a_symbolic_branch_stands_where_the_named_one_stands() {
    let repo = Repo::new();
    let commit = repo.write("file", "1").commit("first");
    repo.git(&["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
    repo.git(&["symbolic-ref", "refs/heads/dangling", "refs/heads/absent"]);
    let heads = repo.watched().heads(&matching(&["*"])).unwrap();
    assert_eq!(names(&heads), ["alias", "main"]);
    assert_eq!(heads[0].commit, commit);
    // A branch that is broken is left out of a list, as for git, and is an error for whoever asks for it.
    repo.git(&["symbolic-ref", "refs/heads/loop", "refs/heads/loop"]);
    assert_eq!(names(&repo.watched().heads(&matching(&["*"])).unwrap()), ["alias", "main"]);
    assert!(repo.watched().heads(&matching(&["loop"])).is_err());
}

#[test]
fn a_detached_head_is_no_branch_but_a_commit() {
    for reference in ["files", "reftable"] {
        let repo = Repo::with(&[&format!("--ref-format={reference}")]);
        assert_eq!(repo.watched().head_commit().unwrap(), None);
        let first = repo.write("file", "1").commit("first");
        assert_eq!(repo.watched().head_commit().unwrap(), Some((Some(BranchName::new("main")), first)));
        repo.git(&["switch", "--quiet", "--detach"]);
        let second = repo.write("file", "2").commit("second");
        // As in a rebase: neither the commit nor another branch counts as the main one's.
        assert_eq!(main_of(&repo.watched()), []);
        assert_eq!(repo.watched().head_commit().unwrap(), Some((None, second)));
        assert_eq!(names(&repo.watched().heads(&matching(&["*"])).unwrap()), ["main"]);
    }
}

#[test]
fn a_bare_repository_and_a_linked_worktree_are_watched_like_any() {
    let repo = Repo::new();
    let first = repo.write("file", "1").commit("first");
    let bare = repo.beside("bare.git");
    repo.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    assert_eq!(main_of(&Watched::open(&bare).unwrap())[0].commit, first);
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", "-b", "side", linked.to_str().unwrap()]);
    let watched = Watched::open(&linked).unwrap();
    assert_eq!(names(&main_of(&watched)), ["side"]);
    fs::write(linked.join("file"), "2").unwrap();
    git_in(&linked, &["commit", "--quiet", "--all", "--message", "second"]);
    let second = git_in(&linked, &["rev-parse", "HEAD"]).parse().unwrap();
    assert_eq!(main_of(&watched)[0].commit, second);
    assert_eq!(main_of(&repo.watched())[0].commit, first);
    let paths = watched.notify_paths(&[]);
    assert!(paths.contains(&fs::canonicalize(repo.path().join(".git/worktrees/linked")).unwrap()), "{paths:?}");
}

#[test]
fn changes_show_in_the_directories_to_watch() {
    let repo = Repo::new();
    repo.write("file", "1").commit("first");
    repo.git(&["branch", "deep/er/name"]);
    let paths = repo.watched().notify_paths(&[]);
    let git = fs::canonicalize(repo.path().join(".git")).unwrap();
    for expected in ["", "refs/heads", "refs/heads/deep", "refs/heads/deep/er"] {
        let expected = git.join(expected);
        assert!(paths.iter().any(|path| fs::canonicalize(path).unwrap() == expected), "{expected:?} in {paths:?}");
    }
}

#[test]
fn a_sha256_repository_is_watched_like_any() {
    let repo = Repo::with(&["--object-format=sha256"]);
    let first = repo.write("file", "1").commit("first");
    let second = repo.write("file", "2").commit("second");
    assert_eq!(second.as_bytes().len(), 32);
    let watched = repo.watched();
    assert_eq!(main_of(&watched)[0].commit, second);
    assert_eq!(watched.range(Some(first), second, 10).unwrap().commits, [second]);
    assert_eq!(objects_in(&pack_of(&watched, &[second], &[])), 3);
    let other: CommitId = "ab".repeat(20).parse().unwrap();
    assert!(!watched.has(other));
    assert!(matches!(watched.describe(other), Err(GitError::Format { .. })));
}

#[test]
fn a_reftable_repository_is_read_with_the_help_of_the_git_program() {
    let repo = Repo::with(&["--ref-format=reftable"]);
    assert_eq!(main_of(&repo.watched()), []);
    let first = repo.write("file", "1").commit("first");
    let watched = repo.watched();
    assert_eq!(main_of(&watched)[0].commit, first);
    let second = repo.write("file", "2").commit("second");
    repo.git(&["branch", "topic"]);
    assert_eq!(main_of(&watched)[0].commit, second);
    assert_eq!(names(&watched.heads(&matching(&["*"])).unwrap()), ["main", "topic"]);
    assert_eq!(watched.range(Some(first), second, 10).unwrap().commits, [second]);
    assert_eq!(objects_in(&pack_of(&watched, &[second], &[first])), 3);
    assert!(watched.notify_paths(&[]).iter().any(|path| path.ends_with("reftable")));
    repo.git(&["switch", "--quiet", "--detach"]);
    repo.git(&["branch", "--delete", "--force", "main"]);
    assert_eq!(main_of(&watched), []);
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", "-b", "side", linked.to_str().unwrap()]);
    assert_eq!(names(&main_of(&Watched::open(&linked).unwrap())), ["side"]);
    fs::remove_dir_all(repo.path().join(".git/reftable")).unwrap();
    assert!(watched.heads(&BranchSelection::Main).is_err());
}
