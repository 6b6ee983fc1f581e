//! Peers of other protocol versions, older and newer. A session of each released version is kept as it was
//! recorded, and must go as it went.

use std::collections::BTreeMap;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Process, Wire, World, hello};

/// An observer announces a commit, a runner executes it while the dispatcher is replaced, an operator asks.
const VERSION_1: &str = include_str!("sessions/version-1.txt");

/// The default value at that time.
const AS_RECORDED: &[&str] = &["--heartbeat-interval=2s"];

/// Plays a recorded session against a dispatcher of today.
///
/// A line is a peer's name, what happens, and what is said: `>` is said by the peer, with `#` and a payload in
/// hexadecimal digits behind it; `<` must be heard by it, with every field that was recorded, and `"*"` stands for any
/// value; `!` means that its connection ends. `restart` is SIGTERM to the dispatcher, and another one on the same data.
struct Replay<'a> {
    world: &'a World,
    dispatcher: Option<Process>,
    peers: BTreeMap<String, Wire>,
}

impl Replay<'_> {
    fn play(&mut self, recorded: &str) {
        for line in recorded.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
            if line == "restart" {
                let mut dispatcher = self.dispatcher.take().unwrap();
                dispatcher.signal(Signal::TERM);
                assert_eq!(dispatcher.exit_code(), 0);
                self.dispatcher = Some(self.world.dispatcher(AS_RECORDED));
                continue;
            }
            let (name, rest) = line.split_once(' ').unwrap();
            match rest.split_at(1) {
                (">", said) => self.say(name, said.trim()),
                ("<", heard) => self.hear(name, line, heard.trim()),
                ("!", _) => {
                    assert!(self.peers.remove(name).unwrap().rest().is_ok_and(|rest| rest.is_empty()), "{line}")
                }
                _ => panic!("neither said nor heard: {line}"),
            }
        }
    }

    fn say(&mut self, name: &str, said: &str) {
        let (line, payload) = said.split_once('#').unwrap_or((said, ""));
        let role = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let line = line.trim().replace("$TOKEN", &self.world.token(role));
        let peer = self.peers.entry(name.to_owned()).or_insert_with(|| Wire::dial(self.world));
        peer.send(format!("{line}\n").as_bytes()).unwrap();
        peer.send(&bytes(payload.trim())).unwrap();
    }

    fn hear(&mut self, name: &str, line: &str, expected: &str) {
        let expected: Value = serde_json::from_str(expected).unwrap();
        let peer = self.peers.get_mut(name).unwrap();
        let heard = peer.try_hear().unwrap_or_else(|| panic!("the end came instead of {line}"));
        let mut left_out =
            expected.as_object().unwrap().iter().filter(|(field, value)| {
                **value != "*" && heard.get(field) != Some(value) || heard.get(field).is_none()
            });
        assert!(left_out.next().is_none(), "{heard}\nwas recorded as\n{expected}");
        // The length is today's; its payload follows.
        peer.skip(heard["bytes"].as_u64().unwrap_or(0));
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    digits.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

#[test]
fn a_session_recorded_with_version_1_goes_as_it_went() {
    let world = World::new();
    let dispatcher = Some(world.dispatcher(AS_RECORDED));
    let mut replay = Replay { world: &world, dispatcher, peers: BTreeMap::new() };
    replay.play(VERSION_1);
    assert!(world.builds().iter().all(|build| build.state == "failed" && build.jobs[0].attempts.len() == 1));
}

/// S26: a peer that speaks this version and newer ones gets this one.
#[test]
fn a_newer_peer_that_still_speaks_this_version_is_served_in_it() {
    let world = World::new();
    let _dispatcher = world.dispatcher(&[]);
    let ours = surveil::protocol::VERSION;
    let greeted = |version: u32, min_version: u32| {
        let mut wire = Wire::dial(&world);
        let mut message = hello(&world, "runner", "w1");
        (message["version"], message["min_version"]) = (json!(version), json!(min_version));
        wire.say(&message);
        wire
    };
    for (version, min_version) in [(ours, ours), (ours + 1, ours), (ours + 7, 0), (u32::MAX, 1)] {
        let welcome = greeted(version, min_version).try_hear().unwrap();
        assert_eq!((&welcome["type"], &welcome["version"]), (&"welcome".into(), &ours.into()), "{welcome}");
    }
    let why = greeted(ours + 2, ours + 1).expect_refusal("version");
    let both =
        [format!("speaks {} to {ours}", surveil::protocol::MIN_VERSION), format!("{} to {}", ours + 1, ours + 2)];
    assert!(both.iter().all(|range| why.contains(range)), "{why}");
    greeted(0, 0).expect_refusal("version");
    // A range the wrong way round has no version in it.
    greeted(ours, ours + 1).expect_refusal("version");
}
