//! Tests of watched repositories, in every state that they may be in.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::git::tests::support::{Repo, git_in, objects_in, pack_of};

/// Damage done to a path.
type Act<'a> = &'a dyn Fn(&Path);

fn names(heads: &[Head]) -> Vec<&str> {
    heads.iter().map(|head| head.branch.as_str()).collect()
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
    assert_eq!(main_of(&watched), [Head { branch: BranchName::new("main"), commit: first }]);
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
    let (deep, topic) = (BranchName::new("release/2.0/fix"), BranchName::new("topic"));
    let some = matching(&["main", "release/*"]);
    assert!(some.matches(&deep) && !some.matches(&topic));
    assert!(matching(&["*"]).matches(&topic) && !matching(&["top"]).matches(&topic));
    assert!(!BranchSelection::Main.matches(&BranchName::new("main")));
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
    let paths = watched.notify_paths();
    assert!(paths.contains(&fs::canonicalize(repo.path().join(".git/worktrees/linked")).unwrap()), "{paths:?}");
}

#[test]
fn changes_show_in_the_directories_to_watch() {
    let repo = Repo::new();
    repo.write("file", "1").commit("first");
    repo.git(&["branch", "deep/er/name"]);
    let paths = repo.watched().notify_paths();
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
    assert!(watched.notify_paths().iter().any(|path| path.ends_with("reftable")));
    repo.git(&["switch", "--quiet", "--detach"]);
    repo.git(&["branch", "--delete", "--force", "main"]);
    assert_eq!(main_of(&watched), []);
    let linked = repo.beside("linked");
    repo.git(&["worktree", "add", "--quiet", "-b", "side", linked.to_str().unwrap()]);
    assert_eq!(names(&main_of(&Watched::open(&linked).unwrap())), ["side"]);
    fs::remove_dir_all(repo.path().join(".git/reftable")).unwrap();
    assert!(watched.heads(&BranchSelection::Main).is_err());
}

// Promise S30. Fails without `check_is_there`, or if a ref that does not parse counts as absent.
#[test]
fn a_repository_that_cannot_be_read_is_an_error_and_not_without_branches() {
    let break_it: [(&str, Act); 9] = [
        ("vanished", &|git| fs::remove_dir_all(git).unwrap()),
        ("moved", &|git| fs::rename(git, git.with_extension("away")).unwrap()),
        ("no HEAD", &|git| fs::remove_file(git.join("HEAD")).unwrap()),
        ("no refs", &|git| fs::remove_dir_all(git.join("refs")).unwrap()),
        ("empty HEAD", &|git| fs::write(git.join("HEAD"), "").unwrap()),
        ("garbage in HEAD", &|git| fs::write(git.join("HEAD"), [0xff, 0x00, 0x12]).unwrap()),
        ("HEAD names a path", &|git| fs::write(git.join("HEAD"), "ref: refs/../../x\n").unwrap()),
        ("empty ref", &|git| fs::write(git.join("refs/heads/main"), "").unwrap()),
        ("zeroed ref", &|git| fs::write(git.join("refs/heads/main"), [0; 41]).unwrap()),
    ];
    for (what, break_it) in break_it {
        let repo = Repo::new();
        repo.write("file", "1").commit("first");
        let watched = repo.watched();
        break_it(&repo.path().join(".git"));
        assert!(watched.heads(&BranchSelection::Main).is_err(), "{what}");
    }
    for (what, packed) in
        [("garbage", "no ref at all\n"), ("cut off", "0123456789abcdef0123456789abcdef01234567 refs/he")]
    {
        let repo = Repo::new();
        repo.write("file", "1").commit("first");
        repo.git(&["pack-refs", "--all"]);
        let watched = repo.watched();
        fs::write(repo.path().join(".git/packed-refs"), packed).unwrap();
        assert!(watched.heads(&BranchSelection::Main).is_err(), "{what}");
        assert!(watched.heads(&matching(&["*"])).is_err(), "{what}");
    }
}

#[test]
fn a_repository_that_comes_back_is_read_again() {
    let repo = Repo::new();
    let commit = repo.write("file", "1").commit("first");
    let watched = repo.watched();
    let (git, away) = (repo.path().join(".git"), repo.beside("away"));
    fs::rename(&git, &away).unwrap();
    assert!(watched.heads(&BranchSelection::Main).is_err());
    assert!(!watched.has(commit));
    fs::rename(&away, &git).unwrap();
    assert_eq!(main_of(&watched)[0].commit, commit);
    assert!(watched.has(commit));
}

