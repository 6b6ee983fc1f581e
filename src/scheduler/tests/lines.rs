//! Stories of exclusive tasks: one at a time over all builds of a repository, in the order of the builds.

use super::*;

fn waiting(story: &Story, build: u64) -> Vec<JobStatus> {
    story.scheduler.explain(story.now, BuildId(build)).into_iter().map(|(_, status)| status).collect()
}

fn turn(first: FirstInLine) -> Vec<JobStatus> {
    vec![JobStatus::WaitsForTurn { waited_ms: 0, first }]
}

/// Three pushes, each with one deployment, and room for all of them.
fn three_deployments() -> Story {
    let mut story = Story::new();
    story.join(1, "w1", 4);
    for at in 1..=3 {
        story.observe("app", (at > 1).then(|| at - 1), at, vec![exclusive("deploy")]);
    }
    story
}

#[test]
fn deployments_of_three_commits_run_one_after_the_other_oldest_first() {
    let mut story = three_deployments();
    let runner = RunnerName::new("w1").unwrap();
    let attempt = FirstInLine::Attempt { build: BuildId(1), number: 1, runner, is_cancelled: false };
    assert_eq!(waiting(&story, 2), turn(attempt.clone()));
    assert_eq!(waiting(&story, 3), turn(attempt));
    assert_eq!(story.scheduler.counts(), JobCounts { queued: 2, leased: 1 });
    let passed = |n: u64, next: &[String]| {
        let ended = [format!("a{n} passed"), format!("j{n} passed"), format!("b{n} passed")];
        [&ended, &[format!("> s1 recorded a{n}")][..], next].concat()
    };
    let leased = |n: u64| [format!("j{n} leased to r1 as a{n} (number 1)"), format!("> s1 lease a{n}")];
    assert_eq!(story.finish(1, 1, Outcome::Passed), passed(1, &leased(2)));
    assert_eq!(story.finish(1, 2, Outcome::Passed), passed(2, &leased(3)));
    assert_eq!(story.finish(1, 3, Outcome::Passed), passed(3, &[]));
}

#[test]
fn other_tasks_and_other_repositories_are_not_held_up() {
    let mut story = three_deployments();
    let lines = story.observe("lib", None, 1, vec![exclusive("deploy"), exclusive("publish"), task("lint")]);
    assert_eq!(lines.iter().filter(|line| line.contains("leased")).count(), 3, "{lines:?}");
}

#[test]
fn a_newer_build_waits_while_an_older_one_still_waits_for_what_it_needs() {
    let mut story = Story::new();
    story.join(1, "w1", 4);
    let mut deploy = needing("deploy", &["test"]);
    deploy.recipe_mut().exclusive = true;
    story.observe("app", None, 1, vec![task("test"), deploy]);
    story.observe("app", Some(1), 2, vec![exclusive("deploy")]);
    assert_eq!(waiting(&story, 2), turn(FirstInLine::Job { build: BuildId(1) }));
    let lines = story.finish(1, 1, Outcome::Failed(1));
    assert_eq!(lines[1..4], ["j1 failed", "j2 skipped (need_not_passed)", "b1 failed"]);
    assert_eq!(lines.last().unwrap(), "> s1 lease a2", "the newer one is next");
}

#[test]
fn a_cancelled_deployment_holds_up_the_next_until_it_has_ended() {
    let mut story = three_deployments();
    assert_eq!(story.cancel(1), ["a1 cancelled", "> s1 cancel a1", "j1 cancelled", "b1 cancelled", "> done"]);
    let runner = RunnerName::new("w1").unwrap();
    let attempt = FirstInLine::Attempt { build: BuildId(1), number: 1, runner, is_cancelled: true };
    assert_eq!(waiting(&story, 2), turn(attempt));
    assert_eq!(story.cancel(2), ["j2 cancelled", "b2 cancelled", "> done"], "one that waits for its turn");
    let lines = story.finish(1, 1, Outcome::Cancelled);
    assert_eq!(lines, ["> s1 recorded a1", "j3 leased to r1 as a2 (number 1)", "> s1 lease a2"]);
}

#[test]
fn a_lost_runner_holds_up_the_next_deployment_until_it_has_ended_its_own() {
    let mut story = three_deployments();
    story.join(2, "w2", 1);
    story.close(1);
    for second in (2..60).step_by(2) {
        assert!(story.tick_until(second * 1_000).is_empty(), "{second}");
        story.ping(2, &[]);
    }
    let lines = story.tick_until(61_000);
    assert_eq!(lines[2..], ["j1 leased to r2 as a2 (number 2)", "> s2 lease a2"], "the oldest again");
}

#[test]
fn after_a_restart_a_cancelled_deployment_holds_up_the_line_until_it_has_ended_in_any_case() {
    let mut story = Story::new();
    let line = (RepoName::new("app").unwrap(), TaskName::new("deploy").unwrap());
    let restored = Snapshot { cancelled: [line].into(), ..Snapshot::default() };
    story.scheduler = Scheduler::restore(policy(), story.now, restored);
    story.join(1, "w1", 4);
    story.observe("app", None, 1, vec![exclusive("deploy"), exclusive("publish")]);
    assert_eq!(waiting(&story, 1)[0], turn(FirstInLine::Doubt { left_ms: 60_000 })[0]);
    assert!(matches!(waiting(&story, 1)[1], JobStatus::Running { .. }), "another task is not in doubt");
    for second in (2..60).step_by(2) {
        assert!(story.tick_until(second * 1_000).is_empty(), "{second}");
        story.ping(1, &[1]);
    }
    assert_eq!(story.tick_until(61_000), ["j1 leased to r1 as a2 (number 1)", "> s1 lease a2"]);
}
