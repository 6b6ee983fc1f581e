//! Encrypted connections with real processes: who gets in, who does not, and what each is told.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::{Wire, World, job, text, until};

/// A directory in which no dispatcher was: a command there is one of another machine.
fn elsewhere(world: &World) -> String {
    format!("--data={}", text(&world.path("elsewhere")))
}

/// The flags of a peer that was given the token and the pin of this world's dispatcher, and nothing else.
fn joined(world: &World, role: &str) -> [String; 3] {
    let token = world.data().join("tokens").join(role);
    [format!("--token-file={}", text(&token)), format!("--pin={}", world.pin().unwrap()), elsewhere(world)]
}

/// S38. All three roles work from other machines with the pin. Commands of the same user on the dispatcher's own
/// machine find the pin by themselves.
#[test]
fn beyond_loopback_all_roles_are_encrypted_and_on_the_dispatchers_machine_without_a_flag() {
    let Some(world) = World::beyond_loopback() else { return };
    let repository = world.repository("app");
    let mut dispatcher = world.dispatcher(&[]);
    dispatcher.says("`surveil token create --role runner` prints the line by which another machine joins");
    dispatcher.says(&format!("(pin {})", world.pin().unwrap()));
    assert!(!dispatcher.log().contains("--join sv1."), "a log keeps no token");
    let flags = |role| joined(&world, role);
    let observer = flags("observer");
    let _observer = world.observer(&[&repository], &[&observer[0], &observer[1], &observer[2]]);
    let runner = flags("runner");
    let _runner = world.runner("far", &[&runner[0], &runner[1], &runner[2]]);
    let commit = repository.commit_script("seq 1 200000");
    let build = world.expect(&commit, "passed");
    assert_eq!(world.log_of(&build, "test").lines().count(), 200_000);
    let operator = flags("operator");
    let said = world.surveil(&["status", &operator[0], &operator[1], &operator[2]]).ok();
    assert!(said.contains(&format!("other machines connect with --pin {}", world.pin().unwrap())), "{said}");
    // A runner that listens is called by the dispatcher, which is the TLS server all the same.
    let listens = ["--host=10.77.0.1", "--port=0", "--label=called"];
    let _called = world.runner("called", &[&listens[..], &[&runner[0], &runner[1], &runner[2]]].concat());
    world.connected("called");
    let commit = repository.commit_tasks("[task.t]\nlabels = ['called']\nrun = 'true'\n");
    world.expect(&commit, "passed");
    dispatcher.signal(rustix::process::Signal::TERM);
    assert_eq!(dispatcher.exit_code(), 0);
}

