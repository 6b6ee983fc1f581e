//! Runners that are killed, frozen, and started again.

use rustix::process::Signal;

use crate::harness::{Process, Repository, Tally, World, job, until};

/// A task that notes on which runner it began, starts a process that escapes from it, and then waits at the gate of its
/// try; the first try fails if it ever gets that far.
fn waiting_commit(world: &World, repository: &Repository) -> (String, Tally) {
    let begun = world.tally("begun");
    let gate = world.path("gate").display().to_string();
    let script = format!(
        "setsid sleep 1000 &\n{}\necho waiting\nread -r opened < {gate}.$SURVEIL_ATTEMPT\necho opened\ntest $SURVEIL_ATTEMPT != 1",
        begun.add("$SURVEIL_RUNNER")
    );
    (repository.commit_script(&script), begun)
}

fn outcomes(world: &World, commit: &str) -> Vec<(String, String)> {
    let build = world.expect(commit, "passed");
    let attempts = job(&build, "test").attempts.iter();
    attempts.map(|attempt| (attempt.runner.clone(), attempt.outcome.clone().unwrap())).collect()
}

fn pair(runner: &str, outcome: &str) -> (String, String) {
    (runner.into(), outcome.into())
}

/// S12, S22, and that a lost runner never makes a job fail.
#[test]
fn the_job_of_a_killed_runner_runs_elsewhere_and_nothing_of_it_is_left() {
    let world = World::new();
    let (_first, second) = (world.gate("gate.1"), world.gate("gate.2"));
    let repository = world.repository("app");
    let (commit, begun) = waiting_commit(&world, &repository);
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let killed = world.runner("w1", &[]);
    begun.reaches(1);
    let _other = world.runner("w2", &[]);
    world.connected("w2");

    killed.kill();
    assert_eq!(begun.reaches(2), ["w1", "w2"]);
    until("nothing of the killed runner's attempt is left", || world.processes(&["SURVEIL_RUNNER=w1"]).is_empty());
    second.open();
    assert_eq!(outcomes(&world, &commit), [pair("w1", "lost"), pair("w2", "passed")]);
    let why = world.surveil(&["why", "latest"]).ok();
    assert!(why.contains("lost"), "{why}");
}

/// S13, S14: a new start of the same runner reports the attempts of the old one.
#[test]
fn a_killed_runner_that_is_started_again_gives_its_job_back_and_gets_it() {
    let world = World::new();
    let (_first, second) = (world.gate("gate.1"), world.gate("gate.2"));
    let repository = world.repository("app");
    let (commit, begun) = waiting_commit(&world, &repository);
    let _dispatcher = world.dispatcher(&["--reconnect-window=1h", "--heartbeat-timeout=1h"]);
    let _observer = world.observer(&[&repository], &[]);
    let killed = world.runner("w1", &[]);
    begun.reaches(1);
    killed.kill();
    let again = world.runner("w1", &[]);
    again.says("lost");
    begun.reaches(2);
    second.open();
    assert_eq!(outcomes(&world, &commit), [pair("w1", "lost"), pair("w1", "passed")]);
}

/// S13: the runner's next start delivers results that were not delivered when it was killed.
#[test]
fn a_result_that_was_not_delivered_survives_the_runner() {
    let world = World::new();
    let gate = world.gate("gate");
    let (begun, copy) = (world.tally("begun"), world.path("copy"));
    let repository = world.repository("app");
    let script = format!("{}\n{}\nseq 1 50000 | tee {}", begun.add("begun"), gate.wait(), copy.display());
    let commit = repository.commit_script(&script);
    let settings = ["--reconnect-window=1h", "--heartbeat-timeout=1h"];
    let dispatcher = world.dispatcher(&settings);
    let _observer = world.observer(&[&repository], &[]);
    let killed = world.runner("w1", &[]);
    begun.reaches(1);
    dispatcher.kill();
    gate.open();
    killed.says("passed after");
    killed.kill();
    let _dispatcher = world.dispatcher(&settings);
    let _again = world.runner("w1", &[]);

    let build = world.expect(&commit, "passed");
    assert_eq!(job(&build, "test").attempts.len(), 1);
    assert_eq!(begun.lines().len(), 1, "it did not run again");
    assert!(world.log_of(&build, "test") == std::fs::read_to_string(copy).unwrap(), "the log is whole");
}

