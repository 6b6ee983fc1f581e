//! The work tree of an attempt: exactly the commit's files, and the kept paths.

use crate::harness::{Repository, World};

/// Lists every file but the kept one, prints a file of the commit, and then leaves files behind.
const LOOK_AND_SOIL: &str = "\
find . -type f -o -type l | grep -v -e ./cache/ -e ./.git/ | sort
cat tracked
cat cache/count 2>/dev/null || true
mkdir -p cache ignored deep/er
echo again >> cache/count
echo changed > tracked
rm -f removed
touch untracked ignored/file deep/er/file .hidden
ln -s /etc/passwd link
mkdir -m 000 locked
test $SURVEIL_ATTEMPT = 2";

fn soiled(repository: &Repository) -> String {
    repository.write(".gitignore", "ignored/\n");
    repository.write("tracked", "as committed\n");
    repository.write("removed", "");
    let script = LOOK_AND_SOIL;
    repository.commit_tasks(&format!("[task.test]\nretries = 1\nkeep = ['cache']\nrun = '''\n{script}\n'''\n"))
}

#[test]
fn every_attempt_starts_from_the_commits_tree_and_what_is_kept() {
    let world = World::new();
    let repository = world.repository("app");
    let first = soiled(&repository);
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--slots=1"]);

    let build = world.expect(&first, "passed");
    let clean = "./.gitignore\n./.surveil.toml\n./removed\n./tracked\nas committed\n";
    let attempt = |number: &str| world.surveil(&["logs", &build.build.to_string(), "--attempt", number]).ok();
    assert_eq!(attempt("1"), clean);
    assert_eq!(attempt("2"), format!("{clean}again\n"), "kept, and everything else gone");

    repository.write("tracked", "changed\n");
    repository.git(&["rm", "--quiet", "removed"]);
    let second = repository.commit("Change a file to what an attempt made of it, and remove one");
    let build = world.expect(&second, "passed");
    let clean = "./.gitignore\n./.surveil.toml\n./tracked\nchanged\n";
    let log = world.surveil(&["logs", &build.build.to_string(), "--attempt", "1"]).ok();
    assert_eq!(log, format!("{clean}again\nagain\n"));
}

#[test]
fn a_commit_goes_back_and_forth_between_two_trees() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("file", "a file\n");
    let file = repository.commit_script(
        "test -f file || ls file; cat link 2>/dev/null || true; stat -c '%A %n' run 2>/dev/null || true",
    );
    let _roles = world.roles(&[&repository]);
    world.expect(&file, "passed");

    repository.git(&["rm", "--quiet", "file"]);
    repository.write("file/inside", "a file where there was none\n");
    repository.write_executable("run", "#!/bin/sh\n");
    std::os::unix::fs::symlink("file/inside", repository.path.join("link")).unwrap();
    let directory = repository.commit("A directory in place of the file");
    let build = world.expect(&directory, "passed");
    assert_eq!(world.log_of(&build, "test"), "inside\na file where there was none\n-rwxr-xr-x run\n");

    repository.git(&["revert", "--no-edit", "HEAD"]);
    let back = world.expect(&repository.head(), "passed");
    assert_eq!(world.log_of(&back, "test"), "");
}

#[test]
fn two_slots_have_trees_of_their_own() {
    let world = World::new();
    let (left, right) = (world.gate("left"), world.gate("right"));
    let begun = world.tally("begun");
    let repository = world.repository("app");
    let task = |name: &str, gate: String| {
        let begin = begun.add("$SURVEIL_SLOT $PWD");
        format!("[task.{name}]\nrun = '''\ntouch only-{name}\n{begin}\n{gate}\nls\n'''\n")
    };
    let commit = repository.commit_tasks(&[task("left", left.wait()), task("right", right.wait())].concat());
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--slots=2"]);

    let mut places = begun.reaches(2);
    places.sort();
    assert!(places[0].starts_with("0 ") && places[1].starts_with("1 "), "{places:?}");
    left.open();
    right.open();
    let build = world.expect(&commit, "passed");
    assert_eq!(world.log_of(&build, "left"), "only-left\n");
    assert_eq!(world.log_of(&build, "right"), "only-right\n");
}
