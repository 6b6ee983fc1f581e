//! Stories of exclusive tasks and groups: as many at a time as they allow, over all builds of a repository, in the
//! order of the builds.

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
    story.nothing_for_a_minute(2, &[]);
    let lines = story.tick_until(61_000);
    assert_eq!(lines[2..], ["j1 leased to r2 as a2 (number 2)", "> s2 lease a2"], "the oldest again");
}

#[test]
fn after_a_restart_a_cancelled_deployment_holds_up_the_line_until_it_has_ended_in_any_case() {
    let mut story = Story::new();
    let line = Line::Task(RepoName::new("app").unwrap(), TaskName::new("deploy").unwrap());
    let restored = Snapshot { cancelled: [line].into(), ..Snapshot::default() };
    story.scheduler = Scheduler::restore(policy(), story.now, restored);
    story.join(1, "w1", 4);
    story.observe("app", None, 1, vec![exclusive("deploy"), exclusive("publish")]);
    assert_eq!(waiting(&story, 1)[0], turn(FirstInLine::Doubt { left_ms: 60_000 })[0]);
    assert!(matches!(waiting(&story, 1)[1], JobStatus::Running { .. }), "another task is not in doubt");
    story.nothing_for_a_minute(1, &[1]);
    assert_eq!(story.tick_until(61_000), ["j1 leased to r1 as a2 (number 1)", "> s1 lease a2"]);
}

/// A task of the group `staging`.
fn grouped(name: &str, limit: u32) -> TaskSpec {
    let mut task = task(name);
    task.set_group(Group { limit, ..Group::new(GroupName::new("staging").unwrap()) });
    task
}

/// The status of a job that waits for its group behind an attempt on w1.
fn behind(limit: u32, (task, build): (&str, u64), before: usize) -> JobStatus {
    let runner = RunnerName::new("w1").unwrap();
    let first = FirstInLine::Attempt { build: BuildId(build), number: 1, runner, is_cancelled: false };
    let (group, task) = (GroupName::new("staging").unwrap(), Some(TaskName::new(task).unwrap()));
    JobStatus::WaitsForGroup { waited_ms: 0, group, limit, task, first, before }
}

/// The leases among these lines.
fn leases(lines: &[String]) -> Vec<&str> {
    lines.iter().filter(|line| line.contains("leased")).map(|line| line.split(' ').next().unwrap()).collect()
}

#[test]
fn different_tasks_of_a_group_run_one_after_the_other_builds_first_then_the_order_of_the_file() {
    let mut story = Story::new();
    story.join(1, "w1", 9);
    let tasks = || vec![grouped("migrate", 1), grouped("deploy", 1), task("lint")];
    assert_eq!(leases(&story.observe("app", None, 1, tasks())), ["j1", "j3"]);
    assert_eq!(leases(&story.observe("app", Some(1), 2, tasks())), ["j6"]);
    assert_eq!(waiting(&story, 1)[1], behind(1, ("migrate", 1), 1));
    assert_eq!(waiting(&story, 2)[..2], [behind(1, ("migrate", 1), 2), behind(1, ("migrate", 1), 3)]);
    assert_eq!(leases(&story.observe("lib", None, 1, tasks())), ["j7", "j9"], "another repository has its own group");
    assert_eq!(leases(&story.finish(1, 1, Outcome::Passed)), ["j2"]);
    assert_eq!(leases(&story.finish(1, 6, Outcome::Passed)), ["j4"]);
    assert_eq!(leases(&story.finish(1, 7, Outcome::Passed)), ["j5"]);
}

#[test]
fn a_group_has_as_many_places_as_its_limit_and_they_go_to_the_first_jobs() {
    let mut story = Story::new();
    story.join(1, "w1", 9);
    assert_eq!(
        leases(&story.observe("app", None, 1, vec![grouped("a", 2), grouped("b", 2), grouped("c", 2)])),
        ["j1", "j2"]
    );
    story.observe("app", Some(1), 2, vec![grouped("a", 2)]);
    assert_eq!(waiting(&story, 1)[2], behind(2, ("a", 1), 2));
    assert_eq!(waiting(&story, 2), [behind(2, ("a", 1), 3)]);
    assert_eq!(leases(&story.finish(1, 2, Outcome::Passed)), ["j3"]);
    assert_eq!(leases(&story.finish(1, 1, Outcome::Passed)), ["j4"]);
}

#[test]
fn a_place_is_kept_for_a_job_of_an_older_build_that_waits_for_others_and_the_next_one_is_given() {
    let mut story = Story::new();
    story.join(1, "w1", 9);
    let mut deploy = needing("deploy", &["test"]);
    deploy.set_group(Group { limit: 2, ..Group::new(GroupName::new("staging").unwrap()) });
    story.observe("app", None, 1, vec![task("test"), deploy]);
    let lines = story.observe("app", Some(1), 2, vec![grouped("one", 2), grouped("two", 2)]);
    assert_eq!(leases(&lines), ["j3"], "one of two places is kept");
    assert_eq!(leases(&story.finish(1, 1, Outcome::Passed)), ["j2"]);
    assert_eq!(leases(&story.finish(1, 3, Outcome::Passed)), ["j4"]);
}

