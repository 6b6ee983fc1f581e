//! Ranges and descriptions of commits.

use super::*;

#[test]
fn a_range_goes_back_along_first_parents_to_the_commit_before() {
    let repo = Repo::new();
    let commits: Vec<_> = (0..6).map(|n| repo.write("file", n.to_string()).commit(&n.to_string())).collect();
    let watched = repo.watched();
    let range = |before, head, limit| watched.range(before, head, limit).unwrap().commits;
    let count = |before, head, limit| watched.range(before, head, limit).unwrap().count;
    assert_eq!(range(Some(commits[1]), commits[4], 10), commits[2..=4]);
    assert_eq!(range(Some(commits[0]), commits[5], 2), commits[4..=5]);
    assert_eq!(count(Some(commits[0]), commits[5], 2), Some(5), "all are counted");
    assert_eq!(range(None, commits[5], 10), [commits[5]]);
    assert_eq!(range(Some(commits[5]), commits[5], 10), [commits[5]]);
    assert_eq!(count(Some(commits[4]), commits[5], 10), Some(1));
    // A force push backwards.
    assert_eq!(range(Some(commits[5]), commits[2], 10), [commits[2]]);
    assert_eq!(count(Some(commits[5]), commits[2], 10), None, "the head does not follow the one before");
    assert_eq!(range(Some("ab".repeat(20).parse().unwrap()), commits[5], 10), [commits[5]]);
    repo.git(&["switch", "--quiet", "--create", "side", &commits[2].to_string()]);
    let side = repo.write("other", "x").commit("side");
    repo.git(&["switch", "--quiet", "main"]);
    repo.git(&["merge", "--quiet", "--no-ff", "-m", "merge", "side"]);
    let merge = repo.head();
    assert_eq!(range(Some(commits[4]), merge, 10), [commits[5], merge]);
    assert_eq!(range(Some(side), merge, 10), [merge]);
    assert!(watched.range(None, "ab".repeat(20).parse().unwrap(), 10).is_err());
}

#[test]
fn ancestors_are_near_at_first_and_then_far_apart() {
    let repo = Repo::new();
    let commits: Vec<_> = (0..40).map(|n| repo.write("file", n.to_string()).commit(&n.to_string())).collect();
    let found = repo.watched().ancestors(commits[39]).unwrap();
    let near = (23..39).rev().chain([7]).map(|at| commits[at]);
    assert_eq!(found, near.collect::<Vec<_>>());
    assert_eq!(repo.watched().ancestors(commits[0]).unwrap(), []);
}

#[test]
fn a_shallow_clone_ends_a_range() {
    let repo = Repo::new();
    for n in 0..4 {
        repo.write("file", n.to_string()).commit(&n.to_string());
    }
    let shallow = repo.beside("shallow");
    let url = format!("file://{}", repo.path().display());
    repo.git(&["clone", "--quiet", "--depth=2", &url, shallow.to_str().unwrap()]);
    let watched = Watched::open(&shallow).unwrap();
    let head = repo.head();
    let before = repo.git(&["rev-parse", "HEAD~1"]).parse().unwrap();
    let cut = repo.git(&["rev-parse", "HEAD~3"]).parse().unwrap();
    assert_eq!(watched.range(Some(before), head, 10).unwrap().commits, [head]);
    assert_eq!(watched.range(Some(cut), head, 10).unwrap().commits, [head]);
}

#[test]
fn a_commit_is_described_whatever_its_bytes() {
    let repo = Repo::new();
    let commit = repo.write("file", "1").commit("a subject\n\nand a body");
    let text = repo.watched().describe(commit).unwrap();
    let committed_s = repo.git(&["log", "-1", "--format=%ct"]).parse().ok();
    assert!(committed_s.is_some());
    let author = "A U Thor <author@example.com>".into();
    assert_eq!(text, CommitText { subject: "a subject".into(), author, committed_s });
    let tree = repo.git(&["rev-parse", "HEAD^{tree}"]);
    let raw =
        [format!("tree {tree}\nauthor ").as_bytes(), b"\xff <x\xfe> 1 +0000\ncommitter c <c> 1 +0000\n\nsub\xffject\n"]
            .concat();
    let odd = repo.raw_object("commit", &raw).parse().unwrap();
    let text = repo.watched().describe(odd).unwrap();
    assert_eq!(text.subject, "sub\u{fffd}ject");
    assert_eq!(text.author, "\u{fffd} <x\u{fffd}>");
}

#[test]
fn a_commit_is_described_in_the_encoding_that_it_names() {
    let repo = Repo::new();
    let tree = {
        repo.write("file", "1").commit("first");
        repo.git(&["rev-parse", "HEAD^{tree}"])
    };
    let start = format!("tree {tree}\nauthor ");
    let raw = [
        start.as_bytes(),
        b"Bj\xf6rn <b@example.com> 1 +0000\ncommitter c <c> 1 +0000\nencoding ISO-8859-1\n\nGr\xfc\xdfe\n\nbody\n",
    ];
    let commit = repo.raw_object("commit", &raw.concat()).parse().unwrap();
    let text = repo.watched().describe(commit).unwrap();
    assert_eq!((&*text.subject, &*text.author), ("Grüße", "Björn <b@example.com>"));
    assert_eq!(text.committed_s, Some(1));
}

#[test]
fn objects_are_found_after_a_repack_that_removed_what_was_known() {
    let repo = Repo::new();
    let first = repo.write("file", "1").commit("first");
    repo.git(&["repack", "-adq"]);
    let watched = repo.watched();
    assert!(watched.has(first));
    let second = repo.write("file", "2").commit("second");
    repo.git(&["repack", "-adq"]);
    repo.git(&["prune-packed"]);
    assert_eq!(objects_in(&pack_of(&watched, &[second], &[first])), 3);
    assert_eq!(watched.range(Some(first), second, 5).unwrap().commits, [second]);
}

#[test]
fn first_parents_begin_with_the_nearest() {
    let repo = Repo::new();
    let first = repo.commit("first");
    let second = repo.commit("second");
    repo.git(&["checkout", "--quiet", "-b", "side", "HEAD~1"]);
    repo.commit("side");
    repo.git(&["checkout", "--quiet", "main"]);
    repo.git(&["merge", "--quiet", "--no-ff", "-m", "merge", "side"]);
    let (watched, merge) = (repo.watched(), repo.head());
    assert_eq!(watched.first_parents(merge, 9).unwrap(), [second, first]);
    assert_eq!(watched.first_parents(merge, 1).unwrap(), [second]);
    assert_eq!(watched.first_parents(first, 9).unwrap(), []);
}
