//! Losses: when the runner is to blame, and when the job.

use crate::harness::{World, job, until};

/// Tried without quarantine: `w1` never leaves the state `resting`.
#[test]
fn a_runner_that_fails_with_different_commits_is_put_in_quarantine_and_says_why() {
    let world = World::new();
    let repositories = ["app", "lib"].map(|name| world.repository(name));
    let commits = ["app", "lib"].map(|name| {
        let repository = repositories.iter().find(|repository| repository.path.ends_with(name)).unwrap();
        repository.write("name", name);
        repository.commit_tasks("[task.test]\nrun = 'true'\n")
    });
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&repositories.each_ref(), &[]);
    // More than the disk has.
    let full = ["runner", "--name=w1", "--slots=1", "--min-free=1000000GiB"];
    let _full = world.start("w1", &full);
    world.runner_that("w1", |runner| runner.state == "quarantined");

    let runners = world.surveil(&["runners"]).ok();
    assert!(runners.contains("w1 is in quarantine for"), "{runners}");
    assert!(runners.contains("failures in a row with different commits, the last: free disk space"), "{runners}");
    dispatcher.says("runner w1 is in quarantine for");
    let why = world.surveil(&["why", "latest"]).ok();
    assert!(why.contains("w1 is in quarantine for"), "{why}");

    let _good = world.runner("w2", &[]);
    for commit in commits {
        let build = world.expect(&commit, "passed");
        assert_eq!(job(&build, "test").attempts.last().unwrap().runner, "w2", "{build:#?}");
    }
}

/// L1: a job that kills its runner each time is given up, even if there is only one runner. Tried with losses that
/// never count: it is leased for the fourth time.
#[test]
fn a_job_that_takes_the_only_runner_down_each_time_is_given_up() {
    let world = World::new();
    let repository = world.repository("app");
    let begun = world.tally("begun");
    let commit = repository.commit_script(&format!("{}\necho waiting\nexec sleep 1000", begun.add("begun")));
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    for number in 1..=3 {
        let runner = world.runner("w1", &[]);
        begun.reaches(number);
        let number = number.to_string();
        // A loss counts only if the dispatcher has heard that the task began.
        until("the start is known", || world.surveil(&["logs", "latest", "--attempt", &number]).stdout == b"waiting\n");
        runner.kill();
    }
    let build = world.expect(&commit, "errored");
    let detail = job(&build, "test").detail.as_deref().unwrap();
    assert!(detail.starts_with("given up after 3 lost attempts: w1 ("), "{detail}");
}