/// S7, S12: silence counts, and a report after it does not.
#[test]
fn a_frozen_runner_loses_its_job_and_its_late_result_counts_for_nothing() {
    let world = World::new();
    let (first, second) = (world.gate("gate.1"), world.gate("gate.2"));
    let repository = world.repository("app");
    let (commit, begun) = waiting_commit(&world, &repository);
    let _dispatcher = world.dispatcher(&["--heartbeat-interval=500ms", "--heartbeat-timeout=4s"]);
    let _observer = world.observer(&[&repository], &[]);
    let frozen = world.runner("w1", &[]);
    begun.reaches(1);
    let _other = world.runner("w2", &[]);
    world.connected("w2");

    frozen.signal(Signal::STOP);
    assert_eq!(begun.reaches(2), ["w1", "w2"]);
    // Its processes were not frozen: the first try fails now, but nobody is there to report it.
    first.open();
    second.open();
    let expected = [pair("w1", "lost"), pair("w2", "passed")];
    assert_eq!(outcomes(&world, &commit), expected);
    frozen.signal(Signal::CONT);
    // The runner learns either first that its try ended, or that the try no longer matters; in a new session, or in the
    // present one, if its lease ran out shortly before its silence was long enough to close the session. Which one is
    // chance.
    until("the frozen runner knows of it", || {
        ["attempt a1 failed", "attempt a1 is being ended"].iter().any(|words| frozen.log().contains(words))
    });
    assert_eq!(outcomes(&world, &commit), expected, "the verdict is final");
    until("nothing of the lost attempt is left", || world.processes(&["SURVEIL_RUNNER=w1"]).is_empty());
    world.connected("w1");
}

/// L1: a job that kills its runners is stopped, and names the runners.
#[test]
fn a_job_that_loses_every_runner_is_given_up() {
    let world = World::new();
    let gates = ["gate.1", "gate.2"].map(|name| world.gate(name));
    let repository = world.repository("app");
    let (commit, begun) = waiting_commit(&world, &repository);
    let _dispatcher = world.dispatcher(&["--max-losses=2"]);
    let _observer = world.observer(&[&repository], &[]);
    // A loss counts only if the dispatcher has heard that the task began.
    let is_known = |number: &str| {
        let done = world.surveil(&["logs", "latest", "--attempt", number]);
        done.stdout == b"waiting\n"
    };
    let one = world.runner("one", &[]);
    begun.reaches(1);
    until("the first start is known", || is_known("1"));
    one.kill();
    let two = world.runner("two", &[]);
    begun.reaches(2);
    until("the second start is known", || is_known("2"));
    two.kill();
    let build = world.expect(&commit, "errored");
    let detail = job(&build, "test").detail.as_deref().unwrap();
    assert!(detail.contains("one") && detail.contains("two"), "{detail}");
    drop(gates);
}

/// S19, S22: the second Ctrl-C ends running attempts in order, and the job goes to another runner.
#[test]
fn a_runner_that_is_interrupted_twice_leaves_nothing_behind() {
    let world = World::new();
    let (_first, second) = (world.gate("gate.1"), world.gate("gate.2"));
    let repository = world.repository("app");
    let (commit, begun) = waiting_commit(&world, &repository);
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let mut runner = world.runner("w1", &["--grace=500ms"]);
    begun.reaches(1);
    runner.signal_group(Signal::INT);
    runner.says("draining");
    runner.signal_group(Signal::INT);
    runner.exit_code();
    assert_eq!(world.processes(&["SURVEIL_RUNNER=w1"]), Vec::<String>::new());

    let _other = world.runner("w2", &[]);
    assert_eq!(begun.reaches(2), ["w1", "w2"]);
    second.open();
    assert_eq!(outcomes(&world, &commit), [pair("w1", "lost"), pair("w2", "passed")]);
}

