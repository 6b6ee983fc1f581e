//! Several addresses: every peer tries them in order, at the start and after each loss.

use std::net::TcpListener;

use crate::harness::{World, text};

/// Nothing listens at the first address, and at the second a program that accepts each connection and closes it. Tried
/// with an operator's command that stays with the first address that accepts its connection: it exits with 5.
#[test]
fn whoever_finds_no_dispatcher_at_an_address_goes_to_the_next() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let stranger = TcpListener::bind((*world.address().ip(), 0)).unwrap();
    let port = stranger.local_addr().unwrap().port();
    // The thread ends with the process.
    surveil::threads::spawn("stranger", move || stranger.incoming().for_each(drop)).unwrap().detach();
    let host = world.address().ip().to_string();
    let dispatch = format!("--dispatch={host}:1,{host}:{port},{}", world.address());

    let observer = world.observer(&[&repository], &[&dispatch]);
    let runner = world.runner("w1", &[&dispatch]);
    world.expect(&commit, "passed");
    observer.says(&format!("dispatcher at {} reached", world.address()));
    runner.says(&format!("with the dispatcher at {}", world.address()));
    let shown = world.surveil(&["show", "latest", &dispatch]).ok();
    assert!(shown.contains("passed"), "{shown}");
}

/// Tried with peers that dial only the first address: nothing is built after the first dispatcher's end.
#[test]
fn everyone_goes_to_the_second_dispatcher_when_the_first_has_died_and_back_when_that_dies() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let first = world.dispatcher(&[]);
    let one = world.address();
    // The second dispatcher has the same tokens and the same authority, and a store of its own.
    let data = world.path("beside");
    for file in ["tokens/observer", "tokens/runner", "tokens/operator", "tls/authority.key"] {
        std::fs::create_dir_all(data.join(file).parent().unwrap()).unwrap();
        std::fs::copy(world.data().join(file), data.join(file)).unwrap();
    }
    let host = format!("--host={}", one.ip());
    let second = world.start("beside", &["dispatcher", &host, "--port=0", "--spawn=0", "--data", text(&data)]);
    let two = second.listening_at();
    let dispatch = format!("--dispatch={one},{two}");
    let observer = world.observer(&[&repository], &[&dispatch]);
    let runner = world.runner("w1", &[&dispatch]);
    world.expect(&commit, "passed");
    observer.says(&format!("dispatcher at {one} reached"));

    first.kill();
    world.listens_at(two);
    let commit = repository.commit("Beside");
    world.expect(&commit, "passed");
    runner.says(&format!("with the dispatcher at {two}"));
    assert!(world.surveil(&["status", &dispatch]).ok().contains(&commit[..7]));

    world.listens_at(one);
    let _first = world.dispatcher(&[]);
    second.kill();
    world.expect(&repository.commit("Back"), "passed");
}
