//! B3: a dispatcher with few descriptors or threads says so, refuses further connections, and goes on.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;

use crate::harness::{Process, Wire, World, hello, until};

/// Says hello and registers. Returns whether it was admitted; a refused peer may or may not get the reason.
fn joins(world: &World, name: &str) -> Option<Wire> {
    let mut wire = Wire::dial(world);
    let register = json!({"type": "register", "slots": 1, "isolation": "subreaper"});
    wire.send(format!("{}\n{register}\n", hello(world, "runner", name)).as_bytes()).ok()?;
    let answer = wire.try_hear()?;
    let is_in = answer["type"] == "welcome" && wire.try_hear()?["type"] == "registered";
    assert!(is_in || answer["code"] == "busy", "{answer}");
    is_in.then_some(wire)
}

/// Sabotage tried: no limit for sessions; the store cannot be opened for a question.
#[test]
fn with_few_descriptors_some_are_turned_away_and_the_rest_is_served() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let dispatcher = world.limited_dispatcher("ulimit -n 64", &[]);
    dispatcher.says("room for 28 connections at once");
    dispatcher.says("64 open files are allowed");
    // All runners connect at once, and none leaves before it is asked to.
    let waiting: Vec<Wire> = (0..100).map(|_| Wire::dial(&world)).collect();
    let crowd: Vec<Wire> = (0..200).filter_map(|n| joins(&world, &format!("c{n}"))).collect();
    assert!((20..=28).contains(&crowd.len()), "{} were let in", crowd.len());
    dispatcher.says("connections are open, which is the limit: further ones are refused");

    let (from, cpu) = (crate::harness::now(), dispatcher.cpu_ms());
    until("some time has passed", || from.elapsed().as_millis() >= 1000);
    let (spent, passed) = (u128::from(dispatcher.cpu_ms() - cpu), from.elapsed().as_millis());
    assert!(spent * 2 < passed, "it spins: {spent} ms of {passed} ms");

    drop((crowd, waiting));
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &[]);
    world.expect(&commit, "passed");
}

fn limit_address_space(process: &Process, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(process.pid()).unwrap());
    let limit = Rlimit { current: bytes, maximum: getrlimit(Resource::As).maximum };
    prlimit(pid, Resource::As, limit).unwrap();
}

/// Sabotage tried: threads are started without a check of the remaining address space; the process aborts.
#[test]
fn without_room_for_more_threads_newcomers_are_turned_away_and_nothing_else_ends() {
    let world = World::new();
    let (gate, begun) = (world.gate("gate"), world.tally("begun"));
    let repository = world.repository("app");
    let commit = repository.commit_script(&format!("{}\n{}\necho done", begun.add("begun"), gate.wait()));
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &[]);
    begun.reaches(1);
    // Room for a few threads, beside the reserve that the program leaves for everything else.
    limit_address_space(&dispatcher, Some(dispatcher.address_space() + (128 << 20) + (20 << 20)));
    let crowd: Vec<Wire> = (0..200).filter_map(|n| joins(&world, &format!("c{n}"))).collect();
    assert!((1..200).contains(&crowd.len()), "{} were let in", crowd.len());
    dispatcher.says("no thread for it: the limit of");
    // Connected runners are served.
    gate.open();
    dispatcher.says("b1 of app main: passed");
    drop(crowd);
    limit_address_space(&dispatcher, None);
    let build = world.expect(&commit, "passed");
    assert_eq!(world.log_of(&build, "test"), "done\n");
}
