//! What is told of builds and tasks is true: outcomes, durations, counts.

use crate::harness::{World, job, text, until};

#[test]
fn a_task_that_ran_out_of_time_is_told_so_everywhere() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks("[task.slow]\ntimeout = '300ms'\nrun = 'sleep 1000'\n");
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "failed");
    assert_eq!(job(&build, "slow").state, "failed", "programs read the outcome of the attempt");

    let shown = world.surveil(&["show", "1"]).ok();
    assert!(shown.contains("  timed out  slow"), "{shown}");
    assert!(shown.contains("attempt 1: timed out after 3"), "{shown}");
    let why = world.surveil(&["why", "1"]).ok();
    assert!(why.contains("attempt 1 on w1: timed out") && !why.contains("timed_out"), "{why}");
    let logs = world.surveil(&["logs", "1"]);
    assert_eq!((logs.code, logs.stderr.as_str()), (0, "surveil: timed out\n"));
    let run = world.surveil(&["run", "--dir", text(&repository.path)]).with_code(1);
    assert!(run.contains("slow: timed out after 3"), "{run}");
    let up = world.surveil_in(&repository.path, &["up", "--once", "--rerun", "--port=0", "--data=../up-data"]);
    let up = up.with_code(1);
    assert!(up.contains("b1 slow: timed out after 3"), "{up}");
}

#[test]
fn a_log_that_ends_with_a_cancel_says_so_and_misses_nothing() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_script("echo begun\nexec sleep 1000");
    let _roles = world.roles(&[&repository]);
    until("the line is there", || world.surveil(&["logs", "1"]).stdout == b"begun\n");
    world.surveil(&["cancel", "1"]).ok();
    let logs = world.surveil(&["logs", "1"]);
    assert_eq!((logs.stdout, logs.stderr.as_str()), (b"begun\n".to_vec(), "surveil: cancelled\n"));
}

#[test]
fn a_rerun_is_measured_without_the_time_in_between() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _roles = world.roles(&[&repository]);
    let first = world.expect(&commit, "passed");
    world.surveil(&["rerun", "1"]).ok();
    let again = world
        .build_that("has run twice", |build| build.finished_ms.is_some() && job(build, "test").attempts.len() == 2);
    let rerun = again.rerun_ms.unwrap();
    assert_eq!((first.rerun_ms, again.created_ms), (None, first.created_ms));
    assert!(first.finished_ms.unwrap() <= rerun && rerun <= again.finished_ms.unwrap(), "{again:?}");
    assert!(job(&again, "test").attempts[1].leased_ms >= rerun);
}

#[test]
fn a_push_of_many_commits_is_counted_and_a_forced_one_is_not() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_script("true");
    let _roles = world.roles(&[&repository]);
    world.expect(&first, "passed");
    let mut stream = String::new();
    for number in 0..1200 {
        let from = if number == 0 { format!("from {first}\n") } else { String::new() };
        stream.push_str(&format!("commit refs/heads/main\ncommitter A <a@b.c> {number} +0000\ndata 1\nx\n{from}\n"));
    }
    repository.write("stream", &stream);
    let mut import = world.sealed("sh");
    import.current_dir(&repository.path).args(["-c", "git fast-import --quiet < stream"]);
    world.run(import).ok();
    let second = repository.head();
    world.expect(&second, "passed");
    let why = world.surveil(&["why", "2"]).ok();
    assert!(why.contains(&format!("from {} to {}, 1200 commits\n", &first[..7], &second[..7])), "{why}");

    let tree = format!("{first}^{{tree}}");
    let other = repository.git(&["commit-tree", &tree, "-p", &first, "-m", "another way"]);
    repository.git(&["update-ref", "refs/heads/main", &other]);
    world.expect(&other, "passed");
    let why = world.surveil(&["why", "3"]).ok();
    assert!(why.contains(&format!("from {} to {}\n", &second[..7], &other[..7])), "no count: {why}");
}

#[test]
fn a_repository_that_is_not_known_is_told_from_one_without_builds() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let error = world.surveil(&["status", "--repo", "nosuch"]).error(6);
    assert!(error.contains("no repository named nosuch is known: there is none yet"), "{error}");
    let repository = world.repository("app");
    let _observer = world.observer(&[&repository], &[]);
    let build = repository.commit_script("true");
    world.build_that("is there", |it| it.commit == build);
    let error = world.surveil(&["status", "--repo", "nosuch"]).error(6);
    assert!(error.contains("no repository named nosuch is known: there is only app"), "{error}");
    world.surveil(&["status", "--repo", "app"]).ok();
}

