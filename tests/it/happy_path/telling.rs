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