#[test]
fn tasks_of_a_group_that_need_one_another_do_not_wait_for_each_other() {
    let mut story = Story::new();
    story.join(1, "w1", 9);
    let mut first = needing("first", &["between"]);
    first.set_group(Group::new(GroupName::new("staging").unwrap()));
    let lines = story.observe("app", None, 1, vec![first, needing("between", &["last"]), grouped("last", 1)]);
    assert_eq!(leases(&lines), ["j3"]);
    assert_eq!(leases(&story.finish(1, 1, Outcome::Passed)), ["j2"]);
    assert_eq!(leases(&story.finish(1, 2, Outcome::Passed)), ["j1"]);
}

#[test]
fn a_task_with_a_smaller_limit_waits_until_no_more_run_than_it_allows_and_nobody_passes_it() {
    let mut story = Story::new();
    story.join(1, "w1", 9);
    story.observe("app", None, 1, vec![grouped("a", 3), grouped("b", 3)]);
    assert!(leases(&story.observe("app", Some(1), 2, vec![grouped("alone", 1)])).is_empty());
    assert!(leases(&story.observe("app", Some(2), 3, vec![grouped("c", 3)])).is_empty());
    assert!(leases(&story.finish(1, 1, Outcome::Passed)).is_empty());
    assert_eq!(leases(&story.finish(1, 2, Outcome::Passed)), ["j3"]);
    assert_eq!(waiting(&story, 3), [behind(3, ("alone", 2), 1)]);
    assert_eq!(leases(&story.finish(1, 3, Outcome::Passed)), ["j4"]);
}

#[test]
fn a_lost_or_failed_job_keeps_its_place_in_its_group_and_is_tried_again_before_later_ones() {
    let mut story = Story::new();
    story.join(1, "w1", 9);
    let retried = |name| {
        let mut task = grouped(name, 1);
        task.placement.retries = 1;
        task
    };
    story.observe("app", None, 1, vec![retried("a"), retried("b")]);
    story.observe("app", Some(1), 2, vec![retried("a")]);
    assert_eq!(leases(&story.finish(1, 1, Outcome::Failed(1))), ["j1"]);
    // The holder of the place is lost, and may still be executing until its lease is over.
    story.join(2, "w2", 9);
    story.close(1);
    story.nothing_for_a_minute(2, &[]);
    let lines = story.tick_until(61_000);
    assert_eq!(leases(&lines), ["j1"]);
    assert_eq!(lines.last().unwrap(), "> s2 lease a3");
}

#[test]
fn a_cancelled_job_keeps_its_place_in_its_group_until_it_has_ended() {
    let mut story = Story::new();
    story.join(1, "w1", 9);
    story.observe("app", None, 1, vec![grouped("a", 1)]);
    story.observe("app", Some(1), 2, vec![grouped("b", 1)]);
    assert!(leases(&story.cancel(1)).is_empty());
    assert!(matches!(&waiting(&story, 2)[0], JobStatus::WaitsForGroup { before: 1, .. }), "{:?}", waiting(&story, 2));
    assert_eq!(leases(&story.finish(1, 1, Outcome::Cancelled)), ["j2"]);
}

#[test]
fn an_exclusive_task_in_a_group_stands_in_both_lines() {
    let mut story = Story::new();
    story.join(1, "w1", 9);
    let both = || {
        let mut task = exclusive("deploy");
        task.set_group(Group { limit: 2, ..Group::new(GroupName::new("staging").unwrap()) });
        task
    };
    story.observe("app", None, 1, vec![both()]);
    let lines = story.observe("app", Some(1), 2, vec![both(), grouped("smoke", 2)]);
    assert!(leases(&lines).is_empty(), "the second place is kept for the first job of its line");
    assert!(matches!(waiting(&story, 2)[0], JobStatus::WaitsForTurn { .. }));
    assert_eq!(waiting(&story, 2)[1], behind(2, ("deploy", 1), 2));
    assert_eq!(leases(&story.finish(1, 1, Outcome::Passed)), ["j2", "j3"]);
}

#[test]
fn after_a_restart_the_jobs_of_a_group_have_their_places_again() {
    let job = |id: u64, state: JobState| Job {
        id: JobId(id),
        build: BuildId(id),
        task: Arc::new(grouped("deploy", 1)),
        state,
        attempts: 0,
        failures: 0,
        losses: 0,
    };
    let whole =
        |id, state, attempts| WholeBuild { build: stored_build(id, None), jobs: vec![job(id, state)], attempts };
    let restored = Snapshot {
        builds: vec![
            whole(1, JobState::Leased(AttemptId(1)), vec![stored_lease()]),
            whole(2, JobState::Queued, Vec::new()),
            whole(3, JobState::Queued, Vec::new()),
        ],
        runners: vec![Runner {
            id: RunnerId(1),
            name: RunnerName::new("w1").unwrap(),
            first_seen: WallTime(0),
            drain: None,
            ordered: None,
        }],
        last_build: 3,
        last_job: 3,
        last_attempt: 1,
        last_runner: 1,
        ..Snapshot::default()
    };
    let mut story = Story::new();
    story.scheduler = Scheduler::restore(policy(), story.now, restored);
    assert!(leases(&story.join_as(1, "w1", 1, 9, &[], &[1])).is_empty());
    assert_eq!(leases(&story.finish(1, 1, Outcome::Passed)), ["j2"]);
    assert_eq!(leases(&story.finish(1, 2, Outcome::Passed)), ["j3"]);
}
