//! Peers of the test itself: an observer that repeats earlier announcements and asks for heads, and an operator.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use surveil::model::{CommitId, RefName, RepoName};

use crate::harness::{World, hello};
use crate::proxy::Frame;

/// Wait for an answer: long enough for a running dispatcher, short for an absent one.
const PATIENCE: Duration = Duration::from_secs(2);

/// Repeats an old announcement; returns the answer.
pub(crate) fn say(world: &World, address: SocketAddr, source: &str, old: &Frame) -> Option<Value> {
    let status = json!({"type": "status", "repo": old.text("repo"), "source": source});
    converse(world, address, "observer", &[status, old.message.clone()])
}

/// The heads that the dispatcher has accepted; none if it does not answer.
pub(crate) fn heads(world: &World, repo: &RepoName, source: &str) -> Vec<(RefName, CommitId)> {
    let status = json!({"type": "status", "repo": repo.as_str(), "source": source});
    let answer = converse(world, world.address().into(), "observer", &[status]).unwrap_or_default();
    let heads = answer["heads"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    heads.map(|head| (RefName::of_branch(text(&head["branch"])), text(&head["commit"]).parse().unwrap())).collect()
}

/// Asks as an operator; returns the answer, if it comes in time.
pub(crate) fn operate(world: &World, question: Value) -> Option<Value> {
    converse(world, world.address().into(), "operator", &[question])
}

/// Sends messages, each after the answer to the one before; returns the last answer.
fn converse(world: &World, address: SocketAddr, role: &str, say: &[Value]) -> Option<Value> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut reader = BufReader::new(&stream);
    let mut answer = Value::Null;
    for message in [&hello(world, role, "echo")].into_iter().chain(say) {
        (&stream).write_all(format!("{message}\n").as_bytes()).ok()?;
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        answer = serde_json::from_str(&line).ok()?;
    }
    Some(answer)
}
