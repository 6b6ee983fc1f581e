//! Tags and other refs: they are peeled, dated, and matched by patterns.

use std::process::Command;

use super::*;
use crate::git::tests::support::sealed;

fn globs(patterns: &[&str]) -> Vec<RefGlob> {
    patterns.iter().map(|pattern| RefGlob::new(pattern)).collect()
}

fn found(watched: &Watched, patterns: &[&str]) -> Vec<(String, CommitId)> {
    let heads = watched.matching(&globs(patterns)).unwrap();
    heads.into_iter().map(|head| (head.reference.to_string(), head.commit)).collect()
}

fn named(list: &[(&str, CommitId)]) -> Vec<(String, CommitId)> {
    list.iter().map(|(name, commit)| ((*name).to_owned(), *commit)).collect()
}

#[test]
fn a_pattern_matches_full_names_and_tags_only_if_it_says_so() {
    let matches = |glob: &str, name: &str| RefGlob::new(glob).matches(&RefName::new(name));
    assert!(matches("refs/tags/v*", "refs/tags/v1/x") && !matches("refs/tags/v*", "refs/tags/x"));
    assert!(matches("refs/pull/*/head", "refs/pull/1/head") && !matches("refs/pull/*/head", "refs/pull/1/merge"));
    assert!(!matches("refs/*", "refs/tags/v1") && !matches("refs/*", "refs/heads/main"));
    assert!(matches("refs/*", "refs/notes/commits"));
    assert!(RefGlob::new("refs/tags/v1").is_name() && !RefGlob::new("refs/tags/v?").is_name());
}

#[test]
fn an_annotated_tag_stands_for_its_commit_wherever_git_keeps_it() {
    let repo = Repo::new();
    let first = repo.write("file", "1").commit("first");
    repo.git(&["tag", "light"]);
    repo.git(&["tag", "--annotate", "--message=x", "noted"]);
    repo.git(&["tag", "--annotate", "--message=x", "of-a-tag", "noted"]);
    let second = repo.write("file", "2").commit("second");
    repo.git(&["update-ref", "refs/pull/7/head", &second.to_string()]);
    let expected = named(&[
        ("refs/pull/7/head", second),
        ("refs/tags/light", first),
        ("refs/tags/noted", first),
        ("refs/tags/of-a-tag", first),
    ]);
    let patterns = ["refs/tags/*", "refs/pull/*/head"];
    let watched = repo.watched();
    assert_eq!(found(&watched, &patterns), expected);
    repo.git(&["pack-refs", "--all"]);
    repo.git(&["repack", "-adq"]);
    assert_eq!(found(&watched, &patterns), expected, "packed");
    assert_eq!(found(&repo.watched(), &patterns), expected, "packed, for a fresh handle");
    repo.git(&["tag", "--force", "light", &second.to_string()]);
    assert_eq!(found(&watched, &["refs/tags/light"]), named(&[("refs/tags/light", second)]), "a loose one comes first");
    repo.git(&["tag", "--delete", "light"]);
    assert_eq!(found(&watched, &["refs/tags/light"]), []);
}

#[test]
fn a_ref_of_a_tree_or_a_blob_or_of_nothing_is_passed_over() {
    let repo = Repo::new();
    let first = repo.write("file", "1").commit("first");
    repo.git(&["tag", "tree", "HEAD^{tree}"]);
    repo.git(&["tag", "blob", "HEAD:file"]);
    repo.git(&["tag", "--annotate", "--message=x", "of-a-blob", "HEAD:file"]);
    repo.git(&["tag", "v1"]);
    fs::write(repo.path().join(".git/refs/tags/nothing"), format!("{}\n", "1".repeat(40))).unwrap();
    let watched = repo.watched();
    assert_eq!(found(&watched, &["refs/tags/*"]), named(&[("refs/tags/v1", first)]));
    // It is not gone all the same.
    assert!(watched.find(&RefName::new("refs/tags/tree")).unwrap().is_some());
}

