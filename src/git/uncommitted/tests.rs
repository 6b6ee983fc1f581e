//! Tests against `git add --all` and `git write-tree` in a copy of the repository, in every state of a work tree.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::git::tests::support::*;

/// Everything in a directory, with sizes and times.
fn listing(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            found.push(format!("{} {} {}.{}", path.display(), meta.len(), meta.mtime(), meta.mtime_nsec()));
            open.extend(meta.is_dir().then_some(path));
        }
    }
    found.sort();
    found
}

/// The tree that git makes of the same work tree, in a copy of the repository.
fn by_git(repo: &Repo) -> String {
    let copy = repo.beside("copy");
    drop(fs::remove_dir_all(&copy));
    let mut command = std::process::Command::new("cp");
    assert!(command.args(["-a", repo.path().to_str().unwrap(), copy.to_str().unwrap()]).status().unwrap().success());
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        let output = sealed(command.current_dir(&copy)).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    git(&["add", "--all"]);
    git(&["write-tree"])
}

fn capture(repo: &Repo, limit: Option<u64>) -> Result<UncommittedWork, GitError> {
    let before = listing(&repo.path().join(".git"));
    let work = UncommittedWork::capture(&Local::discover(repo.path()).unwrap().unwrap(), limit);
    assert_eq!(listing(&repo.path().join(".git")), before, "nothing of the repository is written");
    work
}

fn tree_of(work: &UncommittedWork) -> String {
    work.database.with(|objects| Ok(objects.commit(work.commit)?.tree_id().to_string())).unwrap()
}

/// Captures the work, and checks that it is what git would commit.
#[track_caller]
fn same_as_git(repo: &Repo) -> UncommittedWork {
    let work = capture(repo, None).unwrap();
    assert_eq!(tree_of(&work), by_git(repo));
    work
}

#[test]
fn changed_new_and_deleted_files_are_as_git_would_commit_them() {
    let repo = Repo::new();
    repo.write(".gitignore", "*.o\nbuilt/\n")
        .write("a", "1")
        .write("dir/b", "2")
        .write("dir.c", "3")
        .write("gone", "4");
    repo.write("kept", "5").write("file", "6").write("other/dir/deep", "7").write("script", "8");
    let head = repo.commit("first");
    repo.git(&["pack-refs", "--all"]);
    repo.git(&["gc", "--quiet"]);
    let work = same_as_git(&repo);
    assert_eq!((work.parent, work.subject.as_str()), (Some(head), "try: uncommitted work on main"));
    assert_eq!(work.reference, Some(RefName::new("refs/heads/main")));

    let path = |name: &str| repo.path().join(name);
    repo.write("a", "changed").write("new", "9").write("dir/new/deep", "10").write("x.o", "11").write("built/y", "12");
    repo.write("staged", "13").write("both", "14");
    repo.git(&["add", "staged", "both"]);
    repo.write("both", "15");
    fs::remove_file(path("gone")).unwrap();
    repo.git(&["rm", "--quiet", "--cached", "kept"]);
    fs::remove_file(path("file")).unwrap();
    repo.write("file/inside", "16");
    fs::remove_dir_all(path("other/dir")).unwrap();
    repo.write("other/dir", "17");
    fs::set_permissions(path("script"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("nowhere", path("link")).unwrap();
    fs::create_dir(path("empty")).unwrap();
    repo.write("\u{fc}n\u{ef}", "18").write("tab\there", "19");
    let work = same_as_git(&repo);
    assert_eq!(work.warnings, [""; 0]);
    // The same work makes the same commit, and what is reverted is as before.
    assert_eq!(capture(&repo, None).unwrap().commit, work.commit);
    repo.git(&["reset", "--quiet", "--hard"]);
    repo.git(&["clean", "--quiet", "-fd"]);
    assert_eq!(tree_of(&capture(&repo, None).unwrap()), repo.git(&["rev-parse", "HEAD^{tree}"]));
}

#[test]
fn a_repository_without_a_commit_and_a_detached_head_can_be_tried() {
    let repo = Repo::new();
    repo.write("a", "1").write("dir/b", "2");
    let work = same_as_git(&repo);
    assert_eq!((work.parent, work.reference.as_ref().map(RefName::as_str)), (None, Some("refs/heads/main")));
    let first = repo.commit("first");
    repo.git(&["checkout", "--quiet", "--detach"]);
    repo.write("a", "2");
    let work = same_as_git(&repo);
    assert_eq!((work.parent, work.reference), (Some(first), None));
    assert_eq!(work.subject, format!("try: uncommitted work on {}", first.short()));
}

#[test]
fn in_the_middle_of_a_merge_files_are_taken_as_they_are() {
    let repo = Repo::new();
    let base = repo.write("a", "1\n").write("b", "1\n").write("c", "1\n").commit("base");
    repo.git(&["checkout", "--quiet", "-b", "side"]);
    repo.write("a", "side\n").write("b", "side\n");
    fs::remove_file(repo.path().join("c")).unwrap();
    repo.commit("side");
    repo.git(&["checkout", "--quiet", "main"]);
    repo.write("a", "main\n").write("b", "1\n").write("c", "main\n").commit("main");
    let mut command = std::process::Command::new("git");
    let merge = sealed(command.current_dir(repo.path())).args(["merge", "side"]).output().unwrap();
    assert!(!merge.status.success(), "{base:?}");
    let work = same_as_git(&repo);
    assert_eq!(work.warnings, ["files with conflicts are taken as they are in the work tree: a, c"]);
    fs::remove_file(repo.path().join("c")).unwrap();
    same_as_git(&repo);
}

#[test]
fn submodules_are_at_the_commits_of_the_index_and_other_repositories_are_left_out() {
    let repo = Repo::new();
    repo.write("a", "1").commit("first");
    let url = repo.path().to_str().unwrap().to_owned();
    repo.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &url, "inner"]);
    repo.commit("with a submodule");
    repo.write("inner/a", "changed").write("inner/new", "x").write("a", "2");
    let work = capture(&repo, None).unwrap();
    assert_eq!(tree_of(&work), by_git(&repo));
    let submodule = "submodules are taken at the commits in the index, without what has changed in them: inner";
    assert_eq!(work.warnings, [submodule]);
    repo.git(&["init", "--quiet", "nested"]);
    repo.write("nested/file", "x");
    let work = capture(&repo, None).unwrap();
    assert_eq!(work.warnings, ["repositories within this one are left out: nested", submodule]);
    repo.git(&["-C", "inner", "checkout", "--quiet", "--", "a"]);
    fs::remove_file(repo.path().join("inner/new")).unwrap();
    assert_eq!(capture(&repo, None).unwrap().warnings, ["repositories within this one are left out: nested"]);
    repo.git(&["-C", "inner", "commit", "--quiet", "--allow-empty", "--message=new"]);
    assert_eq!(capture(&repo, None).unwrap().warnings.last().unwrap(), submodule);
    fs::remove_dir_all(repo.path().join("nested")).unwrap();
    fs::remove_dir_all(repo.path().join("inner")).unwrap();
    assert_eq!(same_as_git(&repo).warnings, [""; 0], "a submodule whose directory is gone is removed");
    repo.write("inner", "a file in its place");
    same_as_git(&repo);
    fs::remove_file(repo.path().join("inner")).unwrap();
    fs::create_dir(repo.path().join("inner")).unwrap();
    same_as_git(&repo);
    repo.git(&["rm", "--quiet", "-rf", "inner"]);
    assert!(capture(&repo, None).is_ok());
}

