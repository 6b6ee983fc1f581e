//! Groups of tasks: one job at a time over the builds of a repository, in their order.

use crate::harness::{World, job};

#[test]
fn two_builds_take_turns_in_a_group_and_why_names_the_job_that_comes_first() {
    let world = World::new();
    let (gate, begun) = (world.gate("gate"), world.tally("begun"));
    let repository = world.repository("app");
    // A job that finds another one in the group fails.
    let script = |name: &str, wait: &str| {
        let (place, begin) = (world.path("place").display().to_string(), begun.add(&format!("{name} $SURVEIL_BUILD")));
        format!("[task.{name}]\ngroup = 'staging'\nrun = '''\nmkdir {place}\n{begin}\n{wait}\nrmdir {place}\n'''\n")
    };
    let tasks = [script("migrate", &gate.wait()), script("deploy", "true")].concat();
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let first = repository.commit_tasks(&tasks);
    world.build_that("of the first commit", |build| build.commit == first);
    repository.write("more", "more");
    let second = repository.commit("more");
    let build = world.build_that("of the second commit", |build| build.commit == second);
    let _runner = world.runner("w1", &["--slots=4"]);
    begun.reaches(1);

    let why = world.surveil(&["why", "2", "deploy"]).ok();
    let reason = "group staging: migrate of build b1 runs on w1; 3 jobs of the group come before it";
    assert!(why.contains(reason), "{why}");
    let report: serde_json::Value =
        serde_json::from_str(&world.surveil(&["why", "2", "deploy", "--format=json"]).ok()).unwrap();
    assert_eq!(report["now"][0]["code"], "waits_for_group", "{report}");
    assert_eq!(job(&build, "migrate").attempts.len(), 0);

    gate.open();
    world.expect(&first, "passed");
    gate.open();
    world.expect(&second, "passed");
    assert_eq!(begun.lines(), ["migrate 1", "deploy 1", "migrate 2", "deploy 2"]);
}