#[test]
fn the_newest_refs_are_those_whose_tag_or_commit_is_the_youngest() {
    let repo = Repo::new();
    let git_at = |seconds: u32, arguments: &[&str]| {
        let mut git = Command::new("git");
        let date = format!("{seconds} +0000");
        let done = sealed(&mut git).current_dir(repo.path()).args(arguments).env("GIT_COMMITTER_DATE", date).status();
        assert!(done.unwrap().success());
    };
    let commit = |name: &str, seconds: u32| {
        repo.write("file", name);
        repo.git(&["add", "file"]);
        git_at(seconds, &["commit", "--quiet", "--message", name]);
    };
    commit("old", 1_000_000_000);
    repo.git(&["tag", "a-light-old"]);
    git_at(1_000_000_900, &["tag", "--annotate", "--message=x", "b-late"]);
    commit("new", 1_000_000_500);
    repo.git(&["tag", "c-light-new"]);
    for name in ["d9-light-new", "d10-light-new"] {
        repo.git(&["tag", name]);
    }
    let watched = repo.watched();
    let heads = watched.matching(&globs(&["refs/tags/*"])).unwrap();
    let newest = |count| {
        let names = watched.newest(&heads, count).unwrap();
        names.iter().map(|name| name.tag().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(newest(0), Vec::<String>::new());
    assert_eq!(newest(1), ["b-late"]);
    assert_eq!(newest(2), ["b-late", "d10-light-new"]);
    assert_eq!(newest(9).len(), 5);
    let times = watched.times(&heads).unwrap().into_iter().map(|time| time.unwrap() - 1_000_000_000);
    // By name: a, b, c, d10, d9.
    assert_eq!(times.collect::<Vec<_>>(), [0, 900, 500, 500, 500]);
    let missing = Head { reference: RefName::of_branch("broken"), commit: CommitId::from_bytes(&[7; 20]).unwrap() };
    assert_eq!(watched.times(&[missing]).unwrap(), [None], "a broken ref stops no other");
}

#[test]
fn tags_of_a_reftable_are_listed_too() {
    let repo = Repo::with(&["--ref-format=reftable"]);
    let first = repo.write("file", "1").commit("first");
    repo.git(&["tag", "--annotate", "--message=x", "v1"]);
    let watched = repo.watched();
    assert_eq!(found(&watched, &["refs/tags/*"]), named(&[("refs/tags/v1", first)]));
    assert!(watched.find(&RefName::new("refs/tags/v1")).unwrap().is_some());
    repo.git(&["tag", "--delete", "v1"]);
    assert_eq!(watched.find(&RefName::new("refs/tags/v1")).unwrap(), None);
}

#[test]
fn a_new_tag_shows_in_a_watched_directory() {
    let repo = Repo::new();
    repo.write("file", "1").commit("first");
    repo.git(&["tag", "deep/v1"]);
    let paths = repo.watched().notify_paths(&globs(&["refs/tags/*", "refs/pull/*/head"]));
    // The first pull request shows as a new directory in the last one.
    for part in ["refs/tags", "refs/tags/deep", "refs/heads", "refs"] {
        assert!(paths.iter().any(|path| path.ends_with(part)), "{part}: {paths:?}");
    }
}

#[test]
fn the_default_branch_is_that_of_the_remote_and_not_what_is_checked_out() {
    let repo = Repo::new();
    let first = repo.write("file", "1").commit("first");
    let default = || repo.watched().default_branch().unwrap().map(|branch| branch.to_string());
    assert_eq!(default().as_deref(), Some("main"));
    repo.git(&["checkout", "--quiet", "-b", "topic"]);
    assert_eq!(default().as_deref(), Some("main"), "a branch of somebody else may be checked out");
    repo.git(&["update-ref", "refs/remotes/origin/trunk", &first.to_string()]);
    repo.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk"]);
    assert_eq!(default().as_deref(), Some("trunk"));
    repo.git(&["symbolic-ref", "--delete", "refs/remotes/origin/HEAD"]);
    repo.git(&["branch", "--quiet", "--move", "main", "work"]);
    assert_eq!(default().as_deref(), Some("topic"), "nothing else tells");
    repo.git(&["checkout", "--quiet", "--detach"]);
    assert_eq!(default(), None);
}

/// A bare repository is what others push to and clone from, and its HEAD is chosen.
#[test]
fn the_default_branch_of_a_bare_repository_is_its_head() {
    let repo = Repo::new();
    repo.write("file", "1").commit("first");
    repo.git(&["branch", "trunk"]);
    let bare = repo.beside("bare.git");
    repo.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    repo.git(&["--git-dir", bare.to_str().unwrap(), "symbolic-ref", "HEAD", "refs/heads/trunk"]);
    assert_eq!(Watched::open(&bare).unwrap().default_branch().unwrap(), Some(BranchName::new("trunk")));
}

#[test]
fn a_branch_is_selected_by_name_or_by_a_pattern() {
    let selection = BranchSelection::Matching(["main", "release/*", "v?", "release/1"].map(str::to_owned).into());
    assert_eq!(selection.names(), [RefName::of_branch("main"), RefName::of_branch("release/1")]);
    assert_eq!(BranchSelection::Main.names(), []);
}
