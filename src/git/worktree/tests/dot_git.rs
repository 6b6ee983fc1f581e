//! The `.git` of a work tree: what git says in it, and that nothing of it survives a task.

use super::*;
use crate::git::tests::support::git_in;

/// Returns the content of the `.git` except for the index, and each entry's permissions.
fn dot_git_of(place: &Path) -> Vec<(PathBuf, char, Vec<u8>)> {
    let mut found = everything_in(&place.join(".git"));
    found.retain(|(path, ..)| path != Path::new("index"));
    found
}

/// Runs git in the tree, whatever its exit code.
fn tell(place: &Path, arguments: &[&str]) -> (bool, String) {
    let output = sealed(Command::new("git").current_dir(place)).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// A repository of which the second commit has files in directories whose order in an index is not that of a listing.
fn ordered(repo: &Repo) -> Vec<CommitId> {
    for path in ["a/x", "a.b", "a0", "a/b/c", "a-", "b/a", "bb/a", "c"] {
        repo.write(path, path);
    }
    let first = repo.commit("first");
    repo.git(&["tag", "--annotate", "--message", "one", "v1"]);
    repo.write(&format!("{}file", "long/".repeat(60)), "deep").write("run", "#!/bin/sh\n");
    set_mode(&repo.path().join("run"), 0o755);
    symlink("c", repo.path().join("link")).unwrap();
    vec![first, repo.commit("second")]
}

#[test]
fn git_finds_a_repository_at_the_commit_and_a_clean_tree() {
    for format in ["sha1", "sha256"] {
        let mut fixture = Fixture::of(Repo::with(&["--object-format", format]), ordered);
        fixture.check_out(1);
        let (place, commit) = (&fixture.place, fixture.commits[1].to_string());
        let git = |arguments: &[&str]| git_in(place, arguments);
        // Compares metadata alone, except for files of the last second, which git compares itself.
        assert_eq!(git(&["diff-files"]), "");
        assert_eq!(git(&["status", "--porcelain", "--ignored"]), "");
        assert_eq!(git(&["rev-parse", "HEAD"]), commit);
        assert_eq!(git(&["rev-parse", "--is-shallow-repository"]), "true");
        assert_eq!(git(&["log", "--format=%H %ct"]), format!("{commit} 1767323045"));
        assert_eq!(git(&["branch", "--show-current"]), "");
        assert_eq!(git(&["describe", "--always", "--dirty", "--abbrev=12"]), commit[..12]);
        assert_eq!(git(&["ls-files", "--stage"]), fixture.repo.git(&["ls-files", "--stage"]));
        assert_eq!(git(&["write-tree"]), fixture.repo.git(&["rev-parse", "HEAD^{tree}"]));
        git(&["diff", "--exit-code"]);
        git(&["diff", "--cached", "--exit-code"]);
        assert_eq!(tell(place, &["fsck", "--strict", "--no-dangling"]), (true, String::new()));
        assert_eq!(git(&["remote"]), "origin");
        let (_, said) = tell(place, &["fetch", "origin"]);
        assert!(said.contains("'origin' does not appear to be a git repository"), "{said}");
        // The first commit has no parents to be left out.
        fixture.check_out(0);
        assert_eq!(git_in(&fixture.place, &["rev-parse", "--is-shallow-repository"]), "false");
        assert_eq!(git_in(&fixture.place, &["log", "--format=%s"]), "first");
    }
}

#[test]
fn a_task_works_in_its_repository_as_in_any_other() {
    let mut fixture = Fixture::new(ordered);
    fixture.check_out(1);
    let place = &fixture.place;
    let git = |arguments: &[&str]| git_in(place, arguments);
    fs::write(place.join("c"), "other").unwrap();
    assert_eq!(git(&["status", "--porcelain"]), " M c");
    git(&["stash"]);
    assert_eq!(fs::read(place.join("c")).unwrap(), b"c");
    git(&["stash", "pop"]);
    git(&["commit", "--quiet", "--all", "--message", "of the task"]);
    git(&["tag", "v2"]);
    git(&["gc", "--quiet", "--prune=now"]);
    git(&["checkout", "--quiet", "-b", "branch", "HEAD~1"]);
    assert_eq!(git(&["log", "--all", "--topo-order", "--format=%s"]), "of the task\nsecond");
    fs::write(place.join("untracked"), "").unwrap();
    git(&["clean", "-xdf", "--quiet"]);
    assert!(!place.join("untracked").exists());
    fixture.check_out(1);
    assert_eq!(git_in(&fixture.place, &["log", "--all", "--format=%s"]), "second");
    assert_eq!(git_in(&fixture.place, &["stash", "list"]), "");
    PackStore::open(&fixture.repo.beside("store"), fixture.commits[0]).unwrap().check(fixture.commits[1]).unwrap();
}

/// The next attempt finds, whatever a task leaves, the `.git` that a fresh tree has. Nothing is followed or executed.
#[test]
fn whatever_a_task_did_to_the_repository_is_undone() {
    let mut fixture = Fixture::varied();
    let (fresh, outside) = (dot_git_of(&fixture.place), fixture.repo.beside("outside"));
    fs::create_dir_all(outside.join("objects")).unwrap();
    fs::write(outside.join("precious"), "precious").unwrap();
    let head = fs::read_to_string(fixture.at(".git/HEAD")).unwrap();
    let mark = outside.join("executed");
    let evil = format!("[core]\n\tfsmonitor = touch {0}\n\tsshCommand = touch {0}\n", mark.display());
    let fifo = |path: PathBuf| rustix::fs::mkfifoat(rustix::fs::CWD, path, Mode::from_raw_mode(0o600)).unwrap();
    let replaced = |path: PathBuf| {
        fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).unwrap();
        path
    };
    let acts: [(&str, Act<'_>); 21] = [
        ("nothing", &|_| {}),
        ("removed", &|git| fs::remove_dir_all(git).unwrap()),
        ("a link", &|git| symlink(&outside, replaced(git.into())).unwrap()),
        ("a file", &|git| fs::write(replaced(git.into()), format!("gitdir: {}\n", outside.display())).unwrap()),
        ("a fifo", &|git| fifo(replaced(git.into()))),
        ("configuration", &|git| fs::write(git.join("config"), &evil).unwrap()),
        ("more configuration", &|git| fs::write(git.join("config.worktree"), &evil).unwrap()),
        ("a hook", &|git| {
            fs::write(git.join("hooks/post-checkout"), format!("#!/bin/sh\ntouch {}\n", mark.display())).unwrap();
            set_mode(&git.join("hooks/post-checkout"), 0o755);
        }),
        ("hooks elsewhere", &|git| symlink(&outside, replaced(git.join("hooks"))).unwrap()),
        ("head", &|git| fs::write(git.join("HEAD"), "ref: refs/heads/x\n").unwrap()),
        ("head of the same size", &|git| fs::write(git.join("HEAD"), head.replace(['a', '1'], "0")).unwrap()),
        ("head elsewhere", &|git| symlink(outside.join("precious"), replaced(git.join("HEAD"))).unwrap()),
        ("index is a fifo", &|git| fifo(replaced(git.join("index")))),
        ("index", &|git| {
            let mut bytes = fs::read(git.join("index")).unwrap();
            bytes[100] ^= 1;
            fs::write(git.join("index"), bytes).unwrap();
        }),
        ("locks", &|git| {
            for name in ["index.lock", "HEAD.lock", "config.lock", "shallow.lock"] {
                fs::write(git.join(name), "").unwrap();
            }
        }),
        ("refs", &|git| {
            fs::write(git.join("refs/heads/main"), &head).unwrap();
            fs::write(git.join("packed-refs"), format!("{} refs/tags/x\n", head.trim())).unwrap();
        }),
        ("alternates", &|git| {
            fs::write(git.join("objects/info/alternates"), format!("{}/objects\n", outside.display())).unwrap();
        }),
        ("objects elsewhere", &|git| symlink(outside.join("objects"), replaced(git.join("objects"))).unwrap()),
        ("objects", &|git| {
            fs::create_dir_all(git.join("objects/ab/cd/ef")).unwrap();
            fs::write(git.join("objects/ab").join("c".repeat(38)), "not an object").unwrap();
            set_mode(&git.join("objects/ab/cd"), 0);
        }),
        ("permissions", &|git| {
            for name in ["HEAD", "index", "objects/info", "objects", "hooks", ""] {
                set_mode(&git.join(name), 0);
            }
        }),
        ("second names", &|git| fs::hard_link(git.join("config"), outside.join("config")).unwrap()),
    ];
    for (what, act) in acts {
        // Once with a stamp that is too young to be trusted, once with one that is old enough, once after a restart.
        for round in 0..3 {
            fs::remove_file(outside.join("config")).ok();
            act(&fixture.at(".git"));
            if round == 2 {
                fixture.tree = WorkTree::open(&fixture.repo.beside("store"), &fixture.place).unwrap();
            }
            fixture.tree.check_out(fixture.commits[0], &[]).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert_eq!(dot_git_of(&fixture.place), fresh, "{what}");
            assert_eq!(git_in(&fixture.place, &["status", "--porcelain"]), "", "{what}");
            std::thread::park_timeout(std::time::Duration::from_millis(15));
            fixture.tree.check_out(fixture.commits[0], &[]).unwrap();
        }
        assert_eq!(fs::read(outside.join("precious")).unwrap(), b"precious", "{what}");
        assert!(!mark.exists(), "{what}");
    }
    let place = fixture.place.clone();
    let written = |path: &str| fs::metadata(place.join(path)).unwrap().ino();
    let before = [".git/config", ".git/HEAD", ".git/index"].map(written);
    fixture.tree.check_out(fixture.commits[0], &[]).unwrap();
    assert_eq!([".git/config", ".git/HEAD", ".git/index"].map(written), before, "what is right stays");
}

/// HEAD is written in place, unless a task gave it a second name: that keeps its bytes.
#[test]
fn another_commit_changes_no_file_outside() {
    let mut fixture = Fixture::new(ordered);
    fixture.check_out(0);
    let (head, outside) = (fixture.at(".git/HEAD"), fixture.repo.beside("head"));
    fs::hard_link(&head, &outside).unwrap();
    let before = fs::read(&head).unwrap();
    fixture.check_out(1);
    assert_eq!(fs::read(&outside).unwrap(), before);
    let inode = || fs::metadata(&head).unwrap().ino();
    let of_second = inode();
    fixture.check_out(0);
    assert_eq!((inode(), fs::read(&head).unwrap()), (of_second, before));
}

/// A commit that only removes files touches no file, and one that changes nothing has another id.
#[test]
fn the_index_is_that_of_the_commit_whatever_the_difference() {
    let mut fixture = Fixture::new(|repo| {
        let first = repo.write("a", "1").write("b", "2").commit("first");
        fs::remove_file(repo.path().join("b")).unwrap();
        let second = repo.commit("second");
        vec![first, second, repo.commit("third"), repo.write("a", "2").commit("fourth")]
    });
    for at in [1, 2, 1, 0, 3, 2, 0] {
        std::thread::park_timeout(std::time::Duration::from_millis(15));
        fixture.check_out(at);
    }
}

/// A second time, a file is only touched, so that its metadata differs from what the index has.
#[test]
fn a_file_with_other_times_is_in_the_index_with_those() {
    let mut fixture = Fixture::varied();
    File::options().write(true).open(fixture.at("c")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    fixture.tree.check_out(fixture.commits[0], &[]).unwrap();
    assert_eq!(git_in(&fixture.place, &["diff-files"]), "");
}

#[test]
fn a_store_at_any_path_is_found() {
    let repo = Repo::new();
    let commit = repo.write("file", "content").commit("first");
    for name in ["with space", "line\nbreak", "\"quoted\"\\\nline", "#hash", "über"] {
        let (store, place) = (repo.beside(name).join("store"), repo.beside(name).join("tree"));
        deliver(&repo.watched(), &PackStore::open(&store, commit).unwrap(), commit, &[]);
        WorkTree::open(&store, &place).unwrap().check_out(commit, &[]).unwrap();
        assert_eq!(git_in(&place, &["show", "HEAD:file"]), "content", "{name}");
    }
}

/// A `.git` is in no task's list of kept paths, and a list that a runner gets all the same keeps nothing of it.
#[test]
fn nothing_of_the_repository_is_kept() {
    let mut fixture = Fixture::varied();
    fs::write(fixture.at(".git/hooks/pre-commit"), "").unwrap();
    fixture.check_out_keeping(0, &[".git", ".git/hooks"]);
    assert!(!fixture.at(".git/hooks/pre-commit").exists());
}
