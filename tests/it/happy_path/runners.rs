//! Placement of jobs, and runners that join and leave in order.

use rustix::process::Signal;

use crate::harness::{World, job, text, until};

#[test]
fn a_runner_that_listens_is_dialled_by_the_dispatcher() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("echo $SURVEIL_RUNNER");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let dispatch = format!("--dispatch={}", world.address());
    // The command line of the original program: the repository is a local source of objects.
    let runner = world.runner("w1", &["--host=127.0.0.1", "--port=0", &dispatch, text(&repository.path)]);
    runner.says("listens at 127.0.0.1:");

    let build = world.expect(&commit, "passed");
    assert_eq!(world.log_of(&build, "test"), "w1\n");
    let second = repository.commit("Second");
    world.expect(&second, "passed");
}

#[test]
fn without_a_runner_the_dispatcher_starts_one_and_takes_it_along_when_it_ends() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("echo $SURVEIL_RUNNER");
    let mut dispatcher = world.dispatcher(&["--spawn=1"]);
    let _observer = world.observer(&[&repository], &[]);

    let build = world.expect(&commit, "passed");
    let runner = &job(&build, "test").attempts[0].runner;
    assert!(runner.contains("spawned"), "{runner}");
    assert_eq!(world.log_of(&build, "test"), format!("{runner}\n"));
    dispatcher.signal(Signal::TERM);
    assert_eq!(dispatcher.exit_code(), 0);
    until("the runner is gone, too", || world.processes(&[]).iter().all(|line| !line.contains(" runner ")));
}

/// The runner's work directory cannot be made, so that each start ends before it has joined.
#[test]
fn a_runner_that_cannot_start_here_is_started_again_later() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    std::fs::create_dir_all(world.data()).unwrap();
    std::fs::write(world.data().join("spawned"), "in the way").unwrap();
    let dispatcher = world.dispatcher(&["--spawn=1"]);
    let _observer = world.observer(&[&repository], &[]);
    until("two starts have failed", || dispatcher.log().matches("ended before it joined").count() >= 2);
    std::fs::remove_file(world.data().join("spawned")).unwrap();
    world.expect(&commit, "passed");
}

#[test]
fn work_is_shared_between_runners() {
    let world = World::new();
    let (left, right) = (world.gate("left"), world.gate("right"));
    let begun = world.tally("begun");
    let repository = world.repository("app");
    let task = |name: &str, wait: String| {
        let begin = begun.add("$SURVEIL_RUNNER");
        format!("[task.{name}]\nrun = '''\n{begin}\n{wait}\n'''\n")
    };
    let commit = repository.commit_tasks(&[task("left", left.wait()), task("right", right.wait())].concat());
    let _dispatcher = world.dispatcher(&[]);
    let _one = world.runner("one", &["--slots=1"]);
    let _two = world.runner("two", &["--slots=1"]);
    world.connected("one");
    world.connected("two");
    let _observer = world.observer(&[&repository], &[]);

    let mut runners = begun.reaches(2);
    runners.sort();
    assert_eq!(runners, ["one", "two"]);
    left.open();
    right.open();
    world.expect(&commit, "passed");
}

#[test]
fn a_drained_runner_finishes_what_it_holds_and_ends() {
    let world = World::new();
    let (gate, begun) = (world.gate("gate"), world.tally("begun"));
    let repository = world.repository("app");
    let commit = repository.commit_script(&format!("{}\n{}", begun.add("begun"), gate.wait()));
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let mut runner = world.runner("w1", &["--slots=2"]);
    begun.reaches(1);

    world.surveil(&["drain", "w1"]).ok();
    world.runner_that("w1", |runner| runner.state == "draining");
    let next = repository.commit("Next");
    let queued = world.build_that("is queued", |build| build.commit == next && !build.jobs.is_empty());
    assert_eq!(job(&queued, "test").state, "queued", "a slot is free, but nothing new is taken");
    gate.open();
    world.expect(&commit, "passed");
    assert_eq!(runner.exit_code(), 0);

    let _fresh = world.runner("w2", &[]);
    gate.open();
    let build = world.expect(&next, "passed");
    assert_eq!(job(&build, "test").attempts[0].runner, "w2");
}