/// S38. Two machines with a cable between them, on which everything is read: the second one gets one pasted line.
#[test]
fn another_machine_joins_with_one_pasted_line_and_nobody_on_the_wire_reads_a_word() {
    let Some((world, machine)) = World::with_second_machine() else { return };
    let capture = world.capture();
    let _dispatcher = world.dispatcher(&[]);
    // A peer that does not encrypt can be read, until the dispatcher refuses it.
    let plain = world.path("plain");
    std::fs::write(&plain, "word-in-the-clear").unwrap();
    let (dispatch, plain) = (format!("--dispatch={}", world.address()), format!("--token-file={}", text(&plain)));
    let mut refused = world.start_on(&machine, "plain", &["runner", "--name=plain", &dispatch, &plain]);
    refused.says("join with the line that `surveil token create` prints");
    refused.exit_code();

    let line = world.surveil(&["token", "create", "--role=runner", "--name=far", "--label=far"]).ok();
    let pasted: Vec<&str> = line.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(pasted[..3], ["surveil", "runner", "--dispatch"], "{line}");
    assert_eq!(pasted[3], world.address().to_string());
    let joined = world.start_on(&machine, "far", &[&pasted[1..], &["--min-free=1MiB"]].concat());
    joined.says("joined as runner far");
    let repository = world.repository("app");
    let _observer = world.observer(&[&repository], &[]);
    let tasks = "[task.t]\nlabels = ['far']\nrun = 'echo word-in-the-task; echo word-$((6 * 7))-in-the-log'\n";
    let build = world.expect(&repository.commit_tasks(tasks), "passed");
    assert_eq!(job(&build, "t").attempts[0].runner, "far");
    assert!(world.log_of(&build, "t").contains("word-42-in-the-log"));
    // It comes back without the line.
    joined.kill();
    let _again = world.start_on(&machine, "again", &["runner", &dispatch, "--min-free=1MiB"]);
    world.connected("far");

    let Some(capture) = capture else { return };
    let wire = capture.end();
    let has = |word: &str| wire.windows(word.len()).any(|part| part == word.as_bytes());
    assert!(has("word-in-the-clear"), "of {} bytes", wire.len());
    let file = std::fs::read_dir(world.path("far-work/joined")).unwrap().next().unwrap().unwrap().path();
    let file = std::fs::read_to_string(file).unwrap();
    let credential = file.lines().find_map(|line| line.strip_prefix("secret ")).unwrap();
    let token = pasted[5].split('.').nth(2).unwrap();
    for word in ["word-in-the-task", "word-42-in-the-log", token, credential] {
        assert!(!has(word), "{word} can be read");
    }
}

#[test]
fn plain_text_from_another_machine_is_refused_with_what_to_do() {
    let Some(world) = World::beyond_loopback() else { return };
    let dispatcher = world.dispatcher(&[]);
    let elsewhere = elsewhere(&world);
    let token = |role| format!("--token-file={}", text(&world.data().join("tokens").join(role)));
    let what_to_do = "plain text is accepted from the dispatcher's own machine only";
    let refused = world.surveil(&["status", &token("operator"), &elsewhere]).error(7);
    assert!(
        refused.contains(what_to_do)
            && refused.contains("`surveil token create`")
            && refused.contains("--join")
            && refused.lines().count() < 4,
        "{refused}"
    );
    let repository = world.repository("app");
    let mut observer = world.observer(&[&repository], &[&token("observer"), &elsewhere]);
    observer.says(what_to_do);
    observer.exit_code();
    let mut runner = world.runner("w1", &[&token("runner"), &elsewhere]);
    runner.says(what_to_do);
    runner.exit_code();
    dispatcher.says("refused: plain text is accepted");
}

#[test]
fn an_operator_opens_plain_text_for_a_network_and_the_status_says_so() {
    let Some(world) = World::beyond_loopback() else { return };
    let _dispatcher = world.dispatcher(&["--plain-text-from=192.168.0.0/16", "--plain-text-from=10.77.0.0/24"]);
    let repository = world.repository("app");
    let elsewhere = elsewhere(&world);
    let token = |role| format!("--token-file={}", text(&world.data().join("tokens").join(role)));
    let _observer = world.observer(&[&repository], &[&token("observer"), &elsewhere]);
    let _runner = world.runner("w1", &[&token("runner"), &elsewhere]);
    world.expect(&repository.commit_script("true"), "passed");
    let said = world.surveil(&["status"]).ok();
    assert!(said.contains("plain text is accepted from 192.168.0.0/16, 10.77.0.0/24"), "{said}");
    let network = world.status().network.unwrap();
    assert_eq!(network.plain_text_from, ["192.168.0.0/16", "10.77.0.0/24"]);
    assert_eq!((network.listen, Some(network.pin)), (world.address().to_string(), world.pin()));
    let refused = world.surveil(&["dispatcher", "--plain-text-from=10.1.2.3/8"]).error(2);
    assert!(refused.contains("did you mean 10.0.0.0/8?"), "{refused}");
}

