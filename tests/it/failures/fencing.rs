//! Reports about a lease that is no longer held.

use serde_json::{Value, json};

use crate::harness::{Wire, World, job};

/// Pings without naming any held attempt, until a message other than the answers comes.
fn hear_after_pings(runner: &mut Wire) -> Value {
    loop {
        // An attempt that no runner holds is always answered as gone.
        let answer = runner.ask(&json!({"type": "ping", "holding": [999]}));
        if answer["type"] != "ack" {
            assert_eq!(runner.hear()["type"], "ack", "the answer that was overtaken");
            return answer;
        }
    }
}

/// S7: output and results for a lease that has run out are answered `stale`. The record of the attempt stays as it
/// was when the attempt was given up. Sabotage tried: grants that are not taken back with the lease; this test fails.
#[test]
fn what_comes_for_a_lease_that_has_run_out_is_stale_and_changes_nothing() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&["--heartbeat-interval=200ms", "--heartbeat-timeout=1s"]);
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let mut runner = Wire::greet(&world, "runner", "raw");
    assert_eq!(runner.ask(&json!({"type": "register", "slots": 1, "isolation": "subreaper"}))["type"], "registered");
    let _observer = world.observer(&[&repository], &[]);
    let lease = hear_after_pings(&mut runner);
    assert_eq!((&lease["type"], &lease["attempt"]), (&json!("runtask"), &json!(1)), "{lease}");
    runner.say(&json!({"type": "started", "attempt": 1}));
    let log = |runner: &mut Wire, offset: usize, text: &str| {
        runner.say(&json!({"type": "log", "attempt": 1, "offset": offset, "bytes": text.len()}));
        runner.send(text.as_bytes()).unwrap();
    };
    log(&mut runner, 0, "hello\n");
    let acknowledged = hear_after_pings(&mut runner);
    assert_eq!(acknowledged, json!({"type": "log_ack", "attempt": 1, "offset": 6}));

    let again = hear_after_pings(&mut runner);
    assert_eq!((&again["type"], &again["attempt"]), (&json!("runtask"), &json!(2)), "{again}");
    log(&mut runner, 6, "and more\n");
    assert_eq!(runner.hear(), json!({"type": "stale", "attempt": 1}));
    let crc32 = crc32fast::hash(b"hello\nand more\n");
    let late =
        json!({"type": "results", "attempt": 1, "outcome": "failed", "code": 1, "log_bytes": 15, "log_crc32": crc32});
    assert_eq!(runner.ask(&late), json!({"type": "stale", "attempt": 1}));
    let passed = json!({"type": "results", "attempt": 2, "outcome": "passed"});
    assert_eq!(runner.ask(&passed), json!({"type": "ok", "attempt": 2}));

    let build = world.expect(&commit, "passed");
    let attempts = &job(&build, "test").attempts;
    let outcomes: Vec<_> = attempts.iter().map(|attempt| attempt.outcome.as_deref()).collect();
    assert_eq!(outcomes, [Some("lost"), Some("passed")]);
    assert_eq!(std::fs::read(&attempts[0].log_path).unwrap(), b"hello\n");
}
