//! B3, S18: a task that prints as fast as it can, and a file that is larger than what a role may take of memory.

use std::fs;

use crate::harness::{World, job, text};

/// Sabotage tried: a log limit that is not kept; the log is as long as the output.
#[test]
fn a_flooding_task_costs_little_memory_and_delays_no_heartbeat() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("yes 'all work and no play' | head -c 400000000; echo the end");
    let dispatcher = world.dispatcher(&["--heartbeat-interval=500ms", "--heartbeat-timeout=5s"]);
    let _observer = world.observer(&[&repository], &[]);
    let runner = world.runner("w1", &["--log-limit=4MiB"]);
    let build = world.expect(&commit, "passed");
    let attempts = &job(&build, "test").attempts;
    assert_eq!(attempts.len(), 1, "{attempts:#?}");
    assert!(attempts[0].log_bytes < 5 << 20, "{attempts:#?}");
    let log = world.log_of(&build, "test");
    assert!(log.starts_with("all work") && log.ends_with("the end\n"));
    for process in [&dispatcher, &runner] {
        assert!(process.peak_mib() < 100, "{} MiB", process.peak_mib());
    }
}

/// Sabotage tried: no object is large (`LARGE_BYTES` is 1 GiB); each role holds the file once, or twice.
#[test]
fn a_large_file_is_never_held_in_memory() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_script("wc -c < data.bin");
    let (dispatcher, observer) = (world.dispatcher(&[]), world.observer(&[&repository], &[]));
    let runner = world.runner("w1", &[]);
    world.expect(&first, "failed");
    fs::File::create(repository.path.join("data.bin")).unwrap().set_len(200 << 20).unwrap();
    let build = world.expect(&repository.commit("a large file"), "passed");
    assert_eq!(world.log_of(&build, "test"), format!("{}\n", 200 << 20));
    for process in [&dispatcher, &observer, &runner] {
        assert!(process.peak_mib() < 100, "{} MiB", process.peak_mib());
    }
}

/// The SHA-256 of 200 MiB of zeros.
const ZEROS: &str = "72abf2ca8f36943ebe2e49ca3a51d409ca5f0bfcffab6c9d25643c17c32889da";

/// Like a large file, in each role and in a local run. The limit of the local run is that of memory of its own, in
/// which the mapped pages of a pack do not count.
///
/// Sabotage tried: no object is large (`LARGE_BYTES` is 1 GiB).
#[test]
fn a_large_object_in_git_lfs_is_never_held_in_memory() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write(".gitattributes", "*.bin filter=lfs -text\n");
    let bytes = 200 << 20;
    repository
        .write("a.bin", &format!("version https://git-lfs.github.com/spec/v1\noid sha256:{ZEROS}\nsize {bytes}\n"));
    let object = format!(".git/lfs/objects/{}/{}/{ZEROS}", &ZEROS[..2], &ZEROS[2..4]);
    repository.write(&object, "");
    fs::File::options().write(true).open(repository.path.join(&object)).unwrap().set_len(bytes).unwrap();
    let (dispatcher, observer) = (world.dispatcher(&[]), world.observer(&[&repository], &[]));
    let runner = world.runner("w1", &[]);
    let build = world.expect(&repository.commit_tasks("[task.test]\nlfs = true\nrun = 'wc -c < a.bin'\n"), "passed");
    assert_eq!(world.log_of(&build, "test"), format!("{bytes}\n"));
    for process in [&dispatcher, &observer, &runner] {
        assert!(process.peak_mib() < 100, "{} MiB", process.peak_mib());
    }
    let run = world.command(&["run", "--clean", "--dir", text(&repository.path)]);
    let said = world.run(world.limited("ulimit -d 100000", &run)).ok();
    assert!(said.contains(&format!("\n{bytes}\n")), "{said}");
}
