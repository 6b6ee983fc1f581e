//! Questions of operators: status, show, why, logs.

use serde_json::Value;

use crate::harness::{World, job};

/// A build that has passed, of a task that printed this script's output.
fn passed<'a>(
    world: &'a World,
    script: &str,
) -> (crate::harness::Repository<'a>, String, [crate::harness::Process; 3]) {
    let repository = world.repository("app");
    let commit = repository.commit_script(script);
    let roles = world.roles(&[&repository]);
    world.expect(&commit, "passed");
    (repository, commit, roles)
}

#[test]
fn a_build_is_named_by_number_by_commit_or_as_the_latest() {
    let world = World::new();
    let (repository, first, _roles) = passed(&world, "echo first");
    let second = repository.commit_script("echo second");
    world.expect(&second, "passed");

    let log = |build: &str| world.surveil(&["logs", build]).ok();
    for name in ["1", "b1", "#1", &first[..7], &first[..4], &first, "b1/test", &format!("{}/test", &first[..10])] {
        assert_eq!(log(name), "first\n", "{name}");
    }
    for name in ["2", "latest", &second[..12], "latest/test"] {
        assert_eq!(log(name), "second\n", "{name}");
    }
}

#[test]
fn the_status_as_json_has_the_documented_fields() {
    let world = World::new();
    let (_repository, commit, _roles) = passed(&world, "echo hello");

    let printed = world.surveil(&["status", "--format", "json"]).ok();
    assert_eq!(printed.lines().count(), 1);
    let status: Value = serde_json::from_str(&printed).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let has = |value: &Value, names: &[&str]| {
        for name in names {
            assert!(value.get(name).is_some(), "no {name} in {value}, only {:?}", keys(value));
        }
    };
    has(&status, &["builds", "runners", "queued_jobs", "running_jobs", "warnings"]);
    let build = &status["builds"][0];
    has(build, &["build", "repo", "branch", "commit", "subject", "author", "state", "flaky", "created_ms", "jobs"]);
    assert_eq!(build["build"], 1);
    assert_eq!(build["commit"], *commit);
    assert_eq!(build["state"], "passed");
    assert!(build["finished_ms"].as_i64() >= build["created_ms"].as_i64());
    let job = &build["jobs"][0];
    has(job, &["job", "task", "state", "needs", "allow_failure", "flaky", "attempts"]);
    let attempt = &job["attempts"][0];
    has(attempt, &["attempt", "number", "runner", "leased_ms", "finished_ms", "duration_ms", "log_path"]);
    assert_eq!((&attempt["outcome"], &attempt["log_bytes"]), (&"passed".into(), &6.into()));
    let file = std::fs::read(attempt["log_path"].as_str().unwrap()).unwrap();
    assert_eq!(file, b"hello\n", "a log is a plain file");
    let execution = &attempt["execution"];
    has(execution, &["tier", "memory_bytes", "cpu_ms"]);
    assert!(execution["memory_bytes"].as_u64() > Some(100_000), "{execution}");
    has(&status["runners"][0], &["name", "state", "slots", "busy", "labels", "isolation", "silent_ms", "running"]);

    let one: Value = serde_json::from_str(&world.surveil(&["show", "1", "--format=json"]).ok()).unwrap();
    assert_eq!(&one, build);
}

#[test]
fn the_status_is_a_table_for_people() {
    let world = World::new();
    let (repository, commit, _roles) = passed(&world, "true");
    let red = repository.commit_script("exit 1");
    world.expect(&red, "failed");

    let table = world.surveil(&["status"]).ok();
    for part in ["b1", "b2", &commit[..7], "app", "main", "passed", "failed", "Change the tasks", "1 runner"] {
        assert!(table.contains(part), "no {part} in\n{table}");
    }
    let limited = world.surveil(&["status", "--limit=1", "--repo=app"]).ok();
    assert!(limited.contains(" b2 ") && !limited.contains(" b1 "), "{limited}");
}

#[test]
fn waiting_for_a_build_ends_with_its_verdict() {
    let world = World::new();
    let (gate, begun) = (world.gate("gate"), world.tally("begun"));
    let repository = world.repository("app");
    let commit = repository.commit_script(&format!("{}\n{}\nexit 3", begun.add("begun"), gate.wait()));
    let _roles = world.roles(&[&repository]);
    begun.reaches(1);

    let waiting = world.start("show --wait", &["show", "--wait", &commit[..8]]);
    gate.open();
    let (code, said) = waiting.finish();
    let shown = String::from_utf8(said.stdout).unwrap();
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("failed") && shown.contains("exit code 3"), "{shown}");
    assert!(shown.contains(&format!("surveil run --clean --commit {}", &commit[..12])), "how to reproduce it: {shown}");
    assert_eq!(world.surveil(&["show", "--wait", "1"]).code, 1, "also long after");

    let green = repository.commit_script("true");
    world.expect(&green, "passed");
    world.surveil(&["show", "--wait", "latest"]).ok();
}

