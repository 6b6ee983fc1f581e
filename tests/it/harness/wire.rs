//! A peer that sends messages of the protocol, or any bytes, over a plain socket.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{PATIENCE, World, now};

/// Shorter than the timeout of any test's dispatcher.
const PING_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
    deadline: Instant,
    /// The message that is sent regularly during a wait.
    ping: Option<Value>,
}

impl Wire {
    pub(crate) fn dial(world: &World) -> Self {
        let stream = TcpStream::connect(world.address()).unwrap();
        Self { stream: BufReader::new(stream), deadline: now() + PATIENCE, ping: None }
    }

    /// A session in that role, which sends nothing by itself.
    #[track_caller]
    pub(crate) fn quiet(world: &World, role: &str, name: &str) -> Self {
        let mut wire = Self::dial(world);
        wire.say(&hello(world, role, name));
        let welcome = wire.hear();
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        wire
    }

    /// A session in that role, which pings during each wait.
    #[track_caller]
    pub(crate) fn greet(world: &World, role: &str, name: &str) -> Self {
        let mut wire = Self::quiet(world, role, name);
        if role != "runner" {
            wire.ping = Some(json!({"type": "ping"}));
        }
        wire
    }

    /// Sends a message.
    pub(crate) fn say(&mut self, message: &Value) {
        self.send(format!("{message}\n").as_bytes()).unwrap();
    }

    /// Sends bytes, whatever they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The next message other than the answer to a ping.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> Value {
        self.hear_or(|| "a message".into())
    }

    /// Like [`Self::hear`], but names what was waited for if the wait was in vain.
    #[track_caller]
    pub(crate) fn hear_or(&mut self, what: impl FnOnce() -> String) -> Value {
        let mut line = Vec::new();
        loop {
            self.stream.get_mut().set_read_timeout(Some(PING_EVERY)).unwrap();
            match self.stream.read_until(b'\n', &mut line) {
                Ok(_) if line == b"{\"type\":\"ack\"}\n" => line.clear(),
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if now() > self.deadline {
                        panic!("in vain: {}", what());
                    }
                    if let Some(ping) = self.ping.clone() {
                        self.say(&ping);
                    }
                }
                Err(error) => panic!("no news: {error}"),
            }
        }
        let text = String::from_utf8_lossy(&line);
        serde_json::from_slice(&line).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }

    /// The next message; `None` if the connection ends or breaks instead.
    pub(crate) fn try_hear(&mut self) -> Option<Value> {
        self.stream.get_mut().set_read_timeout(Some(PATIENCE)).unwrap();
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(1..) => Some(serde_json::from_slice(&line).unwrap()),
            Ok(0) => None,
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::WouldBlock, "neither an answer nor an end");
                None
            }
        }
    }

    /// Reads a payload.
    pub(crate) fn payload(&mut self, bytes: u64) -> Vec<u8> {
        let mut payload = Vec::new();
        self.stream.by_ref().take(bytes).read_to_end(&mut payload).unwrap();
        assert_eq!(payload.len() as u64, bytes, "the payload is shorter than announced");
        payload
    }

    /// Skips a payload.
    pub(crate) fn skip(&mut self, bytes: u64) {
        let skipped = io::copy(&mut self.stream.by_ref().take(bytes), &mut io::sink()).unwrap();
        assert_eq!(skipped, bytes, "the payload is shorter than announced");
    }

    /// The answer to a question.
    #[track_caller]
    pub(crate) fn ask(&mut self, question: &Value) -> Value {
        self.say(question);
        self.hear()
    }

    /// All bytes up to the end of the connection.
    pub(crate) fn rest(mut self) -> io::Result<Vec<u8>> {
        self.stream.get_mut().set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).map(|_| bytes)
    }

    /// Reads the refusal, and then the end of the connection.
    #[track_caller]
    pub(crate) fn expect_refusal(mut self, code: &str) -> String {
        let error = self.hear();
        assert_eq!((&error["type"], &error["code"]), (&"error".into(), &code.into()), "{error}");
        let rest = self.rest().unwrap();
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
        error["text"].as_str().unwrap().to_owned()
    }
}

/// The first line of a session.
pub(crate) fn hello(world: &World, role: &str, name: &str) -> Value {
    json!({
        "type": "hello", "version": 1, "min_version": 1, "role": role, "name": name, "incarnation": 1,
        "token": world.token(role), "program": "test",
    })
}