#[test]
fn a_build_is_watched_until_its_verdict() {
    let world = World::new();
    let (gate, begun) = (world.gate("gate"), world.tally("begun"));
    let repository = world.repository("app");
    repository.commit_script(&format!("{}\n{}\necho the reason; exit 3", begun.add("begun"), gate.wait()));
    let _roles = world.roles(&[&repository]);
    begun.reaches(1);
    let watch = world.start("watch", &["watch"]);
    watch.says("b1 test: running on w1\n");
    gate.open();
    let (code, said) = watch.finish();
    let shown = String::from_utf8(said.stdout).unwrap();
    assert_eq!(code, 1, "the exit code is the verdict: {shown}");
    for part in ["b1 test: failed (exit code 3) in ", "| the reason\n", "b1 failed in "] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
    assert_eq!(world.surveil(&["watch", "1"]).with_code(1), shown, "also long after");
    world.surveil(&["watch", "7"]).error(6);
}

#[test]
fn a_failure_is_shown_with_the_end_of_its_log() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("seq 1 30; printf '\\033[2Jlast'; exit 1");
    let _roles = world.roles(&[&repository]);
    world.expect(&commit, "failed");
    let shown = world.surveil(&["show", "1"]).ok();
    let (_, end) = shown.split_once("\nthe log of test ends with:\n").unwrap_or_else(|| panic!("{shown}"));
    let lines: Vec<&str> = end.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[9]), (10, "  | 22", "  | last"), "{shown}");
    assert_eq!(world.surveil(&["show", "1", "--format=json"]).ok().lines().count(), 1);
}

#[test]
fn a_follower_says_what_it_waits_for() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("echo at last");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    world.build_that("is queued", |build| build.commit == commit);
    let follower = world.start("logs -f", &["logs", "-f", "1"]);
    until("it says so", || follower.log().contains("b1/test: queued for "));
    let _runner = world.runner("w1", &[]);
    let (code, said) = follower.finish();
    assert_eq!((code, said.stdout.as_slice()), (0, &b"at last\n"[..]));
    let notes = String::from_utf8(said.stderr).unwrap();
    assert!(notes.contains("no runner is connected"), "{notes}");
}

#[test]
fn help_is_short_or_long_and_does_not_change_with_the_environment() {
    let world = World::new();
    let short = world.surveil(&["status", "-h"]).ok();
    let long = world.surveil(&["status", "--help"]).ok();
    assert!(!short.contains("Examples:") && long.contains("Examples:"), "{short}\n{long}");
    assert_eq!(world.surveil(&["help", "status"]).ok(), long);
    assert_eq!(world.surveil(&["help"]).ok(), world.surveil(&["--help"]).ok());
    for shown in [&["help"][..], &["completions", "bash"], &["completions", "zsh"]] {
        assert!(!world.surveil(shown).ok().contains("supervise"), "{shown:?}");
    }
    let unknown = world.surveil(&["supervize"]).error(2);
    assert!(!unknown.contains("supervise"), "{unknown}");

    let mut plain = world.sealed(env!("CARGO_BIN_EXE_surveil"));
    plain.args(["status", "--limit", "many"]);
    let plain = world.run(plain).error(2);
    let mut set = world.sealed(env!("CARGO_BIN_EXE_surveil"));
    set.args(["status", "--limit", "many"]).env("SURVEIL_DISPATCH", "h:1").env("SURVEIL_DATA", "/d");
    assert_eq!(world.run(set).error(2), plain);
    let mut usage = world.sealed(env!("CARGO_BIN_EXE_surveil"));
    usage.args(["status", "more"]).env("SURVEIL_DISPATCH", "h:1");
    let usage = world.run(usage).error(2);
    assert!(usage.contains("Usage: surveil status [OPTIONS]\n"), "{usage}");
}

#[test]
fn json_has_a_short_flag_and_times_have_a_zone() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _roles = world.roles(&[&repository]);
    world.expect(&commit, "passed");
    let strict = |arguments: &[&str]| world.surveil(arguments).ok();
    for command in [&["show", "1"][..], &["why", "1"]] {
        let long = [command, &["--format=json"]].concat();
        assert_eq!(strict(&[command, &["--json"]].concat()), strict(&long));
    }
    for command in ["status", "runners"] {
        assert!(strict(&[command, "--json"]).starts_with('{'), "{command}");
    }
    let mut tokyo = world.command(&["why", "1"]);
    tokyo.env("TZ", "Asia/Tokyo");
    let why = world.run(tokyo).ok();
    let history = why.strip_suffix("b1 is trusted\n").unwrap();
    assert!(history.lines().all(|line| line.get(19..22) == Some("Z  ")), "{why}");
    assert_eq!(why, strict(&["why", "1"]), "the same zone everywhere");
}
