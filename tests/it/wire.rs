//! Peers that speak the protocol badly, or not at all, and one that was written from its document alone.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use crate::harness::{PATIENCE, World, text};

/// A connection to the dispatcher, for raw bytes.
fn connect(world: &World) -> TcpStream {
    let stream = TcpStream::connect(world.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything that the dispatcher still says, until it closes. A reset says the same as a close.
fn rest(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    stream.read_to_end(&mut said).ok();
    String::from_utf8(said).unwrap()
}

fn hello(world: &World, role: &str) -> String {
    let token = world.token(role);
    format!(
        r#"{{"type":"hello","version":1,"min_version":1,"role":"{role}","name":"raw","incarnation":7,"token":"{token}"}}"#
    )
}

/// A session that has been welcomed.
fn open(world: &World, role: &str) -> TcpStream {
    let mut stream = connect(world);
    writeln!(stream, "{}", hello(world, role)).unwrap();
    let welcome = line(&mut stream);
    assert!(welcome.contains("\"welcome\""), "{welcome}");
    stream
}

fn line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

#[test]
fn what_is_not_the_protocol_is_told_so_and_closed() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let strange: [&[u8]; 8] = [
        b"garbage\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
        b"\xff\xfe\x00\x00\n",
        b"{\"type\":\"hello\"}\n",
        b"{\"type\":\"ping\"}\n",
        b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
    ];
    for bytes in strange {
        let mut stream = connect(&world);
        stream.write_all(bytes).unwrap();
        let said = rest(stream);
        assert!(said.contains("\"malformed\""), "{:?} was answered by {said}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn an_endless_line_is_refused_before_it_has_arrived() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let mut stranger = connect(&world);
    let chunk = [b'a'; 64 * 1024];
    // It gives up somewhere on the way, because nobody reads any more.
    let mut sent = 0u64;
    while sent < 1 << 30 && stranger.write_all(&chunk).is_ok() {
        sent += chunk.len() as u64;
    }
    assert!(sent < 1 << 30, "a GiB was taken from a stranger");

    let mut known = open(&world, "operator");
    let mut sent = 0u64;
    while sent < 1 << 30 && known.write_all(&chunk).is_ok() {
        sent += chunk.len() as u64;
    }
    assert!(sent < 1 << 30, "a line of a GiB was taken");
}

#[test]
fn a_wrong_token_and_a_wrong_version_are_refused_by_name() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    for role in ["observer", "runner", "operator"] {
        let mut stream = connect(&world);
        writeln!(stream, "{}", hello(&world, role).replace(&world.token(role), &"0".repeat(64))).unwrap();
        let said = rest(stream);
        assert!(said.contains(r#""code":"token""#), "{said}");
    }
    let mut stream = connect(&world);
    writeln!(stream, "{}", hello(&world, "runner").replace("version\":1", "version\":99")).unwrap();
    let said = rest(stream);
    assert!(said.contains(r#""code":"version""#) && said.contains("99"), "{said}");
}

#[test]
fn an_unknown_message_is_answered_and_the_session_goes_on() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let mut stream = open(&world, "operator");
    writeln!(stream, r#"{{"type":"make_coffee","sugar":true}}"#).unwrap();
    let refusal = line(&mut stream);
    assert!(refusal.contains(r#""code":"refused""#) && refusal.contains("make_coffee"), "{refusal}");
    writeln!(stream, r#"{{"type":"ping","unknown_field":1}}"#).unwrap();
    assert_eq!(line(&mut stream), r#"{"type":"ack"}"#);
}

#[test]
fn a_role_cannot_do_what_another_may() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let mut observer = open(&world, "observer");
    writeln!(observer, r#"{{"type":"register","slots":1,"isolation":"subreaper"}}"#).unwrap();
    assert!(line(&mut observer).contains(r#""code":"refused""#));
    let mut runner = open(&world, "runner");
    writeln!(runner, r#"{{"type":"register","slots":1,"isolation":"subreaper"}}"#).unwrap();
    assert!(line(&mut runner).contains(r#""type":"registered""#));
    // Somebody else's attempt, as far as this runner can know.
    writeln!(runner, r#"{{"type":"source","attempt":1}}"#).unwrap();
    assert_eq!(line(&mut runner), r#"{"type":"stale","attempt":1}"#);
    writeln!(runner, r#"{{"type":"results","attempt":1,"outcome":"passed"}}"#).unwrap();
    assert_eq!(line(&mut runner), r#"{"type":"stale","attempt":1}"#);
}

#[test]
fn silent_and_half_spoken_peers_keep_nobody_from_working() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let mut held: Vec<TcpStream> = (0..100).map(|_| connect(&world)).collect();
    for stream in &mut held {
        stream.write_all(br#"{"type":"hel"#).unwrap();
    }
    let _deaf = open(&world, "operator");
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &[]);
    world.expect(&commit, "passed");
}

/// The document is complete: a runner that was written from it, with nothing of ours, executes a build.
#[test]
fn a_runner_written_from_the_document_alone_executes_a_build() {
    let world = World::new();
    let repository = world.repository("app");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let commit = repository.commit_script("echo from the document; exit 4");

    let mut command = world.sealed(text(&raw_runner()));
    command.args(["--dispatch", &world.address().to_string(), "--attempts", "1", "--token-file"]);
    command.arg(world.data().join("tokens").join("runner"));
    world.run(command).ok();

    let build = world.expect(&commit, "failed");
    assert_eq!(build.jobs[0].attempts[0].detail.as_deref(), Some("exit code 4"));
    assert_eq!(world.log_of(&build, "test"), "from the document\n");
}

/// Built by `cargo test` beside the tests: `target/debug/examples/raw_runner`.
fn raw_runner() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join("examples").join("raw_runner")
}