#[test]
fn line_ends_are_converted_and_no_filter_is_executed() {
    let repo = Repo::new();
    let marker = repo.beside("executed");
    repo.write(".gitattributes", "*.txt text\n*.bin -text\n*.evil filter=evil\n").write("a.txt", "1\n").commit("first");
    repo.git(&["config", "filter.evil.clean", &format!("touch {}; cat", marker.display())]);
    repo.git(&["config", "core.fsmonitor", &format!("touch {}", marker.display())]);
    drop(fs::remove_file(&marker));
    repo.write("a.txt", "1\r\n2\r\n").write("b.bin", "1\r\n").write("c.evil", "x");
    let work = capture(&repo, None).unwrap();
    assert!(!marker.exists());
    repo.git(&["config", "--unset", "filter.evil.clean"]);
    repo.git(&["config", "--unset", "core.fsmonitor"]);
    assert_eq!(tree_of(&work), by_git(&repo));
}

#[test]
fn a_large_file_is_refused_before_it_is_read_and_an_unreadable_one_is_named() {
    let repo = Repo::new();
    repo.write("a", "1").commit("first");
    // It has no content on the disk, and reading it would take a minute.
    fs::File::create(repo.path().join("huge")).unwrap().set_len(5 << 30).unwrap();
    let error = capture(&repo, Some(1 << 30)).err().unwrap().to_string();
    let expected = "huge has 5120.0 MiB, and a file of a build may have at most 1024.0 MiB (the dispatcher's \
                    --max-file): name it in .gitignore, or raise --max-file";
    assert_eq!(error, expected);
    repo.write(".gitignore", "huge\n");
    assert!(capture(&repo, Some(1 << 30)).is_ok());
    if rustix::process::geteuid().is_root() {
        // Root reads every file.
        return;
    }
    repo.write("secret", "x");
    fs::set_permissions(repo.path().join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    assert!(capture(&repo, None).err().unwrap().to_string().contains("secret"));
}

#[test]
fn files_that_are_not_checked_out_stay_as_the_index_has_them() {
    let repo = Repo::new();
    repo.write("a", "1").write("b", "2").write("c", "3").commit("first");
    repo.git(&["update-index", "--skip-worktree", "a"]);
    repo.git(&["update-index", "--assume-unchanged", "b"]);
    fs::remove_file(repo.path().join("a")).unwrap();
    repo.write("b", "changed");
    assert_eq!(tree_of(&capture(&repo, None).unwrap()), repo.git(&["rev-parse", "HEAD^{tree}"]));
    let bare = repo.beside("bare.git");
    repo.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    let local = Local::discover(&bare).unwrap().unwrap();
    assert!(matches!(UncommittedWork::capture(&local, None), Err(GitError::NoWorkTree { .. })));
}

#[test]
fn a_pack_has_what_the_receiver_lacks_and_makes_the_commit_whole() {
    let repo = Repo::new();
    for n in 0..50 {
        repo.write(&format!("dir{}/{n}", n % 5), n.to_string());
    }
    let head = repo.commit("first");
    repo.write("dir1/1", "changed");
    let work = capture(&repo, None).unwrap();
    let received = tempfile::tempdir().unwrap();
    let store = crate::git::PackStore::open(&received.path().join("s.git"), head).unwrap();
    let mut sizes = Vec::new();
    for haves in [&[][..], &[head]] {
        let mut receiver = store.receive().unwrap();
        let mut size = 0;
        work.pack(haves, &mut |piece| {
            size += piece.len();
            receiver.write(piece).is_ok()
        })
        .unwrap();
        sizes.push(size);
        receiver.finish(work.commit, true).unwrap();
        store.check(work.commit).unwrap();
    }
    assert!(sizes[1] < 1_000 && sizes[0] > 2 * sizes[1], "{sizes:?}");
}
