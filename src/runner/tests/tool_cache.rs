//! The tool cache of attempts, against a scripted dispatcher that keeps entries.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use super::scene::*;
use crate::protocol::runner::{CacheScopeName, FromRunner, ToRunner};
use crate::protocol::tool_entries::EntryAnswer;
use crate::shutdown::Stop;
use crate::threads::{self, Thread};

/// A lease of a task with the tool cache, which tells its address through one pipe and ends when the other one is read
/// to its end.
fn caching(attempt: u64, commit: &str, [address, gate]: [&Path; 2]) -> ToRunner {
    let script = format!("echo \"$SURVEIL_TOOL_CACHE\" >{}; cat {}", address.display(), gate.display());
    let ToRunner::Runtask(mut lease) = runtask(attempt, commit, &script) else { unreachable!("it is a lease") };
    lease.cache_scopes = vec![CacheScopeName { reference: "refs/heads/main".into(), trusted: true }];
    Arc::make_mut(&mut lease.task.as_mut().unwrap().recipe).tool_cache = true;
    ToRunner::Runtask(lease)
}

/// Asks for an entry at the address that comes through a pipe, and returns the answer when the connection ends. Then it
/// opens the gate, if there is one.
fn client(address: &Path, gate: Option<&Path>) -> Thread<String> {
    let url = fs::read_to_string(address).unwrap();
    let (host, path) = url.trim().strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path}/ccache/aa HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let gate = gate.map(Path::to_owned);
    threads::spawn("client", move || {
        let mut answer = String::new();
        // The end of an attempt may reset the connection.
        drop(stream.read_to_string(&mut answer));
        gate.iter().for_each(|gate| fs::write(gate, "").unwrap());
        answer
    })
    .unwrap()
}

/// Returns the next message that is neither `started` nor about a log. Logs are taken.
fn next(peer: &mut Peer) -> FromRunner {
    loop {
        let message = peer.hear();
        if let FromRunner::Log { attempt, stream, offset, bytes, .. } = message {
            peer.reader.read_payload(bytes, &mut Vec::new()).unwrap();
            peer.say(&ToRunner::LogAck { attempt, stream, offset: offset + bytes });
        } else if !matches!(message, FromRunner::Started { .. }) {
            return message;
        }
    }
}

/// Returns the number of the next question, which is of this attempt.
#[track_caller]
fn question(peer: &mut Peer, of: u64) -> u64 {
    let message = next(peer);
    let FromRunner::FindEntry(asked) = &message else { panic!("no question of {of}: {message:?}") };
    assert_eq!(asked.attempt, of);
    asked.request
}

#[track_caller]
fn passes(peer: &mut Peer, of: u64) {
    let message = next(peer);
    let FromRunner::Results { attempt, outcome, .. } = &message else { panic!("no result of {of}: {message:?}") };
    assert_eq!((*attempt, outcome.as_str()), (of, "passed"));
    peer.record(of);
}

/// A dispatcher that has given a lease up answers its questions with `stale`. Without a route for that, the runner took
/// it for silent, and asked nothing for any attempt.
#[test]
fn an_attempt_whose_lease_is_lost_keeps_no_other_from_the_tool_cache() {
    let scene = Scene::new();
    let (repository, commit) = scene.repository();
    let pipes = ["lost", "lost-gate", "other", "other-gate"].map(|name| scene.fifo(name));
    let [lost, lost_gate, other, other_gate] = pipes.each_ref().map(|path| path.as_path());
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&caching(7, &commit, [lost, lost_gate]));
    peer.give_source(&repository, &commit);
    let asking = client(lost, None);
    question(&mut peer, 7);
    peer.say(&ToRunner::Stale { attempt: 7 });
    // It starts in the same slot, when the first one is over, and so is that one's wait.
    peer.say(&caching(8, &commit, [other, other_gate]));
    asking.join().unwrap();
    let asking = client(other, Some(other_gate));
    let request = question(&mut peer, 8);
    peer.say(&ToRunner::Entry(EntryAnswer { attempt: 8, request, found: None, offset: 0, bytes: 0 }));
    assert!(asking.join().unwrap().starts_with("HTTP/1.1 404 "));
    passes(&mut peer, 8);
    runner.end(Stop::Now).unwrap();
}
