//! Old builds are removed with their logs and sources, artifacts before them, and nothing else is.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use crate::harness::{Process, Repository, World, job, until};

/// The number of builds that are kept even if they exceed the limits.
const ALWAYS_KEPT: usize = 10;

fn roles(world: &World, repository: &Repository, more: &[&str]) -> [Process; 3] {
    [world.dispatcher(more), world.observer(&[repository], &[]), world.runner("w1", &[])]
}

/// Builds with a log each, in order.
fn builds(world: &World, repository: &Repository, count: usize) -> Vec<String> {
    let script = |number: usize| format!("echo {number}");
    (0..count).map(|number| world.expect(&repository.commit_script(&script(number)), "passed").commit).collect()
}

/// Sabotage: with the newest of a branch not kept, the head's build goes too and is missed below.
#[test]
fn what_is_beyond_the_limits_goes_with_its_logs_and_says_so() {
    let world = World::new();
    let repository = world.repository("app");
    let gate = world.gate("gate");
    let [dispatcher, observer, _runner] = roles(&world, &repository, &[]);
    let commits = builds(&world, &repository, ALWAYS_KEPT + 3);
    // An unfinished build, which is not counted.
    let held = repository.commit_script(&gate.wait());
    world.build_that("runs", |build| build.commit == held && build.state == "running");
    let logs = world.data().join("logs/app");
    assert_eq!(fs::read_dir(&logs).unwrap().count(), ALWAYS_KEPT + 3);
    // The state after a crash between the records and the files.
    fs::create_dir(logs.join("b777")).unwrap();
    fs::write(logs.join("b777/test.1.log"), "left").unwrap();
    dispatcher.kill();

    let dispatcher = world.dispatcher(&["--keep-builds=1"]);
    dispatcher.says("removed 3 builds of app, b1 to b3, beyond the newest of --keep-builds: 6 bytes of logs freed");
    dispatcher.says("deleted the logs of 1 builds");
    let left: Vec<u64> = world.builds().iter().map(|build| build.build).collect();
    assert_eq!(left, (4..=14).collect::<Vec<u64>>());
    assert_eq!(fs::read_dir(&logs).unwrap().count(), ALWAYS_KEPT);
    for command in ["show", "why", "logs"] {
        let gone = world.surveil(&[command, "b2"]).error(6);
        assert!(gone.contains("was removed today") && gone.contains("--keep-builds"), "{gone}");
    }
    let never = world.surveil(&["show", "b99"]).error(6);
    assert!(never.contains("no build"), "{never}");
    assert_eq!(world.surveil(&["logs", &commits[3]]).ok(), "3\n");
    gate.open();
    world.expect(&held, "passed");
    // Numbers go on, and the branch's head is still known.
    assert_eq!(world.expect(&repository.commit_script("true"), "passed").build, 15);
    assert_eq!(job(&world.finished(&held), "test").attempts.len(), 1);
    observer.says("b15 app main");
}

#[test]
fn builds_go_by_age_and_by_the_size_of_their_logs() {
    let world = World::new();
    let repository = world.repository("app");
    let [dispatcher, _observer, _runner] = roles(&world, &repository, &[]);
    builds(&world, &repository, ALWAYS_KEPT + 2);
    dispatcher.kill();
    // Each build has printed two bytes, or three.
    let dispatcher = world.dispatcher(&["--keep-logs=25B"]);
    dispatcher.says("removed 1 build of app, b1, too much for --keep-logs: 2 bytes of logs freed");
    dispatcher.kill();
    let dispatcher = world.dispatcher(&["--keep-for=1ms"]);
    dispatcher.says("removed 1 build of app, b2, too old for --keep-for: 2 bytes of logs freed");
    dispatcher.kill();
    // The remaining builds are always kept, and a command says so.
    let _dispatcher = world.dispatcher(&["--keep-logs=5B", "--keep-for=never", "--keep-builds=0"]);
    until("status tells of it", || world.status().warnings.iter().any(|text| text.contains("--keep-logs")));
    assert_eq!(world.builds().len(), ALWAYS_KEPT);
}

/// S44: an artifact stays as it is until retention removes it, and the log and the command say when and why.
#[test]
fn artifacts_go_before_their_builds_and_those_of_the_newest_passed_build_last() {
    let world = World::new();
    let repository = world.repository("app");
    let [dispatcher, observer, runner] = roles(&world, &repository, &[]);
    dispatcher
        .says("artifacts are kept for 90 days, of the newest 500 builds of each repository, up to 50 GiB in all;");
    let leaves = |word: &str, end: &str| {
        let artifacts = "['out', { name = 'short', paths = ['short'], on = 'always', keep_for = '1ms' }]";
        let script = format!("echo {word} > out; echo {word} > short; {end}");
        repository.commit_tasks(&format!("[task.build]\nrun = '{script}'\nartifacts = {artifacts}\n"))
    };
    world.expect(&leaves("first", "true"), "passed");
    world.expect(&leaves("second", "true"), "passed");
    world.expect(&leaves("third", "false"), "failed");
    dispatcher.kill();

    let dispatcher = world.dispatcher(&["--keep-artifacts-for=1ms"]);
    dispatcher.says("removed 3 artifacts of app, of b1 to b3, older than its keep_for");
    dispatcher.says("removed 1 artifact of app, of b1, too old for --keep-artifacts-for");
    let listed = world.surveil(&["artifacts", "b1"]).ok();
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines[0], "build b1 has no artifacts any more");
    assert!(lines[1].starts_with("artifact `files` of task build was removed "), "{listed}");
    assert!(lines[1].ends_with(": it was too old for --keep-artifacts-for"), "{listed}");
    assert!(lines[2].ends_with(": it was older than its keep_for"), "{listed}");
    let gone = world.surveil(&["artifacts", "get", "b1", "build", "out"]).error(6);
    assert!(gone.contains("it was too old for --keep-artifacts-for"), "{gone}");
    let json: serde_json::Value = serde_json::from_str(&world.surveil(&["artifacts", "b2", "--json"]).ok()).unwrap();
    assert_eq!((&json["artifacts"][0]["name"], &json["removed"][0]["name"]), (&"files".into(), &"short".into()));
    assert_eq!(json["removed"][0]["reason_code"], "keep_for");
    dispatcher.kill();

    // Blobs that were not used for a day go; those of the artifact that is left stay.
    let blobs = world.data().join("blobs");
    let mut count = 0;
    for directory in fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path()) {
        for blob in fs::read_dir(directory).unwrap() {
            let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
            File::options().append(true).open(blob.unwrap().path()).unwrap().set_modified(long_ago).unwrap();
            count += 1;
        }
    }
    // Three files, and the manifests of three builds: two of each of the first two, and one of the third.
    assert_eq!(count, 3 + 5);
    let dispatcher = world.dispatcher(&["--keep-artifacts-for=1ms"]);
    dispatcher.says("removed 6 blobs that no artifact and no cache has any more");
    let left = world.surveil(&["artifacts", "get", "b2", "build", "out"]);
    assert_eq!((left.code, &*left.stdout), (0, &b"second\n"[..]));
    assert!(left.stderr.contains("artifact `short` of task build was removed"), "{}", left.stderr);
    dispatcher.kill();

    let dispatcher = world.dispatcher(&["--keep-artifacts=1B", "--keep-artifact-builds=never"]);
    dispatcher.says("removed 1 artifact of app, of b2, too much for --keep-artifacts");
    assert!(world.surveil(&["artifacts", "b2"]).ok().contains("it was too much for --keep-artifacts"));
    // The builds themselves are all there.
    assert_eq!(world.builds().len(), 3);
    drop((observer, runner));
}
