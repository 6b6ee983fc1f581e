//! Tests of work trees: the content is exactly the commit's, whatever a task left, and nothing outside is touched.

mod attributes;
mod difference;
mod dot_git;
mod hostile;

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::process::Command;

use super::*;
use crate::git::tests::support::{Repo, deliver, git_in, sealed};

/// A repository, its store, and a work tree of the store.
struct Fixture {
    repo: Repo,
    tree: WorkTree,
    place: PathBuf,
    commits: Vec<CommitId>,
}

impl Fixture {
    /// Makes the commits that `build` returns, puts all of them into the store, and checks the first one out.
    fn new(build: impl FnOnce(&Repo) -> Vec<CommitId>) -> Self {
        Self::of(Repo::new(), build)
    }

    fn of(repo: Repo, build: impl FnOnce(&Repo) -> Vec<CommitId>) -> Self {
        let commits = build(&repo);
        let (watched, store) = (repo.watched(), repo.store(commits[0]));
        for commit in &commits {
            deliver(&watched, &store, *commit, &[]);
        }
        let place = repo.beside("slots/tree");
        let tree = WorkTree::open(&repo.beside("store"), &place).unwrap();
        let mut fixture = Self { repo, tree, place, commits };
        fixture.tree.check_out(fixture.commits[0], &[]).unwrap();
        fixture.assert_is(0);
        fixture
    }

    /// One commit with files, directories, an executable file and a link.
    fn varied() -> Self {
        Self::new(|repo| {
            repo.write("a/b/file", "one\n").write("c", "see\n").write("run", "#!/bin/sh\n").write("ignored/x", "");
            repo.write(".gitignore", "ignored\n*.o\n").write("big", vec![b'x'; 300_000]);
            symlink("a/b/file", repo.path().join("link")).unwrap();
            fs::set_permissions(repo.path().join("run"), fs::Permissions::from_mode(0o755)).unwrap();
            vec![repo.commit("first")]
        })
    }

    fn check_out(&mut self, at: usize) {
        self.check_out_keeping(at, &[]);
    }

    /// Checks a commit out and compares the result with git's own checkout.
    fn check_out_keeping(&mut self, at: usize, keep: &[&str]) {
        let keep: Vec<_> = keep.iter().map(|path| (*path).to_owned()).collect();
        self.tree.check_out(self.commits[at], &keep).unwrap();
        assert_eq!(self.tree.commit(), Some(self.commits[at]));
        if keep.is_empty() {
            self.assert_is(at);
            self.assert_is_clean(at);
        }
    }

    fn assert_is(&self, at: usize) {
        let expected = self.repo.beside("expected");
        fs::remove_dir_all(&expected).ok();
        fs::create_dir(&expected).unwrap();
        let work_tree = format!("--work-tree={}", expected.display());
        let index = self.repo.beside("expected.index");
        fs::remove_file(&index).ok();
        let (commit, git_dir) = (self.commits[at].to_string(), self.repo.path().join(".git"));
        let status = sealed(&mut Command::new("git"))
            .env("GIT_INDEX_FILE", &index)
            .arg("--git-dir")
            .arg(git_dir)
            .args([&work_tree, "checkout", "--quiet", &commit, "--", "."])
            .status();
        assert!(status.unwrap().success());
        assert_eq!(content_of(&self.place), content_of(&expected));
    }

    /// Checks that git finds the commit in the tree, and that the tree is clean.
    fn assert_is_clean(&self, at: usize) {
        let commit = self.commits[at].to_string();
        let status = git_in(&self.place, &["status", "--porcelain=v2", "--branch"]);
        assert_eq!(status, format!("# branch.oid {commit}\n# branch.head (detached)"));
    }

    fn at(&self, path: &str) -> PathBuf {
        self.place.join(path)
    }
}

/// Damage done to a path.
type Act<'a> = &'a dyn Fn(&Path);

