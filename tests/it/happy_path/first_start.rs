//! The first start of a dispatcher: a program that waits for the port and goes on finds everything it needs.

use std::net::TcpStream;

use crate::harness::{PATIENCE, Wire, World, now, text};

/// Starts in which a client connects. One would show a wrong order already, unless the machine is busy elsewhere.
const STARTS: usize = 10;

/// Dials as fast as it can until the port answers.
fn wait_for_port(world: &World) -> TcpStream {
    let deadline = now() + PATIENCE;
    loop {
        match TcpStream::connect(world.address()) {
            Ok(stream) => return stream,
            Err(error) => assert!(now() < deadline, "nobody listens: {error}"),
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_client_that_finds_the_port_open_finds_the_tokens() {
    for _ in 0..STARTS {
        let world = World::with_port(9000);
        let host = format!("--host={}", world.address().ip());
        let _dispatcher = world.start("dispatcher", &["dispatcher", &host, "--port=9000", "--spawn=0"]);
        let _stream = wait_for_port(&world);
        for role in ["observer", "runner", "operator"] {
            assert_eq!(world.token(role).len(), 64, "{role}");
        }
        Wire::greet(&world, "operator", "script");
    }
}

/// `up` looks first whether the usual port is free. That look must not answer in the place of the dispatcher.
#[test]
fn a_client_that_finds_the_port_of_up_open_finds_the_tokens() {
    for _ in 0..STARTS {
        let world = World::with_port(9000);
        let repository = world.repository("app");
        let host = format!("--host={}", world.address().ip());
        let _up = world.start("up", &["up", text(&repository.path), &host]);
        let _stream = wait_for_port(&world);
        assert_eq!(world.token("operator").len(), 64);
        Wire::greet(&world, "operator", "script");
    }
}