#[test]
fn a_wrong_pin_is_told_at_once_with_the_right_one_for_comparison() {
    let world = World::new();
    let dispatcher = world.dispatcher(&[]);
    let repository = world.repository("app");
    let wrong = format!("--pin={}", "ab".repeat(32));
    let explains = |said: &str| {
        assert!(said.contains("not the one with this pin") && said.contains(&world.pin().unwrap()), "{said}");
    };
    let said = world.surveil(&["status", &wrong]).error(7);
    assert!(said.starts_with("surveil: another dispatcher answers"), "{said}");
    explains(&said);
    let mut runner = world.runner("w1", &[&wrong]);
    assert_ne!(runner.exit_code(), 0, "nothing but a person can help");
    explains(&runner.log());
    let mut observer = world.observer(&[&repository], &[&wrong]);
    assert_ne!(observer.exit_code(), 0);
    explains(&observer.log());
    dispatcher.says("its pin is that of another dispatcher");
    let refused = world.surveil(&["status", "--pin=12"]).error(2);
    assert!(refused.contains("64 hexadecimal digits"), "{refused}");
    // The right one works on loopback, too, in capitals as well, and beside a wrong one.
    let right = format!("--pin={},{}", "ab".repeat(32), world.pin().unwrap().to_uppercase());
    world.surveil(&["status", &right]).ok();
}

/// The peer speaks no TLS at all.
#[test]
fn a_pin_for_a_server_that_does_not_encrypt_is_told_apart() {
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dispatch = format!("--dispatch={}", listener.local_addr().unwrap());
    let mut asking = world.start("asking", &["status", &dispatch, &format!("--pin={}", "ab".repeat(32))]);
    let (mut stream, _) = listener.accept().unwrap();
    assert!(stream.read(&mut [0; 1000]).unwrap() > 100);
    stream.write_all(b"{\"type\":\"error\",\"code\":\"malformed\",\"text\":\"no\"}\n").unwrap();
    assert_eq!(asking.exit_code(), 5);
    asking.says("does not speak TLS");
}

/// S42. Each of these sent half of its first message, or all of it, and nothing more.
#[test]
fn two_thousand_half_done_handshakes_keep_nobody_out_and_leave_nothing_behind() {
    let world = World::new();
    let repository = world.repository("app");
    let dispatcher = world.dispatcher(&["--max-connections=400"]);
    let pin = format!("--pin={}", world.pin().unwrap());
    let _observer = world.observer(&[&repository], &[&pin]);
    let commit = repository.commit_script("true");
    world.build_that("is announced", |build| build.commit == commit);
    until("the questions are over", || dispatcher.usage().threads < 20);
    let before = dispatcher.usage();
    let hello = client_hello(&world, &pin);
    let mut peers: Vec<Wire> = Vec::new();
    for n in 0..2_000 {
        let mut peer = Wire::dial(&world);
        // Early connections may have been closed already.
        peer.send(if n % 2 == 0 { &hello } else { &hello[..hello.len() / 2] }).ok();
        peers.push(peer);
        // As many descriptors as a process has by default, less those of other tests.
        if peers.len() > 400 {
            peers.remove(0);
        }
    }
    let _runner = world.runner("w1", &[&pin]);
    world.expect(&commit, "passed");
    assert!(dispatcher.peak_mib() < 100, "{} MiB", dispatcher.peak_mib());
    until("every peer has been shown the door", || {
        peers.retain_mut(|peer| peer.send(b" ").is_ok());
        peers.is_empty()
    });
    until("their threads have ended", || dispatcher.usage().threads < before.threads + 10);
}

/// The first message of a command of this program, as a listener receives it.
fn client_hello(world: &World, pin: &str) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dispatch = format!("--dispatch={}", listener.local_addr().unwrap());
    let command = world.start("caller", &["status", &dispatch, pin]);
    let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
    let mut bytes = vec![0; 4096];
    let count = stream.read(&mut bytes).unwrap();
    assert_eq!(bytes[..2], [0x16, 0x03]);
    bytes.truncate(count);
    command.kill();
    bytes
}