/// The content of a work tree without its `.git`.
fn content_of(directory: &Path) -> Vec<(PathBuf, char, Vec<u8>)> {
    let mut found = everything_in(directory);
    found.retain(|(path, ..)| !path.starts_with(".git"));
    found
}

/// The content of a directory: for each path its kind, whether it is executable, and its bytes.
fn everything_in(directory: &Path) -> Vec<(PathBuf, char, Vec<u8>)> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(directory).unwrap().to_owned();
            if meta.is_dir() {
                found.push((name, 'd', Vec::new()));
                pending.push(path);
            } else if meta.is_symlink() {
                found.push((name, 'l', fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()));
            } else {
                let kind = if meta.permissions().mode() & 0o111 == 0o111 { 'x' } else { 'f' };
                found.push((name, if meta.is_file() { kind } else { '?' }, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn whatever_an_attempt_did_is_undone() {
    let undone: [(&str, Act); 22] = [
        ("nothing", &|_| {}),
        ("changed a file", &|at| fs::write(at.join("c"), "other").unwrap()),
        ("same size", &|at| fs::write(at.join("c"), "SEE\n").unwrap()),
        ("truncated", &|at| fs::write(at.join("big"), "").unwrap()),
        ("last byte", &|at| fs::write(at.join("big"), [vec![b'x'; 299_999], vec![b'y']].concat()).unwrap()),
        ("removed", &|at| fs::remove_file(at.join("c")).unwrap()),
        ("removed a directory", &|at| fs::remove_dir_all(at.join("a")).unwrap()),
        ("untracked", &|at| fs::write(at.join("a/b/new"), "").unwrap()),
        ("ignored", &|at| fs::write(at.join("x.o"), "").unwrap()),
        ("empty directories", &|at| fs::create_dir_all(at.join("e/f/g")).unwrap()),
        ("executable bit set", &|at| set_mode(&at.join("c"), 0o755)),
        ("executable bit cleared", &|at| set_mode(&at.join("run"), 0o644)),
        ("group executable", &|at| set_mode(&at.join("c"), 0o654)),
        ("unreadable", &|at| set_mode(&at.join("c"), 0)),
        ("link changed", &|at| {
            fs::remove_file(at.join("link")).unwrap();
            symlink("/", at.join("link")).unwrap();
        }),
        ("link to file", &|at| {
            fs::remove_file(at.join("link")).unwrap();
            fs::write(at.join("link"), "a/b/file").unwrap();
        }),
        ("file to link", &|at| {
            fs::rename(at.join("c"), at.join("d")).unwrap();
            symlink("d", at.join("c")).unwrap();
        }),
        ("file to directory", &|at| {
            fs::remove_file(at.join("c")).unwrap();
            fs::create_dir_all(at.join("c/c")).unwrap();
            fs::write(at.join("c/c/c"), "").unwrap();
        }),
        ("directory to file", &|at| {
            fs::remove_dir_all(at.join("a")).unwrap();
            fs::write(at.join("a"), "").unwrap();
        }),
        ("directory without permissions", &|at| set_mode(&at.join("a"), 0)),
        ("read-only directory with things", &|at| {
            fs::create_dir_all(at.join("ro/in")).unwrap();
            fs::write(at.join("ro/in/file"), "").unwrap();
            set_mode(&at.join("ro/in/file"), 0o400);
            set_mode(&at.join("ro/in"), 0o500);
            set_mode(&at.join("ro"), 0);
        }),
        ("nested repository", &|at| {
            let status =
                sealed(&mut Command::new("git")).args(["init", "--quiet"]).arg(at.join("nested")).status().unwrap();
            assert!(status.success());
        }),
    ];
    for (what, undone) in undone {
        let mut fixture = Fixture::varied();
        // Once with a stamp that is too young to be trusted, once with one that is old enough.
        for _ in 0..2 {
            undone(&fixture.place);
            fixture.tree.check_out(fixture.commits[0], &[]).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            fixture.assert_is(0);
            std::thread::park_timeout(std::time::Duration::from_millis(15));
            fixture.check_out(0);
        }
    }
}

// Promise S28. Fails if stamps leave out `changed`.
#[test]
fn a_change_that_restores_size_and_time_is_undone() {
    let mut fixture = Fixture::varied();
    let file = fixture.at("c");
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    // Long enough for the file system's clock to move on, so that the file's stamp can be trusted.
    std::thread::park_timeout(std::time::Duration::from_millis(15));
    fixture.check_out(0);
    fs::write(&file, "SEE\n").unwrap();
    File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
    fixture.check_out(0);
}

// Promise S28. Fails if `is_right` trusts a stamp that is as young as the hand-over, on kernels before 6.13, whose file
// times move in ticks.
#[test]
fn a_change_within_the_same_tick_of_the_clock_is_undone() {
    let mut fixture = Fixture::varied();
    let file = fixture.at("c");
    for round in 0..300 {
        // Written just now, and changed before the clock has moved on.
        fs::write(&file, "SEE\n").unwrap();
        fixture.tree.check_out(fixture.commits[0], &[]).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"see\n", "round {round}");
    }
}

#[test]
fn a_file_that_has_a_second_name_is_made_anew() {
    let mut fixture = Fixture::varied();
    fs::create_dir(fixture.at("cache")).unwrap();
    fs::hard_link(fixture.at("c"), fixture.at("cache/c")).unwrap();
    fixture.check_out_keeping(0, &["cache"]);
    fs::write(fixture.at("cache/c"), "other").unwrap();
    assert_eq!(fs::read(fixture.at("c")).unwrap(), b"see\n");
}

#[test]
fn odd_files_are_removed_and_links_never_followed() {
    let mut fixture = Fixture::varied();
    let outside = fixture.repo.beside("outside");
    fs::create_dir_all(outside.join("deep")).unwrap();
    fs::write(outside.join("deep/precious"), "precious").unwrap();
    symlink(&outside, fixture.at("to-outside")).unwrap();
    fs::remove_dir_all(fixture.at("a")).unwrap();
    symlink(&outside, fixture.at("a")).unwrap();
    fs::create_dir(outside.join("b")).unwrap();
    fs::write(outside.join("b/file"), "other").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, fixture.at("fifo"), Mode::from_raw_mode(0o600)).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(fixture.at("socket")).unwrap();
    assert!(fs::symlink_metadata(fixture.at("socket")).unwrap().file_type().is_socket());
    fixture.check_out(0);
    assert_eq!(fs::read(outside.join("deep/precious")).unwrap(), b"precious");
    assert_eq!(fs::read(outside.join("b/file")).unwrap(), b"other");
    drop(socket);
}

#[test]
fn the_directory_itself_may_have_been_removed_or_replaced() {
    let mut fixture = Fixture::varied();
    fs::remove_dir_all(&fixture.place).unwrap();
    fixture.check_out(0);
    fs::remove_dir_all(&fixture.place).unwrap();
    fs::write(&fixture.place, "a file").unwrap();
    fixture.check_out(0);
    let outside = fixture.repo.beside("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "precious").unwrap();
    fs::remove_dir_all(&fixture.place).unwrap();
    symlink(&outside, &fixture.place).unwrap();
    fixture.check_out(0);
    assert_eq!(content_of(&outside).len(), 1);
}

#[test]
fn very_deep_nesting_is_removed() {
    let mut fixture = Fixture::varied();
    // Deeper than a path can be long, so built from the inside out.
    let mut nested = fixture.at("nested-0");
    fs::create_dir(&nested).unwrap();
    for level in 1..1500 {
        let above = fixture.at(&format!("nested-{level}"));
        fs::create_dir(&above).unwrap();
        fs::write(above.join("file"), "").unwrap();
        fs::rename(&nested, above.join("inner")).unwrap();
        nested = above;
    }
    fixture.check_out(0);
}

#[test]
fn kept_paths_survive_and_what_is_beside_them_does_not() {
    let mut fixture = Fixture::varied();
    for path in ["target/debug/out", "cache/keep/x", "cache/drop/x", "a/b/keep", "a/b/drop", "a/keep"] {
        fs::create_dir_all(fixture.at(path).parent().unwrap()).unwrap();
        fs::write(fixture.at(path), path).unwrap();
    }
    fs::write(fixture.at("a/b/file"), "changed").unwrap();
    fixture.check_out_keeping(0, &["target", "cache/keep", "./a/b/keep/", "absent/too"]);
    let exists = |path: &str| fixture.at(path).exists();
    assert!(exists("target/debug/out") && exists("cache/keep/x") && exists("a/b/keep"));
    assert!(!exists("cache/drop") && !exists("a/b/drop") && !exists("a/keep") && !exists("absent"));
    assert_eq!(fs::read(fixture.at("a/b/file")).unwrap(), b"one\n");
    // Kept directories do not shield tracked files from being restored.
    fs::write(fixture.at("c"), "changed").unwrap();
    fs::remove_file(fixture.at("a/b/file")).unwrap();
    fixture.check_out_keeping(0, &["a", "c", "cache/none"]);
    assert_eq!(fs::read(fixture.at("c")).unwrap(), b"see\n");
    assert!(fixture.at("a/b/keep").exists() && fixture.at("a/b/file").exists());
    assert!(!fixture.at("cache").exists() && !fixture.at("target").exists());
    fixture.check_out(0);
}

#[test]
fn nothing_is_kept_through_a_link() {
    let mut fixture = Fixture::varied();
    let outside = fixture.repo.beside("outside");
    fs::create_dir_all(outside.join("keep")).unwrap();
    fs::write(outside.join("other"), "").unwrap();
    symlink(&outside, fixture.at("cache")).unwrap();
    fixture.check_out_keeping(0, &["cache/keep"]);
    assert!(fs::symlink_metadata(fixture.at("cache")).is_err());
    assert!(outside.join("other").exists() && outside.join("keep").exists());
    for keep in ["/etc", "../x", "a/../../b", "."] {
        let error = fixture.tree.check_out(fixture.commits[0], &[keep.to_owned()]).unwrap_err();
        assert!(matches!(error, GitError::Keep { .. }), "{keep}");
    }
    // The refused call has touched nothing.
    assert_eq!(fixture.tree.commit(), Some(fixture.commits[0]));
}

#[test]
fn after_a_restart_the_commit_is_known_and_contents_are_compared() {
    let mut fixture = Fixture::varied();
    let unchanged = fs::metadata(fixture.at("big")).unwrap();
    fs::write(fixture.at("c"), "SEE\n").unwrap();
    set_mode(&fixture.at("run"), 0o600);
    fs::write(fixture.at("junk"), "").unwrap();
    fixture.tree = WorkTree::open(&fixture.repo.beside("store"), &fixture.place).unwrap();
    assert_eq!(fixture.tree.commit(), Some(fixture.commits[0]));
    fixture.check_out(0);
    assert_eq!(fs::metadata(fixture.at("big")).unwrap().ctime_nsec(), unchanged.ctime_nsec());
}

#[test]
fn a_failed_check_out_is_of_no_commit_and_the_next_one_heals_it() {
    let mut fixture = Fixture::varied();
    let unknown: CommitId = "cd".repeat(20).parse().unwrap();
    let error = fixture.tree.check_out(unknown, &[]).unwrap_err();
    assert!(matches!(error, GitError::Incomplete { .. }), "{error:?}");
    assert_eq!(fixture.tree.commit(), None);
    let reopened = WorkTree::open(&fixture.repo.beside("store"), &fixture.place).unwrap();
    assert_eq!(reopened.commit(), None);
    fixture.check_out(0);
}

#[test]
fn attributes_and_configuration_run_no_program() {
    let mark = tempfile::TempDir::new().unwrap();
    let file = mark.path().join("executed");
    let mut fixture = Fixture::new(|repo| {
        repo.write(".gitattributes", "* filter=evil\n").write("file", "content");
        vec![repo.commit("first")]
    });
    let store = fixture.repo.beside("store");
    let mut config = git2::Config::open(&store.join("config")).unwrap();
    for key in ["filter.evil.smudge", "filter.evil.process", "core.fsmonitor", "core.hooksPath"] {
        config.set_str(key, &format!("touch {}", file.display())).unwrap();
    }
    fs::remove_file(fixture.at("file")).unwrap();
    fixture.tree = WorkTree::open(&store, &fixture.place).unwrap();
    fixture.check_out(0);
    assert!(!file.exists());
}

#[test]
fn sha256_and_submodules_are_checked_out() {
    let mut fixture = Fixture::of(Repo::with(&["--object-format=sha256"]), |repo| {
        let first = repo.write("a/file", "one").commit("first");
        repo.write("a/file", "two");
        repo.git(&["add", "--all"]);
        repo.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},sub", "12".repeat(32))]);
        repo.git(&["commit", "--quiet", "--message", "with a submodule"]);
        vec![first, repo.head()]
    });
    fixture.check_out(1);
    // git leaves an empty directory for a submodule that is not initialised; anything in it must go.
    fs::write(fixture.at("sub/junk"), "").unwrap();
    fixture.check_out(1);
    fixture.check_out(0);
}

#[test]
fn a_quarantined_tree_makes_room_for_a_fresh_one() {
    let fixture = Fixture::varied();
    let Fixture { repo, tree, place, commits } = fixture;
    let quarantine = repo.beside("quarantine/tree");
    tree.quarantine(&quarantine).unwrap();
    assert!(!place.exists() && quarantine.join("a/b/file").exists());
    let mut tree = WorkTree::open(&repo.beside("store"), &place).unwrap();
    assert_eq!(tree.commit(), None);
    tree.check_out(commits[0], &[]).unwrap();
    tree.quarantine(&quarantine).unwrap();
    assert!(repo.beside("quarantine/tree.1").join("c").exists());
}

#[test]
fn a_tree_outlives_a_tidy_of_its_store() {
    let mut fixture =
        Fixture::new(|repo| (0..60).map(|n| repo.write("file", format!("{n}")).commit(&format!("{n}"))).collect());
    fixture.check_out(30);
    PackStore::open(&fixture.repo.beside("store"), fixture.commits[0]).unwrap().tidy().unwrap();
    for at in [30, 59, 0] {
        fixture.check_out(at);
    }
}

#[test]
fn only_what_would_change_the_kind_of_an_entry_is_in_the_way() {
    let fixture = Fixture::varied();
    let ways = |path: &str| [false, true].map(|is_directory| fixture.tree.in_the_way(path, is_directory));
    let what = |text: &str| Some(text.to_owned());
    assert_eq!(ways("a/b"), [what("`a/b` is a directory of the commit"), None]);
    assert_eq!(ways("a/b/file"), [None, what("`a/b/file` is a file of the commit")]);
    let through = what("`a/b/file` is a file of the commit");
    assert_eq!(ways("a/b/file/x/y"), [through.clone(), through]);
    assert_eq!(ways("link"), [None, what("`link` is a symbolic link of the commit")]);
    assert_eq!(ways("link/x")[0], what("`link` is a symbolic link of the commit"));
    assert_eq!(ways(".git/config")[0], what("`.git` is the repository of the work tree"));
    for free in ["new", "a/new", "a/b/new/x", "a/b/filed"] {
        assert_eq!(ways(free), [None, None], "{free}");
    }
}
