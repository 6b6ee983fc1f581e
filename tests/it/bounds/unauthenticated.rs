//! C1, S23 to S25: connections of peers that are not authenticated, silent or slow.

use serde_json::json;

use crate::harness::{Wire, World, hello, until};

/// The first bytes of other programs, which then fall silent.
const FIRST_WORDS: [&[u8]; 6] = [
    b"",
    b"{\"type\":\"hello\",\"version\":1,\"min_ver",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x42",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.9\r\n",
    b"\0\xff\x80\x1b[2J\r\x07",
];

/// Far more unauthenticated connections than are allowed, each of which sends a byte now and then. Sabotage tried: a
/// new connection is refused when all places are taken; the runner does not join. And a deadline that each byte
/// extends; the connections are never closed.
#[test]
fn a_crowd_of_unauthenticated_peers_keeps_nobody_out_and_leaves_nothing_behind() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    // An eighth of all connections, 50, may be unauthenticated.
    let dispatcher = world.dispatcher(&["--max-connections=400"]);
    let _observer = world.observer(&[&repository], &[]);
    world.build_that("is announced", |build| build.commit == commit);
    until("the questions are over", || dispatcher.usage().threads < 20);
    let before = dispatcher.usage();

    let mut peers: Vec<Wire> = (0..300).map(|_| Wire::dial(&world)).collect();
    for (peer, words) in peers.iter_mut().zip(FIRST_WORDS.iter().cycle()) {
        // Early connections have been closed already.
        peer.send(words).ok();
    }
    let runner = world.runner("w1", &[]);
    world.expect(&commit, "passed");
    let crowded = dispatcher.usage();
    assert!(crowded.threads < before.threads + 50 + 20, "{before:?}, {crowded:?}");

    runner.kill();
    until("every peer has been shown the door", || {
        peers.retain_mut(|peer| peer.send(b" ").is_ok());
        peers.is_empty()
    });
    dispatcher.is_back_to(before);
    dispatcher.says("connections that have not said hello: the oldest is closed for each new one");
}

/// Admitted peers that begin a message and never end it. Sabotage tried: no timeout for a session's lines;
/// all of them stay.
#[test]
fn whoever_begins_a_message_and_does_not_finish_it_is_let_go() {
    let world = World::new();
    let dispatcher = world.dispatcher(&["--heartbeat-interval=150ms", "--heartbeat-timeout=600ms"]);
    drop(Wire::greet(&world, "operator", "first"));
    until("it has left", || dispatcher.usage().threads < 20);
    let before = dispatcher.usage();
    let mut peers: Vec<Wire> = ["operator", "observer", "runner"].map(|role| Wire::greet(&world, role, "half")).into();
    for peer in &mut peers {
        peer.send(b"{\"type\":\"pi").unwrap();
    }
    // And one peer in the middle of a payload.
    let mut observer = Wire::greet(&world, "observer", "pack");
    observer.say(&json!({"type": "pack", "repo": "app", "last": true, "bytes": 1000}));
    observer.send(b"PACK").unwrap();
    peers.push(observer);
    let [operator, ..] = &mut peers[..] else { unreachable!() };
    // Single bytes do not extend the time for a message.
    until("the one who drips has to go", || operator.send(b"n").is_err());
    dispatcher.is_back_to(before);
}

/// S25: a peer that asks and never reads is closed, and delays nobody. Sabotage tried: no limit for the backlog of a
/// peer; it stays.
#[test]
fn whoever_asks_and_never_reads_is_closed() {
    let world = World::new();
    let repository = world.repository("app");
    // Long answers: a few hundred exceed the limit of the outbox, so that even a busy dispatcher reaches the limit
    // before the kernel gives the connection up.
    let large: String = (0..300).map(|n| format!("[task.t{n}]\nlabels = ['nobody']\nrun = 'true'\n")).collect();
    let commit = repository.commit_tasks(&large);
    let dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    world.build_that("is announced", |build| build.commit == commit);
    let mut deaf = Wire::greet(&world, "operator", "deaf");
    let questions = format!("{}\n", json!({"type": "show", "build": "latest"})).repeat(1000);
    until("it is closed", || deaf.send(questions.as_bytes()).is_err());
    dispatcher.says("its peer does not read what it is sent");
    let _runner = world.runner("w1", &[]);
    world.expect(&repository.commit_script("true"), "passed");
    assert!(dispatcher.peak_mib() < 100, "{} MiB", dispatcher.peak_mib());
}

/// A half-open session is closed as well: a runner that says hello and nothing more.
#[test]
fn a_runner_that_never_registers_is_let_go() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&["--heartbeat-interval=150ms", "--heartbeat-timeout=600ms"]);
    let mut silent = Wire::dial(&world);
    silent.say(&hello(&world, "runner", "silent"));
    assert_eq!(silent.hear()["type"], "welcome");
    let why = silent.expect_refusal("malformed");
    assert!(why.contains("no complete message within"), "{why}");
}
