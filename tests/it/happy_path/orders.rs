//! Orders of operators: cancel and rerun.

use crate::harness::{World, job, until};

#[test]
fn a_cancelled_task_ends_with_all_its_processes_even_if_it_ignores_the_asking() {
    let world = World::new();
    let begun = world.tally("begun");
    let repository = world.repository("app");
    let commit = repository.commit_tasks(&format!(
        "[task.test]\nrun = '''\ntrap '' TERM INT HUP\nsetsid sleep 1000 &\n{}\nwhile :; do sleep 1000; done\n'''\n\
         [task.after]\nneeds = ['test']\nrun = 'true'\n",
        begun.add("begun")
    ));
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &["--grace=300ms"]);
    begun.reaches(1);

    world.surveil(&["cancel", "latest"]).ok();
    let build = world.expect(&commit, "cancelled");
    assert_eq!(job(&build, "test").state, "cancelled");
    assert_eq!(job(&build, "after").state, "skipped");
    // A cancel is in force at once; the runner ends the processes when it hears of it.
    let build = world.build_that("whose attempt has ended", |build| {
        build.jobs[0].attempts.iter().all(|attempt| attempt.outcome.is_some())
    });
    assert_eq!(job(&build, "test").attempts[0].outcome.as_deref(), Some("cancelled"));
    until("its processes are gone", || world.processes(&["SURVEIL=true"]).is_empty());
    assert_eq!(world.surveil(&["show", "--wait", "latest"]).code, 4);
}

#[test]
fn one_task_is_cancelled_while_the_others_go_on() {
    let world = World::new();
    let (gate, begun) = (world.gate("gate"), world.tally("begun"));
    let repository = world.repository("app");
    let commit = repository.commit_tasks(&format!(
        "[task.slow]\nrun = '''{begin}\nsleep 1000'''\n[task.test]\nrun = '''{begin}\n{}'''\n",
        gate.wait(),
        begin = begun.add("begun"),
    ));
    let _roles = world.roles(&[&repository]);
    begun.reaches(2);

    world.surveil(&["cancel", "latest", "slow"]).ok();
    let build = world.build_that("one of whose jobs is cancelled", |build| job(build, "slow").state == "cancelled");
    assert_eq!(job(&build, "test").state, "running");
    gate.open();
    let build = world.expect(&commit, "cancelled");
    assert_eq!(job(&build, "test").state, "passed");
}

#[test]
fn a_queued_build_is_cancelled_without_ever_running() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    world.build_that("is queued", |build| build.commit == commit);
    world.surveil(&["cancel", "latest"]).ok();
    let build = world.expect(&commit, "cancelled");
    assert!(job(&build, "test").attempts.is_empty());
    let again = world.surveil(&["cancel", "latest"]).ok();
    assert!(again.contains("is finished"), "{again}");
}

#[test]
fn a_build_is_run_again_beside_its_old_attempts() {
    let world = World::new();
    let tally = world.tally("runs");
    let repository = world.repository("app");
    let commit = repository.commit_script(&tally.add("run"));
    let _roles = world.roles(&[&repository]);
    world.expect(&commit, "passed");

    world.surveil(&["rerun", "latest"]).ok();
    let build = world
        .build_that("has run twice", |build| build.finished_ms.is_some() && job(build, "test").attempts.len() == 2);
    assert_eq!((build.state.as_str(), build.commit), ("passed", commit));
    assert_eq!(tally.lines().len(), 2);
    assert_eq!(world.builds().len(), 1);
}

#[test]
fn only_what_failed_is_run_again_if_that_is_asked_for() {
    let world = World::new();
    let (good, bad) = (world.tally("good"), world.tally("bad"));
    let mended = world.path("mended");
    let repository = world.repository("app");
    let commit = repository.commit_tasks(&format!(
        "[task.good]\nrun = '''{}'''\n[task.bad]\nrun = '''{}\ntest -e {}'''\n[task.after]\nneeds = ['bad']\nrun = 'true'\n",
        good.add("run"),
        bad.add("run"),
        mended.display()
    ));
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "failed");
    assert_eq!(job(&build, "after").state, "skipped");

    std::fs::write(&mended, "").unwrap();
    world.surveil(&["rerun", "latest", "--failed"]).ok();
    let build = world.build_that("has passed after all", |build| build.state == "passed");
    assert_eq!(job(&build, "after").state, "passed");
    assert_eq!((good.lines().len(), bad.lines().len()), (1, 2));
    assert_eq!(job(&build, "good").attempts.len(), 1);

    let counted = world.status().counters.unwrap();
    let of = |counts: &std::collections::BTreeMap<String, u64>, word: &str| counts.get(word).copied();
    assert_eq!((counted.builds_added, counted.builds_reopened, counted.attempts_leased), (1, 1, 4), "{counted:?}");
    assert_eq!(
        (of(&counted.attempts_finished, "passed"), of(&counted.attempts_finished, "failed")),
        (Some(3), Some(1))
    );
    assert_eq!((of(&counted.builds_finished, "failed"), of(&counted.builds_finished, "passed")), (Some(1), Some(1)));
    assert_eq!(of(&counted.jobs_finished, "skipped"), Some(1), "{counted:?}");
}

#[test]
fn an_unfinished_build_is_not_run_again() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    world.build_that("is queued", |build| build.commit == commit);
    world.surveil(&["rerun", "latest"]).error(7);
}
