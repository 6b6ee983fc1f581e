//! What decides which jobs of which builds run, and in which order: manual tasks, `run_if`, `fail_fast`, `supersede`,
//! priorities, and builds of which nothing is left.

use surveil::protocol::operator::BuildReport;

use crate::harness::{World, job, text};

/// The states of a build's jobs.
fn states(build: &BuildReport) -> Vec<(&str, &str)> {
    build.jobs.iter().map(|job| (job.task.as_str(), job.state.as_str())).collect()
}

#[test]
fn a_held_task_waits_until_it_is_started_and_one_of_an_older_build_needs_force() {
    let world = World::new();
    let repository = world.repository("app");
    let tasks =
        "[task.test]\nrun = 'true'\n[task.deploy]\nneeds = ['test']\nmanual = true\nrun = 'echo to $SURVEIL_BUILD'\n";
    let first = repository.commit_tasks(tasks);
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&first, "passed");
    assert_eq!(states(&build), [("test", "passed"), ("deploy", "held")]);
    let shown = world.surveil(&["show", "b1"]).ok();
    assert!(
        shown.contains("\n  held       deploy\n    to start it: surveil start ") && shown.contains(" b1 deploy\n"),
        "{shown}"
    );
    let unnamed = world.surveil(&["start", "b1"]).error(2);
    assert!(
        unnamed.contains("name the task, such as `surveil start ") && unnamed.contains(" b1 deploy`: `surveil show "),
        "{unnamed}"
    );
    let refused = world.surveil(&["start", "b1", "test"]).error(7);
    assert!(
        refused.contains("test of build b1 is not held, so it cannot be started: its state is passed"),
        "{refused}"
    );

    let mut start = world.command(&["start", "b1/deploy"]);
    start.env("USER", "ann");
    assert_eq!(world.run(start).ok(), "build b1: deploy is started\n");
    let is_deployed = |build: &BuildReport| build.finished_ms.is_some() && job(build, "deploy").state == "passed";
    let build = world.build_that("is deployed", is_deployed);
    assert_eq!(world.log_of(&build, "deploy"), "to 1\n");
    let why = world.surveil(&["why", "b1", "deploy"]).ok();
    assert!(why.contains("started by ann@"), "{why}");

    let older = repository.commit("Older");
    world.expect(&older, "passed");
    let newer = repository.commit("Newer");
    world.expect(&newer, "passed");
    let refused = world.surveil(&["start", "b2", "deploy"]).error(7);
    let reason = "build b3 of the same ref is newer than b2: --force starts deploy all the same";
    assert!(refused.contains(reason), "{refused}");
    world.surveil(&["start", "b2", "deploy", "--force"]).ok();
    world.build_that("is deployed by force", |build| build.build == 2 && is_deployed(build));
    let why = world.surveil(&["why", "b2", "deploy"]).ok();
    assert!(why.contains("started by ") && why.contains("b3"), "{why}");
}

#[test]
fn a_task_runs_after_a_failure_alone_or_however_others_end() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_tasks(
        "[task.test]\nrun = 'test ! -e broken'\n[task.tell]\nneeds = ['test']\nrun_if = 'failed'\nrun = 'true'\n\
         [task.sweep]\nneeds = ['test']\nrun_if = 'finished'\nrun = 'true'\n",
    );
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&first, "passed");
    assert_eq!(states(&build), [("test", "passed"), ("tell", "left_out"), ("sweep", "passed")]);
    repository.write("broken", "");
    let second = repository.commit("Broken");
    let build = world.expect(&second, "failed");
    assert_eq!(states(&build), [("test", "failed"), ("tell", "passed"), ("sweep", "passed")]);
}

#[test]
fn the_first_failure_cancels_the_rest_but_not_what_cleans_up() {
    let world = World::new();
    let (gate, begun) = (world.gate("gate"), world.tally("begun"));
    let repository = world.repository("app");
    // `bad` fails when `slow` executes; `late` has no slot until one of them has ended.
    let commit = repository.commit_tasks(&format!(
        "[build]\nfail_fast = true\n[task.bad]\nrun = '''\n{}\nexit 1\n'''\n[task.slow]\nrun = '''\n{}\nsleep 1000\n'''\n\
         [task.late]\nrun = 'true'\n\
         [task.sweep]\nneeds = ['slow']\nrun_if = 'finished'\nrun = 'true'\n",
        gate.wait(),
        begun.add("slow")
    ));
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--slots=2"]);
    begun.reaches(1);
    gate.open();
    let build = world.expect(&commit, "failed");
    assert_eq!(states(&build), [("bad", "failed"), ("slow", "cancelled"), ("late", "cancelled"), ("sweep", "passed")]);
    let detail = job(&build, "slow").detail.clone().unwrap_or_default();
    assert!(detail.contains("bad failed"), "{detail}");
}

