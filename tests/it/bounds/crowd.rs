//! C3: all runners reconnect at once.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Wire, World, hello};

/// Runners; few enough that the descriptors of this test and of the dispatcher fit into a machine's default limit.
const RUNNERS: usize = 500;

/// Dials and sends `hello` and `register` with the held attempts in one go, without waiting for answers.
fn comes(world: &World, number: usize, holding: &[u64]) -> Wire {
    let mut wire = Wire::dial(world);
    let hello = hello(world, "runner", &format!("c{number}"));
    let register = json!({"type": "register", "slots": 1, "isolation": "subreaper", "holding": holding});
    wire.send(format!("{hello}\n{register}\n").as_bytes()).unwrap();
    wire
}

/// Reads the `welcome` and the answer about the held attempts.
fn registered(wire: &mut Wire) -> Value {
    let welcome = wire.hear();
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    let registered = wire.hear();
    assert_eq!(registered["type"], "registered", "{registered}");
    registered
}

/// Each runner executes an attempt when the dispatcher is killed. The pauses that spread real runners have a test of
/// their own; here all come at the same moment. Sabotage tried: the oldest unauthenticated connection is closed
/// although its hello has arrived; some runners are not welcomed.
#[test]
fn five_hundred_runners_that_come_back_at_once_are_all_taken_up() {
    let world = World::new();
    let repository = world.repository("app");
    let tasks: String = (0..RUNNERS).map(|n| format!("[task.t{n}]\nrun = 'true'\n")).collect();
    let commit = repository.commit_tasks(&tasks);
    // Far more runners than unauthenticated connections are allowed at a time, which is an eighth of all.
    let flags = ["--heartbeat-timeout=60s", "--max-connections=600"];
    let dispatcher = world.dispatcher(&flags);
    let mut runners: Vec<Wire> = (0..RUNNERS).map(|n| comes(&world, n, &[])).collect();
    runners.iter_mut().for_each(|runner| drop(registered(runner)));
    let _observer = world.observer(&[&repository], &[]);
    let attempts: Vec<u64> = runners
        .iter_mut()
        .map(|runner| {
            let lease = runner.hear();
            assert_eq!(lease["type"], "runtask", "{lease}");
            lease["attempt"].as_u64().unwrap()
        })
        .collect();

    dispatcher.kill();
    drop(runners);
    let _dispatcher = world.dispatcher(&flags);
    let mut runners: Vec<Wire> = (0..RUNNERS).map(|n| comes(&world, n, &[attempts[n]])).collect();
    for runner in &mut runners {
        let registered = registered(runner);
        assert_eq!(registered["gone"], json!([]), "{registered}");
    }
    for (runner, attempt) in runners.iter_mut().zip(&attempts) {
        runner.say(&json!({"type": "results", "attempt": attempt, "outcome": "passed", "duration_ms": 1}));
    }
    for (runner, attempt) in runners.iter_mut().zip(&attempts) {
        assert_eq!(runner.hear(), json!({"type": "ok", "attempt": attempt}));
    }
    let build = world.expect(&commit, "passed");
    let numbers: BTreeMap<u64, u32> =
        build.jobs.iter().flat_map(|job| &job.attempts).map(|attempt| (attempt.attempt, attempt.number)).collect();
    assert_eq!(numbers.len(), RUNNERS);
    assert!(numbers.values().all(|number| *number == 1), "none was lost");
}
