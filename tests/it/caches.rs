//! Caches: restored before a task and saved after it, on every runner, in scopes by trust.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Gate, World, job, until};

/// Returns the paths of everything below a directory that is no directory, sorted.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// The lines of a log that are Surveil's own.
fn own_lines(log: &str) -> Vec<&str> {
    log.lines().filter_map(|line| line.strip_prefix("surveil: ")).collect()
}

fn listed(world: &World) -> Vec<Value> {
    let json: Value = serde_json::from_str(&world.surveil(&["cache", "list", "--json"]).ok()).unwrap();
    json["caches"].as_array().unwrap().clone()
}

const CACHED: &str = r#"[task.test]
run = """
cat target/made target/sub/run 2>/dev/null || echo nothing
test ! -e target/link || cat target/link
test "$(cat target/tracked)" = "of the commit"
mkdir -p target/sub target/empty
echo "made of $(cat lock)" > target/made
printf '#!/bin/sh\\n' > target/sub/run
chmod +x target/sub/run
ln -sf sub/run target/link
touch -d 2024-01-02T03:04:05Z target/made
"""
[[task.test.cache]]
key = ["lock"]
paths = ["target"]
"#;

#[test]
fn a_cache_is_saved_once_restored_on_every_runner_and_listed() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("lock", "one");
    repository.write("target/tracked", "of the commit");
    let first = repository.commit_tasks(CACHED);
    let [_dispatcher, _observer, runner] = world.roles(&[&repository]);
    let build = world.expect(&first, "passed");
    let log = world.log_of(&build, "test");
    let lines = own_lines(&log);
    let [missed, saved] = lines.as_slice() else { panic!("{log}") };
    let key = missed.strip_prefix("there is no cache ").unwrap().strip_suffix(" yet").unwrap();
    assert_eq!(*saved, format!("saved cache {key}: 5 entries, 35 bytes"), "with the file of the commit");
    assert!(log.starts_with("surveil: there is no cache") && log.contains("\nnothing\n"), "{log}");

    // The runner that saved it has copies.
    let again = repository.commit("once more");
    let log = world.log_of(&world.expect(&again, "passed"), "test");
    assert!(log.contains(": 5 entries, 35 bytes, 0 of them received\n"), "{log}");

    // Another runner gets it from the dispatcher, and the next time from its own copies.
    drop(runner);
    let _runner = world.runner("w2", &[]);
    for received in [true, false] {
        let again = repository.commit("again");
        let log = world.log_of(&world.expect(&again, "passed"), "test");
        let lines = own_lines(&log);
        let [restored] = lines.as_slice() else { panic!("{log}") };
        let expected = format!("restored cache {key} of b1/test, main: 5 entries, 35 bytes, ");
        let count = restored.strip_prefix(&expected).unwrap_or_else(|| panic!("{log}"));
        assert_eq!(count != "0 of them received", received, "{log}");
        assert!(log.ends_with("\nmade of one\n#!/bin/sh\n#!/bin/sh\n"), "{log}");
    }
    let tree = world.path("work-w2/trees/app/slot0/target");
    let modified = fs::metadata(tree.join("made")).unwrap().modified().unwrap();
    assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_704_164_645);
    assert!(tree.join("empty").is_dir());

    // Another key starts from the newest one.
    repository.write("lock", "two");
    let other = repository.commit("another lock");
    let log = world.log_of(&world.expect(&other, "passed"), "test");
    let lines = own_lines(&log);
    let [started, saved] = lines.as_slice() else { panic!("{log}") };
    assert!(started.contains(&format!(" yet; as a start, restored cache {key} of b1/test, main: ")), "{log}");
    assert!(saved.starts_with("saved cache ") && !saved.contains(key), "{log}");
    assert!(log.contains("\nmade of one\n"), "{log}");

    let list = world.surveil(&["cache", "list"]).ok();
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..5], ["KEY", "REPO", "REF", "TASK", "BUILD"]);
    assert_eq!((rows[2][..5].to_vec(), rows.len()), (vec![key, "app", "main", "test", "b1"], 4), "{list}");
    assert!(list.lines().last().unwrap().contains("20 GiB in all (--keep-caches)"), "{list}");
    let why = world.surveil(&["cache", "why", &key[..8]]).ok();
    assert!(why.contains("by b1/test, attempt 1 (a1)"), "{why}");
    assert!(
        why.contains("\n           paths target\n")
            && why.contains("\n  key of   linux ")
            && why.contains("\n           lock "),
        "{why}"
    );
    assert!(why.contains("builds of branch main, and every build if that is the default branch"), "{why}");
    let none = world.surveil(&["cache", "why", "00000000"]).error(6);
    assert!(none.contains("there is no cache with a key that begins with 00000000"), "{none}");
    assert!(world.surveil(&["cache", "why", "xyz"]).error(7).contains("is no key of a cache"));

    assert_eq!(world.surveil(&["cache", "rm", key]).ok(), "removed 1 cache of 35 bytes\n");
    assert_eq!(listed(&world).len(), 1);
    assert_eq!(world.surveil(&["cache", "rm", "--repo", "app"]).ok(), "removed 1 cache of 35 bytes\n");
    assert_eq!(listed(&world), [] as [Value; 0]);
    world.surveil(&["cache", "rm"]).error(2);
}

