//! Arbitrary input at the dispatcher's port, which must not affect other peers.

use std::process::Command;

use serde_json::json;

use crate::harness::{Process, Wire, World, hello, job, text};

/// S23, S24: a peer whose first message is no `hello` gets a clear answer and is closed; other peers notice nothing.
#[test]
fn whatever_is_no_hello_is_answered_and_closed() {
    let world = World::new();
    let mut dispatcher = world.dispatcher(&[]);
    let nested = format!("{{\"type\":\"hello\",\"x\":{}\n", "[".repeat(2000));
    let first_lines: [&[u8]; 8] = [
        b"\n",
        b"\0\0\0\0\n",
        b"\xff\xfe{}\n",
        b"{}\n",
        b"[1,2,3]\n",
        b"{\"type\":\"status\",\"limit\":1}\n",
        b"{\"type\":\"hello\",\"version\":18446744073709551616}\n",
        nested.as_bytes(),
    ];
    for line in first_lines {
        let mut wire = Wire::dial(&world);
        wire.send(line).unwrap();
        let why = wire.expect_refusal("malformed");
        assert!(why.contains("docs/protocol.md"), "{why}");
    }
    // A TLS hello that is none gets an alert.
    let mut wire = Wire::dial(&world);
    wire.send(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00").unwrap();
    assert_eq!(wire.rest().unwrap()[..2], [0x15, 0x03]);
    // The dispatcher goes on.
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &[]);
    world.expect(&commit, "passed");
    assert!(!dispatcher.log().contains("panicked"), "{}", dispatcher.log());
    dispatcher.signal(rustix::process::Signal::TERM);
    assert_eq!(dispatcher.exit_code(), 0);
}

/// S23: a line is refused as soon as it is too long, not once all of it is there.
#[test]
fn a_line_that_never_ends_is_refused_early() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let mut stranger = Wire::dial(&world);
    stranger.send(&[b'['; 5000]).unwrap();
    stranger.expect_refusal("malformed");

    for mut flood in [Wire::dial(&world), Wire::greet(&world, "operator", "flood")] {
        let piece = [b'['; 64 << 10];
        // The connection is closed before the whole line was sent.
        let sent = (0..1 << 14).take_while(|_| flood.send(&piece).is_ok()).count();
        assert!(sent < 1 << 14, "a line of a GiB was taken");
    }

    let mut operator = Wire::greet(&world, "operator", "long");
    operator.send(&vec![b' '; (1 << 20) + 1]).unwrap();
    operator.expect_refusal("malformed");
    assert!(world.status().builds.is_empty());
}

/// S23: text of a question that an answer quotes is shortened, because the line would become too long. Sabotage tried:
/// nothing is cut, and the first answer has 1,050,125 bytes.
#[test]
fn names_that_nobody_has_are_answered_on_short_lines_however_long_they_are() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let repository = world.repository("app");
    repository.commit_script("true");
    let _observer = world.observer(&[&repository], &[]);
    world.build_that("is there", |_| true);
    let mut operator = Wire::greet(&world, "operator", "long");
    // An escaped character takes four bytes, and five after JSON has escaped it again.
    let name = "\u{1b}".repeat(150_000);
    for question in [
        json!({"type": "show", "build": name}),
        json!({"type": "cancel", "build": "1", "task": name}),
        json!({"type": "logs", "build": "1", "task": name}),
        json!({"type": "drain", "runner": name}),
        json!({"type": "resume", "runner": name}),
        json!({"type": "wake", "repo": name}),
        json!({"type": name}),
    ] {
        let answer = operator.ask(&question).to_string();
        assert!(answer.contains("error") && answer.len() < 200_000, "{} bytes: {}", answer.len(), &answer[..200]);
    }
    operator.ask(&json!({"type": "show", "build": "1"}));
}

/// S24, S25: peers that send half a message delay nobody.
#[test]
fn half_a_hello_keeps_nobody_from_working() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let silent: Vec<Wire> = (0..50)
        .map(|n| {
            let mut wire = Wire::dial(&world);
            let hello = hello(&world, "runner", "half").to_string();
            wire.send(&hello.as_bytes()[..n]).unwrap();
            wire
        })
        .collect();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _observer = world.observer(&[&repository], &[]);
    let _runner = world.runner("w1", &[]);
    world.expect(&commit, "passed");
    drop(silent);
}