#[test]
fn what_may_not_be_read_is_an_error() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let repo = Repo::new();
    repo.write("file", "1").commit("first");
    let watched = repo.watched();
    let heads = repo.path().join(".git/refs/heads");
    fs::set_permissions(&heads, fs::Permissions::from_mode(0o0)).unwrap();
    assert!(watched.heads(&BranchSelection::Main).is_err());
    fs::set_permissions(&heads, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn locks_in_the_repository_are_no_branches_and_no_hindrance() {
    let repo = Repo::new();
    let commit = repo.write("file", "1").commit("first");
    let git = repo.path().join(".git");
    for lock in ["HEAD.lock", "packed-refs.lock", "refs/heads/main.lock", "index.lock", "config.lock"] {
        fs::write(git.join(lock), "").unwrap();
    }
    let watched = repo.watched();
    assert_eq!(main_of(&watched)[0].commit, commit);
    assert_eq!(names(&watched.heads(&matching(&["*"])).unwrap()), ["main"]);
}

#[test]
fn what_is_no_repository_is_refused() {
    let repo = Repo::new();
    let plain = repo.beside("plain");
    fs::create_dir(&plain).unwrap();
    assert!(matches!(Watched::open(&plain), Err(GitError::Open { .. })));
    assert!(matches!(Watched::open(&repo.beside("absent")), Err(GitError::Open { .. })));
}

#[test]
fn a_repository_of_another_user_is_refused_with_the_remedy() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for reference in ["files", "reftable"] {
        let repo = Repo::with(&[&format!("--ref-format={reference}")]);
        repo.write("file", "1").commit("first");
        for path in [repo.path().to_owned(), repo.path().join(".git")] {
            std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        }
        let error = Watched::open(repo.path()).err().unwrap();
        assert!(matches!(error, GitError::Owner { .. }), "{error:?}");
        let line = format!("git config --global --add safe.directory {}", repo.path().display());
        assert!(error.to_string().contains(&line), "{error}");
    }
}

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

/// Point 10 of the faults from the field.
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

// Promise S29. Fails without `core.fsmonitor=false` once a command that reads the index is added.
#[test]
fn nothing_that_the_repository_configures_is_executed_and_nothing_is_changed() {
    for reference in ["files", "reftable"] {
        let repo = Repo::with(&[&format!("--ref-format={reference}")]);
        let commit = repo.write("file", "1").write(".gitattributes", "* filter=evil diff=evil\n").commit("first");
        let trap = repo.beside("trap");
        let (mark, line) =
            (repo.beside("executed"), format!("#!/bin/sh\ntouch {}\n", repo.beside("executed").display()));
        fs::write(&trap, line).unwrap();
        fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).unwrap();
        for hook in ["post-checkout", "reference-transaction", "pre-auto-gc", "fsmonitor-watchman", "post-index-change"]
        {
            fs::copy(&trap, repo.path().join(".git/hooks").join(hook)).ok();
        }
        let trap = trap.to_str().unwrap();
        let keys = ["core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "filter.evil.smudge"];
        for key in keys.iter().chain(&["filter.evil.process", "diff.external", "core.alternateRefsCommand"]) {
            repo.git(&["config", key, trap]);
        }
        let before = snapshot(repo.path());
        let watched = repo.watched();
        main_of(&watched);
        watched.heads(&matching(&["*"])).unwrap();
        watched.describe(commit).unwrap();
        watched.range(None, commit, 5).unwrap();
        pack_of(&watched, &[commit], &[]);
        assert!(!mark.exists());
        assert_eq!(before, snapshot(repo.path()));
    }
}

/// Every file below a directory, with its content and modification time.
fn snapshot(directory: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                found.push((entry.path(), Vec::new(), meta.modified().unwrap()));
                pending.push(entry.path());
            } else {
                found.push((entry.path(), fs::read(entry.path()).unwrap(), meta.modified().unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// S23: if a pack gives an object no type, git2 panics in a function that only reads the header. Before the fix it
/// panicked with exactly this repository.
#[test]
fn an_object_of_no_type_is_an_error_and_no_panic() {
    let repo = Repo::new();
    for number in 0..100 {
        repo.write(&format!("file{number}"), format!("{number}"));
    }
    let commit = repo.commit("many files");
    repo.git(&["repack", "-a", "-d", "-q", "--window=0"]);
    let directory = repo.path().join(".git/objects/pack");
    let mut files = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let pack = files.find(|path| path.extension().is_some_and(|it| it == "pack")).unwrap();
    let listed = repo.git(&["verify-pack", "-v", pack.with_extension("idx").to_str().unwrap()]);
    let blob = listed.lines().find(|line| line.contains(" blob ")).unwrap();
    let at: usize = blob.split_whitespace().last().unwrap().parse().unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[at] &= 0b1000_1111;
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&pack, bytes).unwrap();

    let error = repo.watched().pack(&[commit], &[], &mut |_| true).unwrap_err();
    let id = blob.split_whitespace().next().unwrap();
    assert!(error.to_string().contains(id), "{error}");
}
