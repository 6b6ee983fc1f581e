//! Files in Git LFS in the work tree of a task: `lfs`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::harness::{Process, Repository, World};

/// Two contents, with their SHA-256.
const PICTURE: (&str, &str) = ("of the artist\n", "39bf4b1862bdeedafe460d8009c8bc16946d73758e2e7eb0a4cddb2d61584b94");
const OTHER: (&str, &str) = ("a second picture\n", "8a2678f333fb335f923c406ae97f6d338eb4daa0ce2a60f338c96b58de877a8c");

const TASKS: &str = "[task.with]\nrun = 'cat a.bin; git status --porcelain; git diff --exit-code'\nlfs = true\n\
                     [task.without]\nneeds = ['with']\nrun = 'tail -n 1 a.bin; git status --porcelain'\n\
                     [task.again]\nneeds = ['without']\nrun = 'cat a.bin; git status --porcelain'\nlfs = true\n";

const NOTE: &str = "surveil: files in Git LFS are pointers in this work tree";

/// The program in the place of git-lfs: it takes objects from a directory, and notes from where it should have fetched.
const STAND_IN: &str = r#"#!/bin/sh
[ "$1 $2" = "fetch origin" ] || { echo "git-lfs $*: not expected" >&2; exit 9; }
{ git config remote.origin.url; git config lfs.url; ls -A; git ls-files; } >>"@NOTES@"
storage=$(git config lfs.storage)
for blob in $(git ls-tree "$3" | cut -f1 | cut -d' ' -f3); do
  id=$(git cat-file blob "$blob" | sed -n 's/^oid sha256://p')
  directory=$storage/objects/$(echo "$id" | cut -c1-2)/$(echo "$id" | cut -c3-4)
  if [ -f "@SOURCE@/$id" ]; then
    mkdir -p "$directory" && cp "@SOURCE@/$id" "$directory/$id"
  else
    echo "[$id] not found at https://ada:secret@files.example.org/lfs" >&2
    failed=2
  fi
done
exit ${failed:-0}
"#;

fn pointer((content, id): (&str, &str)) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{id}\nsize {}\n", content.len())
}

/// Puts a content into the storage of a repository, as git-lfs does.
fn store(repository: &Repository<'_>, (content, id): (&str, &str)) -> PathBuf {
    let path = format!(".git/lfs/objects/{}/{}/{id}", &id[..2], &id[2..4]);
    repository.write(&path, content);
    repository.path.join(path)
}

/// A repository with one file in Git LFS.
fn with_picture(world: &World) -> Repository<'_> {
    let repository = world.repository("app");
    repository.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    repository.write("a.bin", &pointer(PICTURE));
    repository
}