/// S26: unknown fields and types are ignored, so that a newer peer can be served.
#[test]
fn unknown_fields_and_messages_are_passed_over() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let mut wire = Wire::dial(&world);
    let mut message = hello(&world, "operator", "newer");
    message["version"] = json!(7);
    message["colour"] = json!("blue");
    assert_eq!(wire.ask(&message)["type"], "welcome");
    let answer = wire.ask(&json!({"type": "dance", "bytes": 3}));
    assert_eq!((&answer["type"], &answer["code"]), (&"error".into(), &"refused".into()), "{answer}");
    wire.send(b"abc").unwrap();
    // A message of another role is unknown to this one.
    assert_eq!(wire.ask(&json!({"type": "register", "slots": 1, "isolation": "subreaper"}))["code"], "refused");
    assert_eq!(wire.ask(&json!({"type": "status", "limit": 1, "colour": "blue"}))["type"], "status");
}

#[test]
fn a_hello_with_a_wrong_token_or_version_is_told_so() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    for role in ["observer", "runner", "operator"] {
        let mut wire = Wire::dial(&world);
        let mut message = hello(&world, role, "guesser");
        message["token"] = json!("0".repeat(64));
        wire.say(&message);
        let why = wire.expect_refusal("token");
        assert!(why.contains("tokens"), "{why}");
    }
    let refused = |change: fn(&mut serde_json::Value), code: &str| {
        let mut wire = Wire::dial(&world);
        let mut message = hello(&world, "runner", "w1");
        change(&mut message);
        wire.say(&message);
        wire.expect_refusal(code)
    };
    let why = refused(|hello| (hello["version"], hello["min_version"]) = (json!(9), json!(8)), "version");
    assert!(why.contains('1') && why.contains("8 to 9"), "both are named: {why}");
    refused(|hello| hello["name"] = json!("../../etc"), "malformed");
    let observers = world.token("observer");
    assert_ne!(observers, world.token("runner"), "each role has a token of its own");
}

/// S27, for admitted peers.
#[test]
fn a_message_at_the_wrong_time_ends_the_session() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let mut runner = Wire::greet(&world, "runner", "hasty");
    runner.say(&json!({"type": "ping", "holding": []}));
    runner.expect_refusal("not_allowed");
    let mut runner = Wire::greet(&world, "runner", "double");
    let register = json!({"type": "register", "slots": 1, "isolation": "subreaper"});
    assert_eq!(runner.ask(&register)["type"], "registered");
    runner.say(&register);
    runner.expect_refusal("not_allowed");
    let mut runner = Wire::greet(&world, "runner", "greedy");
    runner.say(&json!({"type": "register", "slots": 1000000, "isolation": "subreaper"}));
    runner.expect_refusal("malformed");
}

/// S7, S27: a runner can report only its own attempts.
#[test]
fn a_runner_cannot_report_about_the_attempt_of_another() {
    let world = World::new();
    let (gate, begun) = (world.gate("gate"), world.tally("begun"));
    let repository = world.repository("app");
    let commit = repository.commit_script(&format!("{}\n{}\necho true words", begun.add("begun"), gate.wait()));
    let _roles = world.roles(&[&repository]);
    begun.reaches(1);
    let attempt = world.builds()[0].jobs[0].attempts[0].attempt;

    let mut thief = Wire::greet(&world, "runner", "thief");
    let registered = thief.ask(&json!({
        "type": "register", "slots": 1, "isolation": "subreaper", "holding": [attempt],
    }));
    assert_eq!(registered["gone"], json!([attempt]), "{registered}");
    let stale = json!({"type": "stale", "attempt": attempt});
    assert_eq!(thief.ask(&json!({"type": "source", "attempt": attempt, "haves": []})), stale);
    thief.say(&json!({"type": "log", "attempt": attempt, "offset": 0, "bytes": 4}));
    thief.send(b"lies").unwrap();
    assert_eq!(thief.hear(), stale);
    let lie = json!({"type": "results", "attempt": attempt, "outcome": "failed", "code": 1});
    assert_eq!(thief.ask(&lie), stale);

    gate.open();
    let build = world.expect(&commit, "passed");
    assert_eq!(world.log_of(&build, "test"), "true words\n");
    assert_eq!(job(&build, "test").attempts[0].runner, "w1");
}

/// The protocol document is enough to write a runner from: here is one that was.
#[test]
fn a_runner_written_from_the_document_alone_executes_a_build() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_tasks(
        "[task.lint]\nrun = 'echo lint $COLOUR; seq 1 30000'\nenv = { COLOUR = 'blue' }\n\
         [task.test]\nneeds = ['lint']\nretries = 1\nrun = ['false']\n",
    );
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let mut command = world.sealed(text(&raw_runner()));
    let token = world.data().join("tokens/runner");
    command.args(["--dispatch", &world.address().to_string(), "--token-file", text(&token)]);
    command.args(["--name", "attic", "--attempts", "3"]);
    let mut runner = Process::start("raw_runner", command);

    let build = world.expect(&commit, "failed");
    assert_eq!(job(&build, "lint").attempts[0].runner, "attic");
    let log = world.log_of(&build, "lint");
    assert!(log.starts_with("lint blue\n1\n2\n") && log.ends_with("\n30000\n"), "{} bytes", log.len());
    assert_eq!(job(&build, "test").attempts.len(), 2);
    assert_eq!(runner.exit_code(), 0);
}