#[test]
fn a_newer_push_cancels_what_is_queued_or_what_runs_as_the_older_commit_says() {
    for (supersede, states) in
        [("queued", ["passed", "cancelled", "passed"]), ("running", ["cancelled", "cancelled", "passed"])]
    {
        let world = World::new();
        let (gate, begun) = (world.gate("gate"), world.tally("begun"));
        let repository = world.repository("app");
        let script = format!("{}\n[ $SURVEIL_BUILD = 3 ] || {}", begun.add("$SURVEIL_BUILD"), gate.wait());
        let tasks = format!("[build]\nsupersede = '{supersede}'\n[task.test]\nrun = '''\n{script}\n'''\n");
        repository.commit_tasks(&tasks);
        let _dispatcher = world.dispatcher(&[]);
        let _observer = world.observer(&[&repository], &[]);
        let _runner = world.runner("w1", &["--slots=1"]);
        begun.reaches(1);
        let second = repository.commit("Second");
        world.build_that("is the second", |build| build.commit == second);
        if supersede == "running" {
            begun.reaches(2);
        }
        let third = repository.commit("Third");
        world.build_that("is the third", |build| build.commit == third);
        if supersede == "queued" {
            gate.open();
        }
        world.expect(&third, "passed");
        let mut builds = world.builds();
        builds.sort_by_key(|build| build.build);
        assert_eq!(builds.iter().map(|build| build.state.as_str()).collect::<Vec<_>>(), states, "{supersede}");
        let why = world.surveil(&["why", "b2"]).ok();
        assert!(why.contains("build b3 superseded this one"), "{why}");
        let ran = if supersede == "running" { &["1", "2", "3"][..] } else { &["1", "3"] };
        assert_eq!(begun.lines(), ran);
    }
}

#[test]
fn a_higher_priority_is_leased_first_when_a_busy_runner_has_room() {
    let world = World::new();
    let (gate, begun) = (world.gate("gate"), world.tally("begun"));
    let repository = world.repository("app");
    let task = |name: &str, priority: i32, wait: &str| {
        format!("[task.{name}]\npriority = {priority}\nrun = '''\n{}\n{wait}\n'''\n", begun.add(name))
    };
    let tasks = [task("low", -5, ""), task("plain", 0, ""), task("first", 100, &gate.wait())].concat();
    let commit = repository.commit_tasks(&tasks);
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    world.build_that("is there", |build| build.commit == commit);
    let _runner = world.runner("w1", &["--slots=1"]);
    begun.reaches(1);
    let urgent = repository.commit_tasks(&task("urgent", 20, ""));
    world.build_that("is urgent", |build| build.commit == urgent);
    gate.open();
    world.expect(&commit, "passed");
    world.expect(&urgent, "passed");
    assert_eq!(begun.lines(), ["first", "urgent", "plain", "low"]);
}

#[test]
fn a_build_of_which_every_task_is_left_out_has_passed_and_says_so() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks("[task.publish]\nwhen = { events = ['tag'] }\nrun = 'exit 1'\n");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    // No runner is needed for that.
    let build = world.expect(&commit, "passed");
    assert_eq!(states(&build), [("publish", "left_out")]);
    let shown = world.surveil(&["show", "b1", "--wait"]).ok();
    assert!(shown.contains("b1 passed (every task is left out)"), "{shown}");
    assert!(shown.contains("\n  left out   publish"), "{shown}");
    let status = world.surveil(&["status"]).ok();
    assert!(status.contains("1 left out"), "{status}");
}

#[test]
fn everything_in_one_process_tells_a_matrix_in_one_line() {
    let world = World::new();
    let repository = world.repository("app");
    repository.commit_tasks(
        "[task.test]\nmatrix = { word = ['a', 'b', 'c', 'd'] }\nrun = '[ $MATRIX_WORD != c ] || { echo bad; exit 1; }'\n",
    );
    let said = world.surveil(&["up", text(&repository.path), "--once", "--port=0"]).with_code(1);
    assert!(said.contains("3 passed, 1 failed"), "{said}");
    assert!(said.contains("test@c") && !said.contains("test@a"), "{said}");
}