/// The runner is started again as `Restart=always` of its unit does. Before, it took the next job two seconds after the
/// drain.
#[test]
fn a_drain_is_remembered_over_restarts_of_both_sides_until_it_is_resumed() {
    const DRAINED: &str = "drained by an operator: no jobs until `surveil resume w1`";
    let world = World::new();
    let repository = world.repository("app");
    let dispatcher = world.dispatcher(&[]);
    let mut runner = world.runner("w1", &[]);
    world.connected("w1");
    let mut order = world.command(&["drain", "w1"]);
    order.env("USER", "dora");
    let done = world.run(order).ok();
    assert_eq!(done, "runner w1 ends; it gets no jobs until `surveil resume w1`\n");
    assert_eq!(runner.exit_code(), 0);
    let listed = world.surveil(&["runners"]).ok();
    assert!(listed.contains("drained") && listed.contains("not connected"), "{listed}");
    assert!(listed.contains("w1 is drained by dora@") && listed.contains("(ordered "), "{listed}");

    let again = world.runner("w1", &[]);
    again.says(DRAINED);
    world.runner_that("w1", |runner| runner.state == "drained" && runner.connected && runner.drained);
    let commit = repository.commit_script("true");
    let _observer = world.observer(&[&repository], &[]);
    let waits = || {
        world.build_that("is queued", |build| build.commit == commit && build.state == "queued");
        let why = world.surveil(&["why", "latest", "--format=json"]).ok();
        let why: serde_json::Value = serde_json::from_str(&why).unwrap();
        assert_eq!(
            (&why["now"][0]["code"], &why["now"][0]["reason_code"]),
            (&"no_runner_fits".into(), &"drained".into())
        );
        assert!(why["now"][0]["text"].as_str().unwrap().contains("`surveil resume w1`"), "{why}");
    };
    waits();

    dispatcher.kill();
    let _dispatcher = world.dispatcher(&[]);
    world.runner_that("w1", |runner| runner.state == "drained" && runner.connected);
    // The name is as durable as the order.
    world.runner_that("w1", |runner| runner.ordered_by.as_ref().is_some_and(|by| by.starts_with("dora@")));
    assert!(world.surveil(&["runners"]).ok().contains("w1 is drained by dora@"));
    waits();
    // It says so once, and not for each session.
    assert_eq!(again.log().matches(DRAINED).count(), 1, "{}", again.log());

    assert_eq!(world.surveil(&["resume", "w1"]).ok(), "runner w1 takes jobs again\n");
    let build = world.expect(&commit, "passed");
    assert_eq!(job(&build, "test").attempts[0].runner, "w1");
    assert_eq!(world.surveil(&["resume", "w1"]).ok(), "runner w1 was not drained\n");
    for order in ["drain", "resume"] {
        let error = world.surveil(&[order, "w2"]).error(6);
        assert!(error.contains("no runner named w2 was ever connected (did you mean w1?)"), "{error}");
    }
}

#[test]
fn a_runner_that_is_terminated_finishes_what_it_holds() {
    let world = World::new();
    let (gate, begun) = (world.gate("gate"), world.tally("begun"));
    let repository = world.repository("app");
    let commit = repository.commit_script(&format!("{}\n{}\necho done", begun.add("begun"), gate.wait()));
    let [_dispatcher, _observer, mut runner] = world.roles(&[&repository]);
    begun.reaches(1);
    runner.signal(Signal::TERM);
    runner.says("draining");
    gate.open();
    let build = world.expect(&commit, "passed");
    assert_eq!(world.log_of(&build, "test"), "done\n");
    assert_eq!(runner.exit_code(), 0);
    assert_eq!(job(&build, "test").attempts.len(), 1);
}

#[test]
fn the_runners_are_listed_with_what_they_offer_and_do() {
    let world = World::new();
    let (gate, begun) = (world.gate("gate"), world.tally("begun"));
    let repository = world.repository("app");
    let commit = repository.commit_script(&format!("{}\n{}", begun.add("begun"), gate.wait()));
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--slots=3", "--label=gpu"]);
    begun.reaches(1);

    let table = world.surveil(&["runners"]).ok();
    assert!(table.contains("w1") && table.contains("1 of 3") && table.contains("gpu"), "{table}");
    assert!(table.contains("b1/test"), "{table}");
    let report: serde_json::Value = serde_json::from_str(&world.surveil(&["runners", "--format=json"]).ok()).unwrap();
    let runner = &report["runners"][0];
    assert_eq!(runner["name"], "w1");
    assert_eq!(runner["state"], "connected");
    assert_eq!((runner["slots"].as_u64(), runner["busy"].as_u64()), (Some(3), Some(1)));
    assert!(runner["labels"].as_array().unwrap().contains(&"os=linux".into()), "{runner}");
    // The isolation tier in force is shown to people as well.
    let isolation = runner["isolation"].as_str().unwrap();
    assert!(["pid_namespace", "subreaper"].contains(&isolation), "{runner}");
    assert!(table.contains("ISOLATION") && table.contains(&isolation.replace('_', " ")), "{table}");
    gate.open();
    world.expect(&commit, "passed");
}
