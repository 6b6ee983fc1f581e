//! The dispatcher is killed, or asked to end, while work is running.

use rustix::process::Signal;

use crate::harness::{Gate, World, job, text};

/// A task that records its start, writes before and after it waits at a gate, and leaves a copy of its output.
fn copied_task(world: &World, name: &str, gate: &Gate) -> String {
    let (begin, copy) = (world.tally("runs").add("$SURVEIL_TASK"), world.path(&format!("copy-{name}")));
    format!(
        "[task.{name}]\nrun = '''\n{begin}\n{{ seq 1 30000; {}; seq 30001 60000; }} | tee {}\n'''\n",
        gate.wait(),
        text(&copy)
    )
}

/// S1, S11, S15: attempts go on while the dispatcher is away, whether they end in that time or later; their output
/// arrives whole, and nothing is executed again.
#[test]
fn a_killed_dispatcher_goes_on_where_it_stopped_and_nothing_runs_twice() {
    let world = World::new();
    let gates = ["one", "two", "three"].map(|name| world.gate(name));
    let repository = world.repository("app");
    let tasks = [("one", 0), ("two", 1), ("three", 2)].map(|(name, at)| copied_task(&world, name, &gates[at]));
    let commit = repository.commit_tasks(&tasks.concat());
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let runner = world.runner("w1", &["--slots=3"]);
    world.tally("runs").reaches(3);
    let follower = world.start("logs -f", &["logs", "-f", "latest", "two"]);
    follower.says("\n30000\n");

    dispatcher.kill();
    gates[0].open();
    runner.says("passed after");
    let _dispatcher = world.dispatcher(&[]);
    gates[1].open();
    gates[2].open();

    let build = world.expect(&commit, "passed");
    assert_eq!(world.tally("runs").lines().len(), 3, "nothing ran twice");
    for name in ["one", "two", "three"] {
        assert_eq!(job(&build, name).attempts.len(), 1, "{build:#?}");
        let copy = std::fs::read_to_string(world.path(&format!("copy-{name}"))).unwrap();
        assert!(world.log_of(&build, name) == copy, "the log of {name} is what the task wrote");
    }
    let (code, said) = follower.finish();
    assert_eq!(code, 0);
    let copy = std::fs::read(world.path("copy-two")).unwrap();
    assert!(said.stdout == copy, "who followed the log missed nothing and saw nothing twice");
}

/// S15. After a power cut, files of short logs may be empty or missing. The lock's file names the boot of the machine
/// in which the last dispatcher ran.
#[test]
fn a_short_log_that_a_power_cut_took_from_the_disk_is_made_anew() {
    let world = World::new();
    let repository = world.repository("app");
    let one = |name: &str, words: &str| format!("[task.{name}]\nrun = \"echo {words}\"\n");
    let tasks = [one("empty", "one line"), one("missing", "another line"), one("whole", "a third line")];
    let commit = repository.commit_tasks(&tasks.concat());
    let dispatcher = world.dispatcher(&[]);
    let _rest = (world.observer(&[&repository], &[]), world.runner("w1", &[]));
    world.expect(&commit, "passed");
    dispatcher.kill();
    let (logs, lock) = (world.data().join("logs/app/b1"), world.data().join("surveil.lock"));
    std::fs::write(logs.join("empty.1.log"), "").unwrap();
    std::fs::remove_file(logs.join("missing.1.log")).unwrap();

    // In the same boot nothing can have been lost, and nothing is looked at.
    world.dispatcher(&[]).kill();
    assert!(!logs.join("missing.1.log").exists());

    let text = std::fs::read_to_string(&lock).unwrap();
    std::fs::write(&lock, format!("{} another-boot\n", text.split(' ').next().unwrap())).unwrap();
    let dispatcher = world.dispatcher(&[]);
    dispatcher.says("2 short logs had not reached the disk");
    let build = world.expect(&commit, "passed");
    for (name, words) in [("empty", "one line\n"), ("missing", "another line\n"), ("whole", "a third line\n")] {
        assert_eq!(world.log_of(&build, name), words);
    }
}

/// S1, S2: an announcement that was acknowledged is recorded, however soon the dispatcher dies.
#[test]
fn a_commit_that_was_accepted_survives_a_kill_at_the_same_moment() {
    let world = World::new();
    let repository = world.repository("app");
    let mut dispatcher = world.dispatcher(&[]);
    let mut commits = vec![repository.commit_script("true")];
    let observer = world.observer(&[&repository], &[]);
    for n in 0..8 {
        observer.says(&format!("{} accepted", &commits[n][..7]));
        dispatcher.kill();
        commits.push(repository.commit(&format!("Number {n}")));
        dispatcher = world.dispatcher(&[]);
    }
    let _runner = world.runner("w1", &[]);
    for commit in &commits {
        world.expect(commit, "passed");
    }
    assert_eq!(world.builds().len(), commits.len(), "each once");
}

/// Running work does not end with the dispatcher, and does not keep it from ending.
#[test]
fn a_dispatcher_that_is_terminated_ends_in_order_and_is_taken_up_again() {
    let world = World::new();
    let gate = world.gate("gate");
    let repository = world.repository("app");
    let commit = repository.commit_tasks(&copied_task(&world, "test", &gate));
    let mut dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let runner = world.runner("w1", &[]);
    world.tally("runs").reaches(1);
    let _watching = world.start("show --wait", &["show", "--wait", "latest"]);

    dispatcher.signal(Signal::TERM);
    assert_eq!(dispatcher.exit_code(), 0);
    runner.says(" ended: ");
    let _dispatcher = world.dispatcher(&[]);
    gate.open();
    let build = world.expect(&commit, "passed");
    assert_eq!(job(&build, "test").attempts.len(), 1);
    assert_eq!(world.tally("runs").lines().len(), 1);
}

/// S10: a finished build never changes.
#[test]
fn finished_builds_are_the_same_after_a_restart() {
    let world = World::new();
    let repository = world.repository("app");
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &[]);
    for script in ["true", "exit 1", "echo three"] {
        world.finished(&repository.commit_script(script));
    }
    let before = world.builds();
    dispatcher.kill();
    let _dispatcher = world.dispatcher(&[]);
    assert_eq!(world.builds(), before);
    assert_eq!(world.surveil(&["logs", "latest"]).ok(), "three\n");
}

/// L1: a job for which there is no runner does not wait for ever, also over a restart.
#[test]
fn a_job_that_no_runner_takes_is_given_up_with_the_reason() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks("[task.test]\nlabels = ['gpu']\nrun = 'true'\n");
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &[]);
    world.build_that("is queued", |build| build.commit == commit);
    dispatcher.kill();
    let _dispatcher = world.dispatcher(&["--queue-timeout=1s"]);

    let build = world.expect(&commit, "errored");
    let detail = job(&build, "test").detail.as_deref().unwrap();
    assert!(detail.contains("no runner"), "{detail}");
    assert_eq!(world.surveil(&["show", "--wait", "latest"]).code, 3);
}