/// An observer that finds these programs only, and git.
fn observer_with(world: &World, repository: &Repository<'_>, stand_in: Option<&str>) -> Process {
    let programs = world.path("programs");
    fs::create_dir(&programs).unwrap();
    let found = |name: &str| {
        let path = std::env::var_os("PATH").unwrap();
        std::env::split_paths(&path).map(|at| at.join(name)).find(|path| path.is_file()).unwrap()
    };
    for name in ["git", "cut", "sed", "mkdir", "cp", "ls"] {
        symlink(found(name), programs.join(name)).unwrap();
    }
    if let Some(text) = stand_in {
        let path = programs.join("git-lfs");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = world.command(&["observer", repository.path.to_str().unwrap()]);
    command.env("PATH", &programs);
    world.start_command("observer", command)
}

fn stand_in(notes: &Path, source: &Path) -> String {
    STAND_IN.replace("@NOTES@", notes.to_str().unwrap()).replace("@SOURCE@", source.to_str().unwrap())
}

#[test]
fn a_task_has_the_contents_of_files_in_lfs_if_it_asks_for_them() {
    let world = World::new();
    let repository = with_picture(&world);
    store(&repository, PICTURE);
    let commit = repository.commit_tasks(TASKS);
    let dispatcher = world.dispatcher(&[]);
    let observer = world.observer(&[&repository], &[]);
    let runner = world.runner("w1", &["--slots=1"]);
    let build = world.expect(&commit, "passed");
    for task in ["with", "again"] {
        assert_eq!(world.log_of(&build, task), PICTURE.0, "{task}");
    }
    let log = world.log_of(&build, "without");
    assert!(log.starts_with(NOTE) && log.ends_with("size 14\n") && log.lines().count() == 2, "{log}");

    // The next commit is a difference, also for a dispatcher that was restarted.
    dispatcher.kill();
    let _dispatcher = world.dispatcher(&[]);
    repository.write("b.bin", &pointer(OTHER));
    store(&repository, OTHER);
    let commit = repository.commit_tasks("[task.with]\nrun = 'cat a.bin b.bin; git status --porcelain'\nlfs = true\n");
    let build = world.expect(&commit, "passed");
    assert_eq!(world.log_of(&build, "with"), [PICTURE.0, OTHER.0].concat());

    // Nobody is there to send it again, and another runner gets it from the dispatcher.
    observer.kill();
    runner.kill();
    fs::remove_dir_all(repository.path.join(".git/lfs")).unwrap();
    let _runner = world.runner("w2", &[]);
    world.surveil(&["rerun", &format!("b{}", build.build)]).ok();
    let again = world.build_that("has run again", |it| {
        it.build == build.build && it.finished_ms.is_some() && it.jobs.iter().all(|job| job.attempts.len() >= 2)
    });
    assert_eq!(world.log_of(&again, "with"), [PICTURE.0, OTHER.0].concat());
}

#[test]
fn a_submitted_commit_a_try_and_a_clean_run_bring_the_contents() {
    let world = World::new();
    let repository = with_picture(&world);
    store(&repository, PICTURE);
    let commit = repository.commit_tasks(TASKS);
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w1", &[]);
    world.surveil_in(&repository.path, &["submit", "--wait"]).ok();
    assert_eq!(world.log_of(&world.finished(&commit), "with"), PICTURE.0);
    repository.write("b.bin", &pointer(OTHER));
    store(&repository, OTHER);
    repository.write(".surveil.toml", "[task.with]\nrun = 'cat a.bin b.bin'\nlfs = true\n");
    world.surveil_in(&repository.path, &["try"]).ok();
    let tried = world.build_that("is the try", |build| build.build == 2 && build.finished_ms.is_some());
    assert_eq!(world.log_of(&tried, "with"), [PICTURE.0, OTHER.0].concat());
    let said = world.surveil_in(&repository.path, &["run", "--clean"]).ok();
    assert!(said.contains(PICTURE.0) && said.contains(NOTE), "{said}");
    fs::remove_dir_all(repository.path.join(".git/lfs")).unwrap();
    let done = world.surveil_in(&repository.path, &["run", "--clean", "with"]);
    let said = done.with_code(3);
    assert!(said.contains(PICTURE.1), "{said}");
}

#[test]
fn objects_that_are_not_there_are_fetched_by_the_users_git_lfs() {
    let world = World::new();
    let repository = with_picture(&world);
    repository.git(&["remote", "add", "origin", "https://ada:secret@files.example.org/app"]);
    // The commit may not say from where.
    repository.write(".lfsconfig", "[lfs]\n\turl = https://evil.example.org/\n");
    let (notes, source) = (world.path("notes"), world.path("objects"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join(PICTURE.1), PICTURE.0).unwrap();
    let commit = repository.commit_tasks(TASKS);
    let _dispatcher = world.dispatcher(&[]);
    let _observer = observer_with(&world, &repository, Some(&stand_in(&notes, &source)));
    let _runner = world.runner("w1", &[]);
    assert_eq!(world.log_of(&world.expect(&commit, "passed"), "with"), PICTURE.0);
    assert_eq!(fs::read_to_string(&notes).unwrap(), "https://ada:secret@files.example.org/app\n.git\n");
    assert!(!repository.path.join(".git/lfs").exists(), "a watched repository is only read");

    // The repository's own configuration may, and only what is missing is fetched.
    repository.git(&["config", "lfs.url", "https://lfs.example.org/"]);
    fs::remove_file(&notes).unwrap();
    fs::remove_file(source.join(PICTURE.1)).unwrap();
    store(&repository, PICTURE);
    repository.write("b.bin", &pointer(OTHER));
    fs::write(source.join(OTHER.1), OTHER.0).unwrap();
    let commit = repository.commit_tasks("[task.with]\nrun = 'cat a.bin b.bin'\nlfs = true\n");
    assert_eq!(world.log_of(&world.expect(&commit, "passed"), "with"), [PICTURE.0, OTHER.0].concat());
    let said = fs::read_to_string(&notes).unwrap();
    assert_eq!(said, "https://ada:secret@files.example.org/app\nhttps://lfs.example.org/\n.git\n");
}

#[test]
fn an_object_that_cannot_be_had_makes_an_errored_build_that_says_what_to_do() {
    let world = World::new();
    let repository = with_picture(&world);
    repository.git(&["remote", "add", "origin", "https://ada:secret@files.example.org/app"]);
    let commit = repository.commit_tasks(TASKS);
    let _dispatcher = world.dispatcher(&[]);
    let source = world.path("objects");
    let _observer = observer_with(&world, &repository, Some(&stand_in(&world.path("notes"), &source)));
    let _runner = world.runner("w1", &[]);
    let problem = world.expect(&commit, "errored").problem.unwrap();
    for part in ["task with asks for `lfs`", "a.bin: LFS object", PICTURE.1, "files.example.org", "not found", "help:"]
    {
        assert!(problem.contains(part), "{part}: {problem}");
    }
    assert!(!problem.contains("secret"), "{problem}");
    // A commit whose tasks ask for nothing costs nothing.
    let commit = repository.commit_tasks("[task.without]\nrun = 'tail -n 1 a.bin'\n");
    let log = world.log_of(&world.expect(&commit, "passed"), "without");
    assert!(log.starts_with(NOTE), "{log}");
    // Somebody has fetched it meanwhile.
    store(&repository, PICTURE);
    world.surveil_in(&repository.path, &["submit", "HEAD~1", "--wait"]).ok();
    let build = world.build_that("is the submitted one", |build| build.build == 3 && build.finished_ms.is_some());
    assert_eq!(world.log_of(&build, "with"), PICTURE.0);
}

#[test]
fn without_git_lfs_the_build_says_that_it_is_not_installed() {
    let world = World::new();
    let repository = with_picture(&world);
    repository.git(&["remote", "add", "origin", "https://files.example.org/app"]);
    let commit = repository.commit_tasks(TASKS);
    let _dispatcher = world.dispatcher(&[]);
    let _observer = observer_with(&world, &repository, None);
    let problem = world.expect(&commit, "errored").problem.unwrap();
    assert!(problem.contains("git-lfs is not installed on this machine"), "{problem}");
}

#[test]
fn a_content_larger_than_a_file_may_be_makes_an_errored_build() {
    let world = World::new();
    let repository = with_picture(&world);
    store(&repository, PICTURE);
    let commit = repository.commit_tasks(TASKS);
    let _dispatcher = world.dispatcher(&["--max-file=2KiB"]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &[]);
    world.expect(&commit, "passed");
    let large = "0123456789abcde\n".repeat(200);
    let large = (&*large, "8c32b5363b2e19397bb945868263b4171497905a05fd0b84f08ecd32514834e3");
    store(&repository, large);
    repository.write("film.bin", &pointer(large));
    let problem = world.expect(&repository.commit("large"), "errored").problem.unwrap();
    assert!(problem.contains("film.bin has 3200 bytes") && problem.contains("at most 2048"), "{problem}");
}