/// A runner that is told to end when its dispatcher is away, or at the same moment as it, waits for it in bounded time,
/// and its next start delivers what it left. Sabotage tried: it waits without a bound, as it did; it never ends.
#[test]
fn a_runner_that_ends_without_its_dispatcher_leaves_its_results_to_its_next_start() {
    for ends_in_order in [false, true] {
        let world = World::new();
        let gate = world.gate("gate");
        let repository = world.repository("app");
        let begun = world.tally("begun");
        let script = format!("{}\n{}\necho done", begun.add("$SURVEIL_RUNNER"), gate.wait());
        let commit = repository.commit_script(&script);
        let mut dispatcher = world.dispatcher(&[]);
        let _observer = world.observer(&[&repository], &[]);
        let mut runner = world.runner("w1", &["--delivery-timeout=200ms"]);
        begun.reaches(1);
        if ends_in_order {
            runner.signal(Signal::TERM);
            dispatcher.signal(Signal::TERM);
            assert_eq!(dispatcher.exit_code(), 0);
        } else {
            dispatcher.kill();
            // By the time of the next dial, the runner's core has heard that the session is over.
            runner.says("no session with");
            runner.signal(Signal::TERM);
            runner.says("draining, but the dispatcher is away");
        }
        gate.open();
        let left = format!(
            "could not deliver everything to the dispatcher (results: 1, output: 5 bytes): the rest stays in {}",
            world.path("work-w1").display()
        );
        runner.says(&left);
        assert_eq!(runner.exit_code(), 5, "{}", runner.log());

        let _dispatcher = world.dispatcher(&[]);
        let _runner = world.runner("w1", &[]);
        let build = world.expect(&commit, "passed");
        assert_eq!(world.log_of(&build, "test"), "done\n");
        assert_eq!(begun.lines(), ["w1"]);
    }
}

/// An operator who heard that a runner drains can rely on it, also when the dispatcher dies at that moment. Tried with
/// a registration that does not say so: the second job goes to `w1`.
#[test]
fn a_drain_that_was_confirmed_outlives_the_dispatcher() {
    let world = World::new();
    let gate = world.gate("gate");
    let repository = world.repository("app");
    let begun = world.tally("begun");
    let script = format!("{}\ntest $SURVEIL_RUNNER = w2 || {}", begun.add("$SURVEIL_RUNNER"), gate.wait());
    let first = repository.commit_script(&script);
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let mut runner = world.runner("w1", &["--slots=2"]);
    begun.reaches(1);
    world.surveil(&["drain", "w1"]).ok();
    dispatcher.kill();
    let _dispatcher = world.dispatcher(&[]);
    world.runner_that("w1", |runner| runner.state == "draining");
    let second = repository.commit("Second");
    world.build_that("is queued", |build| build.commit == second);
    let _other = world.runner("w2", &[]);
    world.expect(&second, "passed");
    gate.open();
    world.expect(&first, "passed");
    assert_eq!(begun.lines(), ["w1", "w2"]);
    assert_eq!(runner.exit_code(), 0);
}

/// Jobs that wait for a runner run when one comes, wherever they were queued.
#[test]
fn a_runner_that_comes_late_finds_its_work() {
    let world = World::with_port(9000);
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let early: Process = world.runner("early", &[]);
    early.says("no session");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    world.expect(&commit, "passed");
}

/// S42: a task removes the runner's work directory, or a part of it, while its own tree is in it. Sabotage tried: the
/// directory is not made anew, and every later attempt is lost.
#[test]
fn a_task_that_removes_the_work_directory_costs_one_attempt_at_most() {
    let world = World::new();
    let repository = world.repository("app");
    let work = world.path("work-w1");
    let _roles = (world.dispatcher(&[]), world.observer(&[&repository], &[]));
    let runner = world.runner("w1", &[]);
    for (number, part) in ["", "spool", "trees", "stores", "trees/app", "quarantine"].iter().enumerate() {
        let place = work.join(part);
        // A guarded task does not see it.
        let script = format!("rm -rf {}\ncd /\necho done {number}", place.display());
        let commit = repository.commit_tasks(&format!("[task.test]\nisolation = 'shared'\nrun = '''\n{script}\n'''\n"));
        // The task that does it may be lost with what it removed. It runs again then, and does the same.
        let build = world.finished(&commit);
        assert!(job(&build, "test").attempts.len() <= 3, "{build:#?}");
        let commit = repository.commit_script(&format!("echo after {number}"));
        let build = world.expect(&commit, "passed");
        assert!(job(&build, "test").attempts.len() <= 2, "{build:#?}");
        assert_eq!(world.log_of(&build, "test"), format!("after {number}\n"));
    }
    runner.says("something removed parts of");
}