#[test]
fn a_log_is_followed_while_it_is_written() {
    let world = World::new();
    let (first, second) = (world.gate("first"), world.gate("second"));
    let repository = world.repository("app");
    let script = format!("echo one\n{}\nprintf two\n{}\necho three", first.wait(), second.wait());
    let commit = repository.commit_script(&script);
    let _roles = world.roles(&[&repository]);
    world.build_that("is running", |build| build.commit == commit && build.state == "running");

    let follower = world.start("logs -f", &["logs", "-f", "latest"]);
    follower.says("one\n");
    first.open();
    follower.says("one\ntwo");
    second.open();
    let (code, said) = follower.finish();
    assert_eq!((code, String::from_utf8(said.stdout).unwrap().as_str()), (0, "one\ntwothree\n"));
    world.expect(&commit, "passed");
    assert_eq!(world.surveil(&["logs", "-f", "latest"]).ok(), "one\ntwothree\n", "also long after");
}

#[test]
fn a_log_is_given_from_any_offset() {
    let world = World::new();
    let (_repository, _, _roles) = passed(&world, "printf 0123456789");
    for (offset, rest) in [("0", "0123456789"), ("4", "456789"), ("9", "9"), ("10", "")] {
        assert_eq!(world.surveil(&["logs", "latest", "--offset", offset]).ok(), rest);
    }
}

#[test]
fn a_log_is_passed_on_as_the_bytes_it_is() {
    let world = World::new();
    let (_repository, _, _roles) = passed(&world, r"printf 'a\000\377\376\r\033[31mred\033[0m\nno line feed'");
    let done = world.surveil(&["logs", "latest"]);
    assert_eq!(done.stdout, b"a\0\xff\xfe\r\x1b[31mred\x1b[0m\nno line feed");
}

#[test]
fn a_long_log_arrives_whole() {
    let world = World::new();
    let tee = world.path("tee");
    let script = format!("seq 1 200000 | tee {}", tee.display());
    let (_repository, _, _roles) = passed(&world, &script);
    let (log, written) = (world.surveil(&["logs", "latest"]).stdout, std::fs::read(tee).unwrap());
    assert_eq!(log.len(), written.len());
    assert!(log == written, "every byte is the one that was written");
}

#[test]
fn a_log_over_its_limit_keeps_its_head_and_its_tail() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("seq 1 100000");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--log-limit=64KiB"]);

    let build = world.expect(&commit, "passed");
    let log = world.log_of(&build, "test");
    assert!(log.starts_with("1\n2\n3\n") && log.ends_with("99999\n100000\n"), "head and tail are there");
    assert!(log.len() < 80 * 1024, "{} bytes", log.len());
    let told = world.surveil(&["logs", "latest"]).stderr;
    assert!(told.contains("missing"), "{told}");
}

#[test]
fn why_tells_what_is_waited_for_and_what_was_decided() {
    let world = World::new();
    let (gate, begun) = (world.gate("gate"), world.tally("begun"));
    let repository = world.repository("app");
    let commit = repository.commit_tasks(&format!(
        "[task.build]\nrun = '''{}\n{}'''\n[task.test]\nneeds = ['build']\nrun = 'exit 1'\n",
        begun.add("begun"),
        gate.wait()
    ));
    let _roles = world.roles(&[&repository]);
    begun.reaches(1);

    let why = world.surveil(&["why", "latest"]).ok();
    assert!(why.contains("b1/build: attempt 1 runs on w1"), "{why}");
    assert!(why.contains("b1/test: waits for what it needs: build"), "{why}");
    gate.open();
    let build = world.expect(&commit, "failed");
    let why = world.surveil(&["why", "b1/test"]).ok();
    assert!(why.contains("attempt 1 went to w1") && why.contains("exit code 1"), "{why}");
    assert!(!why.contains("b1/build"), "only what was asked for: {why}");
    assert!(!why.contains("now "), "it waits for nothing any more: {why}");

    let report: Value = serde_json::from_str(&world.surveil(&["why", "1", "--format=json"]).ok()).unwrap();
    assert_eq!(report["build"], build.build);
    assert!(report["history"].as_array().unwrap().len() >= 4, "{report}");
}

#[test]
fn attempts_keep_their_numbers_and_their_order() {
    let world = World::new();
    let repository = world.repository("app");
    let commit =
        repository.commit_tasks("[task.test]\nretries = 2\nrun = 'echo $SURVEIL_ATTEMPT; test $SURVEIL_ATTEMPT = 3'\n");
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "passed");
    let numbers: Vec<u32> = job(&build, "test").attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    for number in ["1", "2", "3"] {
        assert_eq!(world.surveil(&["logs", "1", "test", "--attempt", number]).ok(), format!("{number}\n"));
    }
}