/// S46: an untrusted build starts from what trusted ones saved, and nothing of what it saves reaches them.
#[test]
fn no_trusted_build_reads_what_an_untrusted_one_wrote() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("lock", "same");
    let tasks = |who: &str| {
        format!(
            "[task.test]\nrun = 'cat target/by 2>/dev/null || echo nobody; mkdir -p target; echo {who} > target/by'\n\
             cache = [{{ key = ['lock'], paths = ['target'] }}]\n"
        )
    };
    let main = repository.commit_tasks("[task.test]\nrun = 'true'\n");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &["--branch=main", "--branch=topic*"]);
    let _runner = world.runner("w1", &[]);
    world.expect(&main, "passed");
    // A new branch begins at a commit without caches, because that commit may be built for it, too.
    let read = |branch: &str, who: &str| {
        let is_there = !repository.git(&["branch", "--list", branch]).is_empty();
        let start: &[&str] = if is_there { &[branch] } else { &["-b", branch, &main] };
        repository.git(&[&["checkout", "--quiet"], start].concat());
        let commit = repository.commit_tasks(&tasks(who));
        let log = world.log_of(&world.expect(&commit, "passed"), "test");
        log.lines().find(|line| !line.starts_with("surveil: ")).unwrap().to_owned()
    };
    assert_eq!(read("topic1", "evil"), "nobody");
    assert_eq!(read("topic2", "other"), "nobody", "it is of another ref");
    assert_eq!(read("main", "good"), "nobody", "it was written by an untrusted build");
    assert_eq!(read("main", "late"), "good", "an entry is written once");
    assert_eq!(read("topic1", "again"), "evil");
    assert_eq!(read("topic3", "third"), "good", "every build reads the default branch");
    let mut scopes: Vec<(String, bool)> = listed(&world)
        .iter()
        .map(|cache| (cache["ref"].as_str().unwrap().to_owned(), cache["trusted"].as_bool().unwrap()))
        .collect();
    scopes.sort();
    let expected = [("main", true), ("topic1", false), ("topic2", false)];
    assert_eq!(scopes, expected.map(|(name, trusted)| (format!("refs/heads/{name}"), trusted)));
    let list = world.surveil(&["cache", "list"]).ok();
    assert!(list.contains("topic1 (untrusted)"), "{list}");
}

