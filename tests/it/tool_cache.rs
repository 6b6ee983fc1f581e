//! The tier of the tool cache that all runners share: what one runner stored, another one gets from the dispatcher.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::happy_path::tool_cache::{COMPILES, counts, has_ccache, runner_that_tasks_see};
use crate::harness::World;

/// A request of Go's to its helper.
enum Go {
    Get(u8),
    /// The action gets this byte as its content.
    Put(u8, u8),
}

/// Encodes one byte in base64.
fn base64(byte: u8) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |at: u8| char::from(DIGITS[usize::from(at)]);
    format!("{}{}==", digit(byte >> 2), digit((byte & 3) << 4))
}

/// A script that says this to Go's helper, and prints the answers and what it got.
fn say(requests: &[Go]) -> String {
    let mut lines = Vec::new();
    for (at, request) in requests.iter().enumerate() {
        let id = at + 1;
        match request {
            Go::Get(action) => {
                lines.push(format!(r#"{{"ID":{id},"Command":"get","ActionID":"{}"}}"#, base64(*action)));
            }
            Go::Put(action, content) => {
                let action = base64(*action);
                let put =
                    format!(r#"{{"ID":{id},"Command":"put","ActionID":"{action}","OutputID":"/w==","BodySize":1}}"#);
                lines.extend([put, format!("\"{}\"", base64(*content))]);
            }
        }
    }
    lines.push(format!(r#"{{"ID":{},"Command":"close"}}"#, requests.len() + 1));
    let words: Vec<String> = lines.iter().map(|line| format!("'{line}'")).collect();
    let read = r#"for f in "$TMPDIR"/surveil-go-cache/*-d; do echo "${f##*/} $(cat $f)"; done"#;
    format!("printf '%s\\n' {} | $GOCACHEPROG\n{read}", words.join(" "))
}

fn task(script: &str) -> String {
    format!("[task.test]\ntool_cache = true\nrun = '''\n{script}\n'''\n")
}

/// The line of a log about the tool cache.
#[track_caller]
fn summary(log: &str) -> &str {
    log.lines().find(|line| line.starts_with("surveil: tool cache: ")).unwrap_or_else(|| panic!("{log}"))
}

/// The report of `surveil cache list`.
fn listed(world: &World, more: &[&str]) -> Value {
    serde_json::from_str(&world.surveil(&[&["cache", "list", "--json"], more].concat()).ok()).unwrap()
}

/// The files of the dispatcher's entries.
fn entries(world: &World) -> Vec<PathBuf> {
    let list = |directory: &Path| {
        fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let directories = list(&world.data().join("tool-cache"));
    directories.iter().filter(|path| !path.ends_with("new")).flat_map(|path| list(path)).collect()
}

#[test]
fn what_ccache_compiled_on_one_runner_is_there_for_another_one() {
    if !has_ccache() {
        return;
    }
    let world = World::new();
    let repository = world.repository("app");
    for name in ["a", "b", "c"] {
        repository.write(&format!("{name}.c"), &format!("int {name}(void) {{ return 1; }}\n"));
    }
    let first = repository.commit_tasks(COMPILES);
    let [dispatcher, _observer, runner] = world.roles(&[&repository]);
    let log = world.log_of(&world.expect(&first, "passed"), "build");
    assert!(!summary(&log).contains("not sent"), "{log}");
    runner.kill();

    let hits = ["remote_storage_error=0", "remote_storage_hit=3", "remote_storage_miss=0", "remote_storage_timeout=0"];
    let runner = world.runner("w2", &[]);
    let log = world.log_of(&world.expect(&repository.commit("again"), "passed"), "build");
    assert_eq!(counts(&log), hits, "{log}");
    assert!(summary(&log).contains(" of them from the dispatcher, 0 stored (0 bytes)"), "{log}");

    // What came is on the runner's disk, and what the dispatcher has is durable.
    let log = world.log_of(&world.expect(&repository.commit("once more"), "passed"), "build");
    assert_eq!(counts(&log), hits, "{log}");
    assert!(!summary(&log).contains("from the dispatcher"), "{log}");
    runner.kill();
    let stored = listed(&world, &[])["tools"][0]["entries"].as_u64().unwrap();
    assert!(stored >= 6, "a manifest and a result for each file: {stored}");
    dispatcher.kill();
    let _dispatcher = world.dispatcher(&[]);
    let _runner = world.runner("w3", &[]);
    let log = world.log_of(&world.expect(&repository.commit("after a crash"), "passed"), "build");
    assert_eq!(counts(&log), hits, "{log}");
    assert!(summary(&log).contains("from the dispatcher"), "{log}");

    // People see them together, and one by one if they ask.
    let list = world.surveil(&["cache", "list"]).ok();
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["TOOL", "REPO", "REF", "ENTRIES", "SIZE", "USED"], "{list}");
    assert_eq!(rows[1][..4], ["ccache", "app", "main", &stored.to_string()], "{list}");
    assert!(rows.len() == 3 && list.contains("20 GiB in all (--keep-caches)"), "{list}");
    let one = world.surveil(&["cache", "list", "--tool", "ccache", "--limit", "2"]).ok();
    let rest = format!("\n2 of {stored} entries, the most recently used ones: --limit shows more\n");
    assert!(one.contains(&rest), "{one}");
    let report = listed(&world, &["--tool", "ccache"]);
    let entry = &report["entries"][0];
    let key = entry["key"].as_str().unwrap();
    let why = world.surveil(&["cache", "why", &key[..12]]).ok();
    assert!(why.contains("by b1/build, attempt 1 (a1)"), "{why}");
    assert!(why.contains(&format!("{}, as ccache calls it", entry["name"].as_str().unwrap())), "{why}");
    assert!(why.contains("builds of branch main, and every build if that is the default branch"), "{why}");
    let bytes = entry["bytes"].as_u64().unwrap();
    let removed = world.surveil(&["cache", "rm", key]).ok();
    assert_eq!(removed, format!("removed 1 entry of the tool cache of {bytes} bytes\n"));
    assert!(world.surveil(&["cache", "why", key]).error(6).contains("there is no cache with a key that begins with"));
    let removed = world.surveil(&["cache", "rm", "--repo=app", "--tool=ccache"]).ok();
    assert!(removed.starts_with(&format!("removed {} entries of the tool cache of ", stored - 1)), "{removed}");
    assert_eq!(entries(&world), [] as [PathBuf; 0]);
    assert!(world.surveil(&["cache", "list"]).ok().starts_with("there are no caches: "));
}

/// S46: the dispatcher decides by the trust of the build, on whatever runner it is executed.
#[test]
fn no_trusted_build_gets_what_an_untrusted_one_stored_on_another_runner() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_tasks("[task.test]\nrun = 'true'\n");
    let _roles = (world.dispatcher(&[]), world.observer(&[&repository], &["--branch=*"]));
    let runner = runner_that_tasks_see(&world, "w1");
    world.expect(&first, "passed");
    repository.git(&["switch", "--quiet", "--create", "topic"]);
    let evil = repository.commit_tasks(&task(&say(&[Go::Put(1, b'e')])));
    let log = world.log_of(&world.expect(&evil, "passed"), "test");
    assert!(summary(&log).contains("1 stored") && !log.contains("not sent"), "{log}");
    runner.kill();

    let runner = runner_that_tasks_see(&world, "w2");
    repository.git(&["switch", "--quiet", "main"]);
    let good = repository.commit_tasks(&task(&say(&[Go::Get(1), Go::Put(2, b'm')])));
    let log = world.log_of(&world.expect(&good, "passed"), "test");
    assert!(log.contains(r#"{"ID":1,"Miss":true}"#), "{log}");
    runner.kill();

    let _runner = runner_that_tasks_see(&world, "w3");
    repository.git(&["switch", "--quiet", "topic"]);
    let topic = repository.commit_tasks(&task(&say(&[Go::Get(1), Go::Get(2)])));
    let log = world.log_of(&world.expect(&topic, "passed"), "test");
    assert!(log.contains("01-d e\n") && log.contains("02-d m\n"), "{log}");
    assert!(summary(&log).contains("2 of 2 reads hit, 2 of them from the dispatcher"), "{log}");
    let report = listed(&world, &[]);
    let of = |at: usize| (report["tools"][at]["ref"].as_str(), report["tools"][at]["trusted"].as_bool());
    assert_eq!([of(0), of(1)], [(Some("refs/heads/main"), Some(true)), (Some("refs/heads/topic"), Some(false))]);
}

/// A dispatcher that is there and answers nothing: each look-up is a miss, and the task goes on.
#[test]
fn a_frozen_dispatcher_is_a_miss_and_keeps_no_build_waiting() {
    let world = World::new();
    let repository = world.repository("app");
    let (started, frozen, asked) = (world.tally("started"), world.gate("frozen"), world.tally("asked"));
    // More look-ups than would end within the patience of this test if each waited.
    let gets: Vec<Go> = (1..=60).map(Go::Get).collect();
    let script = [started.add("yes"), frozen.wait(), say(&gets), asked.add("all")].join("\n");
    let commit = repository.commit_tasks(&task(&script));
    // The session outlives the freeze, so that nothing but the look-ups' own limit ends them.
    let dispatcher = world.dispatcher(&["--heartbeat-timeout=10m"]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = runner_that_tasks_see(&world, "w1");
    started.reaches(1);
    dispatcher.signal(Signal::STOP);
    frozen.open();
    asked.reaches(1);
    dispatcher.signal(Signal::CONT);
    let log = world.log_of(&world.expect(&commit, "passed"), "test");
    assert_eq!(log.matches(r#""Miss":true"#).count(), 60, "{log}");
    assert!(summary(&log).starts_with("surveil: tool cache: 0 of 60 reads hit, 0 stored"), "{log}");
}

/// S43: bytes that rotted at the dispatcher are a miss, and the next one who stores them makes them good.
#[test]
fn an_entry_that_rotted_at_the_dispatcher_is_never_delivered() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_tasks(&task(&say(&[Go::Put(1, b'a')])));
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let runner = runner_that_tasks_see(&world, "w1");
    world.expect(&first, "passed");
    runner.kill();
    let files = entries(&world);
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let mut bytes = fs::read(file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(file, bytes).unwrap();

    let runner = runner_that_tasks_see(&world, "w2");
    let again = repository.commit_tasks(&task(&say(&[Go::Get(1), Go::Put(1, b'a')])));
    let log = world.log_of(&world.expect(&again, "passed"), "test");
    assert!(log.contains(r#"{"ID":1,"Miss":true}"#), "{log}");
    dispatcher.says("of the tool cache is removed: its file is damaged or gone");
    runner.kill();
    let _runner = runner_that_tasks_see(&world, "w3");
    let last = repository.commit_tasks(&task(&(say(&[Go::Get(1)]) + "\n# again")));
    let log = world.log_of(&world.expect(&last, "passed"), "test");
    assert!(log.contains("01-d a\n"), "{log}");
}

/// Entries count towards the room of all caches, and the least recently used ones go.
#[test]
fn entries_of_tools_have_a_total_size() {
    let world = World::new();
    let repository = world.repository("app");
    let puts: Vec<Go> = (1..=60).map(|action| Go::Put(action, b'a')).collect();
    let commit = repository.commit_tasks(&task(&say(&puts)));
    let dispatcher = world.dispatcher(&["--keep-caches=120B"]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = runner_that_tasks_see(&world, "w1");
    world.expect(&commit, "passed");
    let report = listed(&world, &["--tool=go"]);
    let (bytes, count) = (&report["tools"][0]["bytes"], &report["tools"][0]["entries"]);
    assert!((1..=120).contains(&bytes.as_u64().unwrap()), "{report}");
    dispatcher.says(" entries of the tool cache for --keep-caches: ");
    assert_eq!(entries(&world).len() as u64, count.as_u64().unwrap());
}