/// The program of the example. `cargo test` builds it beside this one; `cargo test --test it` alone does not.
fn raw_runner() -> std::path::PathBuf {
    let own = std::env::current_exe().unwrap();
    let target = own.parent().and_then(std::path::Path::parent).unwrap();
    let program = target.join("examples").join("raw_runner");
    if !program.exists() {
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--quiet", "--offline", "--example", "raw_runner"])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        build.args(if target.ends_with("release") { &["--release"][..] } else { &[] });
        build.env("CARGO_TARGET_DIR", target.parent().unwrap());
        assert!(build.status().unwrap().success(), "the example does not build");
    }
    program
}

/// F1, S15, S7: pieces of a log that leave a gap, overlap, go back, or contradict stored bytes. Sabotage tried: a piece
/// is appended whatever its offset says; the checksum does not agree, and the whole log is requested again.
#[test]
fn a_log_whose_pieces_do_not_fit_is_what_was_sent_first() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let mut runner = Wire::greet(&world, "runner", "careless");
    runner.ask(&json!({"type": "register", "slots": 1, "isolation": "subreaper"}));
    let attempt = runner.hear()["attempt"].as_u64().unwrap();
    let pieces: [(u64, &[u8], u64); 7] = [
        (0, b"abc", 3),
        (10, b"gap", 3),
        (1, b"bcdef", 6),
        (0, b"XYZ", 6),
        (4, b"??g", 7),
        (u64::MAX - 1, b"far", 7),
        (7, b"", 7),
    ];
    for (offset, bytes, reached) in pieces {
        runner.say(&json!({"type": "log", "attempt": attempt, "offset": offset, "bytes": bytes.len()}));
        runner.send(bytes).unwrap();
        assert_eq!(runner.hear(), json!({"type": "log_ack", "attempt": attempt, "offset": reached}), "{offset}");
    }
    let results = json!({
        "type": "results", "attempt": attempt, "outcome": "passed", "log_bytes": 7, "log_crc32": 0x312A_6AA6_u32,
    });
    assert_eq!(runner.ask(&results), json!({"type": "ok", "attempt": attempt}));
    assert_eq!(world.log_of(&world.expect(&commit, "passed"), "test"), "abcdefg");
}

/// A stream that the dispatcher does not know is refused in words, and harms neither the log nor the session.
#[test]
fn a_stream_that_is_not_known_is_refused_and_the_log_goes_on() {
    let world = World::new();
    let repository = world.repository("app");
    let commit = repository.commit_script("true");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let mut runner = Wire::greet(&world, "runner", "ahead");
    runner.ask(&json!({"type": "register", "slots": 1, "isolation": "subreaper"}));
    let attempt = runner.hear()["attempt"].as_u64().unwrap();
    let mut piece = |stream: &str, bytes: &[u8]| {
        let length = bytes.len();
        runner.say(&json!({"type": "log", "attempt": attempt, "stream": stream, "offset": 0, "bytes": length}));
        runner.send(bytes).unwrap();
        runner.hear()
    };
    let refusal = piece("report", b"<xml/>");
    assert_eq!((&refusal["type"], &refusal["code"]), (&json!("error"), &json!("refused")), "{refusal}");
    assert!(text_of(&refusal).contains("stream `report`"), "{refusal}");
    assert_eq!(piece("log", b"abcdefg"), json!({"type": "log_ack", "attempt": attempt, "offset": 7}));
    let mut results = json!({
        "type": "results", "attempt": attempt, "outcome": "passed", "log_bytes": 7, "log_crc32": 0x312A_6AA6_u32,
        "streams": [{"stream": "report", "bytes": 6, "crc32": 1}],
    });
    let refusal = runner.ask(&results);
    assert!(text_of(&refusal).contains("stream `report`"), "{refusal}");
    let mut hostile = Wire::greet(&world, "runner", "hostile");
    hostile.ask(&json!({"type": "register", "slots": 1, "isolation": "subreaper"}));
    hostile.say(&json!({"type": "log", "attempt": attempt, "stream": "../../x", "offset": 0, "bytes": 0}));
    assert!(hostile.expect_refusal("malformed").contains("cannot name a stream"));
    results["streams"] = json!([]);
    assert_eq!(runner.ask(&results), json!({"type": "ok", "attempt": attempt}));
    assert_eq!(world.log_of(&world.expect(&commit, "passed"), "test"), "abcdefg");
}

fn text_of(refusal: &serde_json::Value) -> &str {
    refusal["text"].as_str().unwrap_or_default()
}