/// Each is a line in the log, and none is the task's failure.
#[test]
fn a_cache_that_cannot_be_saved_or_restored_fails_no_task() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("lock", "x");
    let task = |name: &str, key: &str, run: &str| {
        format!("[task.{name}]\nrun = '''\n{run}\n'''\ncache = [{{ key = ['{key}'], paths = ['out-{name}'] }}]\n")
    };
    let tasks = [
        task("outside", "lock", "mkdir out-outside; ln -s /etc/passwd out-outside/link"),
        task("fifo", "lock", "mkdir out-fifo; mkfifo out-fifo/pipe; echo x > out-fifo/x"),
        task("odd", "lock", "mkdir out-odd; touch \"$(printf 'out-odd/a\\377')\""),
        task("large", "lock", "head -c 30000000 /dev/zero > out-large"),
        task("empty", "lock", "true"),
        task("keyless", "nothing/**", "echo x > out-keyless"),
        task("failing", "lock", "echo x > out-failing; exit 3"),
    ];
    let commit = repository.commit_tasks(&tasks.concat());
    let _dispatcher = world.dispatcher(&["--keep-caches=40MB"]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &[]);
    let build = world.expect(&commit, "failed");
    for (name, text) in [
        ("outside", "is not saved: `out-outside/link` is a symbolic link out of it, to `/etc/passwd`"),
        ("fifo", "leaves out 1 path that is no file: `out-fifo/pipe` is a FIFO"),
        ("odd", "is not UTF-8"),
        ("large", "is not saved: it has 28 MiB or more, and at most 19 MiB are saved (half of --keep-caches of the"),
        ("empty", "is not saved: there is nothing at its paths"),
        ("keyless", "no file matches `nothing/**`, a part of the key of cache "),
        ("failing", " yet"),
    ] {
        let (log, state) = (world.log_of(&build, name), &job(&build, name).state);
        assert!(log.contains(text), "{name}: {log}");
        assert_eq!(state, if name == "failing" { "failed" } else { "passed" }, "{name}");
    }
    let mut saved: Vec<String> =
        listed(&world).iter().map(|cache| cache["task"].as_str().unwrap().to_owned()).collect();
    saved.sort();
    assert_eq!(saved, ["fifo", "keyless"]);
}

/// S46: of two jobs that save one key at once, one does. Both pass, and the other says so.
#[test]
fn two_jobs_that_save_one_key_at_the_same_time_leave_one_entry() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("lock", "x");
    // Two readers of one pipe may take the line of each other.
    let (tally, gates) = (world.tally("tally"), [world.gate("first"), world.gate("second")]);
    let task = |name: &str, gate: &Gate| {
        format!(
            "[task.{name}]\nrun = '''\n{}\n{}\nmkdir out; for n in $(seq 50); do echo {name} $n > out/$n; done\n'''\n\
             cache = [{{ key = ['lock'], paths = ['out'] }}]\n",
            tally.add(name),
            gate.wait()
        )
    };
    let commit = repository.commit_tasks(&(task("one", &gates[0]) + &task("two", &gates[1])));
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runners = [world.runner("w1", &[]), world.runner("w2", &[])];
    // Neither has found a cache.
    tally.reaches(2);
    gates.iter().for_each(Gate::open);
    let build = world.expect(&commit, "passed");
    let logs = ["one", "two"].map(|task| world.log_of(&build, task));
    let with = |text: &str| logs.iter().filter(|log| log.contains(text)).count();
    assert_eq!(with("surveil: saved cache "), 1, "{logs:?}");
    assert_eq!(with(" is not saved: another attempt has saved this key meanwhile\n"), 1, "{logs:?}");
    let saved = if logs[0].contains("surveil: saved cache ") { "one" } else { "two" };
    let listed = listed(&world);
    assert_eq!((listed.len(), listed[0]["task"].as_str()), (1, Some(saved)));
}

