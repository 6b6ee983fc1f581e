//! Repositories that cannot be read, are damaged, or are made to do harm.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// Damage done to a path.
type Act<'a> = &'a dyn Fn(&Path);

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
