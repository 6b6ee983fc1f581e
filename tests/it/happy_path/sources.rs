//! Source ahead of a lease: the source of a commit that has just arrived, for a runner that lacks nothing else.

use serde_json::{Value, json};

use crate::harness::{Wire, World};

/// A runner that names its warm commits, and whether it takes source ahead. It is always the same runner, so each
/// session replaces the one before: no lease goes to a session whose end has not been noticed yet.
fn register(world: &World, has: Option<&str>, takes_source: bool) -> Wire {
    let mut runner = Wire::greet(world, "runner", "raw");
    let warm: Vec<Value> = has.iter().map(|commit| json!({"repo": "app", "commit": commit})).collect();
    let register = json!({
        "type": "register", "slots": 1, "isolation": "subreaper", "warm": warm, "takes_source": takes_source,
    });
    assert_eq!(runner.ask(&register)["type"], "registered");
    runner
}

/// The next lease, whose attempt passes at once, and the messages before it.
fn pass(runner: &mut Wire) -> (String, Vec<u8>) {
    let mut lease = runner.hear();
    let mut source = Vec::new();
    if lease["type"] == "source_ahead" {
        source = runner.payload(lease["bytes"].as_u64().unwrap());
        let ahead = std::mem::replace(&mut lease, runner.hear());
        assert_eq!((&ahead["repo"], &ahead["commit"]), (&lease["repo"], &lease["commit"]));
    }
    assert_eq!(lease["type"], "runtask", "{lease}");
    let attempt = &lease["attempt"];
    let passed = json!({"type": "results", "attempt": attempt, "outcome": "passed"});
    assert_eq!(runner.ask(&passed), json!({"type": "ok", "attempt": attempt}));
    (lease["commit"].as_str().unwrap().to_owned(), source)
}

#[test]
fn a_runner_that_has_the_commit_before_gets_the_difference_ahead_of_the_lease() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let repository = world.repository("app");
    // Random bytes do not compress, so the size shows whether they travelled.
    let noise: String = (0..2_000u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
    repository.write("noise", &noise);
    let first = repository.commit_script("true");
    let _observer = world.observer(&[&repository], &[]);
    let mut runner = register(&world, None, true);
    assert_eq!(pass(&mut runner), (first.clone(), Vec::new()), "nobody knows what it has");
    world.expect(&first, "passed");

    let second = repository.commit_script("true; true");
    let (commit, source) = pass(&mut runner);
    assert_eq!(commit, second);
    assert!(source.starts_with(b"PACK") && source.len() < noise.len() / 2, "{} bytes", source.len());
    world.expect(&second, "passed");

    // Too large for source ahead.
    let large: String = (0..40_000u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
    repository.write("large", &large);
    let third = repository.commit("Add something large");
    assert_eq!(pass(&mut runner), (third.clone(), Vec::new()));
    world.expect(&third, "passed");
    drop(runner);

    // A runner that names the commit as warm has the source as well; a runner that did not ask for source ahead gets
    // none.
    for (takes_source, has_before) in [(true, true), (true, false), (false, true)] {
        let has = repository.head();
        let has = if has_before { has } else { first.clone() };
        let mut runner = register(&world, Some(&has), takes_source);
        let commit = repository.commit_script(&format!("true # {takes_source} {has_before}"));
        let (leased, source) = pass(&mut runner);
        assert_eq!((leased, !source.is_empty()), (commit.clone(), takes_source && has_before));
        world.expect(&commit, "passed");
    }
}