/// S43: bytes that rotted are found at either side. The dispatcher's are a miss, and the runner's are received again.
#[test]
fn a_cache_that_rotted_is_never_restored() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("lock", "x");
    let tasks = "[task.test]\nrun = 'cat out 2>/dev/null | wc -c; head -c 100000 /dev/urandom > out'\n\
                 cache = [{ key = ['lock'], paths = ['out'] }]\n";
    let first = repository.commit_tasks(tasks);
    let [_dispatcher, _observer, _runner] = world.roles(&[&repository]);
    world.expect(&first, "passed");
    let whole = |path: &PathBuf| {
        let is_kept = !path.to_string_lossy().contains("/unfinished/");
        is_kept && fs::metadata(path).is_ok_and(|metadata| metadata.len() == 100_000)
    };
    let rot = |directory: PathBuf| {
        // The runner makes its copies after the end of the attempt was told.
        until("it is there", || files(&directory).iter().any(whole));
        let found = files(&directory).into_iter().find(whole).unwrap();
        let mut bytes = fs::read(&found).unwrap();
        bytes[50_000] = bytes[50_000].wrapping_add(1);
        fs::write(&found, bytes).unwrap();
    };
    let again = || world.log_of(&world.expect(&repository.commit("again"), "passed"), "test");
    rot(world.path("work-w1/caches"));
    let log = again();
    assert!(log.contains("surveil: restored cache ") && log.ends_with("\n100000\n"), "{log}");
    rot(world.path("work-w1/caches"));
    rot(world.data().join("blobs"));
    let log = again();
    assert!(log.contains(" could not be restored: ") && log.ends_with("\n0\n"), "{log}");
    // A damaged blob is set aside: the next build finds no cache, and saves one.
    let log = again();
    assert!(log.contains("surveil: there is no cache ") && log.contains("\nsurveil: saved cache "), "{log}");
    assert!(again().ends_with("\n100000\n"));
}

/// The least recently used cache goes when all of them are too large, but not that of the default branch.
#[test]
fn caches_have_a_total_size() {
    let world = World::new();
    let repository = world.repository("app");
    let tasks = "[task.test]\nrun = 'head -c 400 /dev/zero > out'\ncache = [{ key = ['lock'], paths = ['out'] }]\n";
    repository.write("lock", "main");
    let main = repository.commit_tasks(tasks);
    let dispatcher = world.dispatcher(&["--keep-caches=1000B"]);
    let _observer = world.observer(&[&repository], &["--branch=main", "--branch=topic*"]);
    let _runner = world.runner("w1", &[]);
    world.expect(&main, "passed");
    repository.git(&["checkout", "--quiet", "-B", "topic"]);
    for lock in ["one", "two", "three"] {
        repository.write("lock", lock);
        world.expect(&repository.commit(lock), "passed");
    }
    let left: Vec<String> = listed(&world).iter().map(|cache| cache["ref"].as_str().unwrap().to_owned()).collect();
    assert_eq!(left, ["refs/heads/topic", "refs/heads/main"]);
    dispatcher.says("of app, topic (untrusted), for --keep-caches: 400 bytes");
}

/// A path below the home directory is the attempt's own: nothing that another task left there is saved, and nothing
/// that was restored stays there.
#[test]
fn a_cache_below_the_home_directory_is_apart_from_the_home_of_the_runner() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write("lock", "x");
    let commit = repository.commit_tasks(
        "[task.poison]\n\
         run = 'cd; mkdir -p .tool/cache .tool/bin; echo evil > .tool/cache/evil; echo ok > .tool/bin/tool'\n\
         [task.test]\nneeds = ['poison']\n\
         run = 'cd; ls .tool/cache; cat .tool/bin/tool; echo good > .tool/cache/good'\n\
         cache = [{ key = ['lock'], paths = ['~/.tool/cache'] }]\n",
    );
    let [_dispatcher, _observer, runner] = world.roles(&[&repository]);
    runner.says("its attempts are");
    let log = world.log_of(&world.expect(&commit, "passed"), "test");
    if !runner.log().contains("guarded by mounts") {
        assert!(log.contains("surveil: `~/.tool/cache` is not cached here: "), "{log}");
        return;
    }
    let body: Vec<&str> = log.lines().filter(|line| !line.starts_with("surveil: ")).collect();
    assert_eq!(body, ["ok"], "{log}");
    assert!(log.contains("surveil: saved cache ") && log.contains(": 1 entry, 5 bytes"), "{log}");
    let again = repository.commit("again");
    let log = world.log_of(&world.expect(&again, "passed"), "test");
    assert!(log.contains("surveil: restored cache ") && log.ends_with("\ngood\nok\n"), "{log}");
    let home = world.path("home/.tool/cache");
    assert_eq!(files(&home), [home.join("evil")]);
}
