//! A scripted dispatcher for tests. It sends what the test tells it to, and waits for the observer's messages, with a
//! deadline.

use std::time::Duration;

use crate::model::RefName;
use crate::protocol::hello::{ErrorCode, Greeting, Hello, Opening, Refusal, Welcome};
use crate::protocol::limits::MAX_LINE_BYTES;
use crate::protocol::observer::{FromObserver, Head, ToObserver};
use crate::transport::{Frame, FrameReader, Stream, TransportError, write_frame};

/// How long a test waits for an event that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The dispatcher's end of one connection.
pub(crate) struct Scripted {
    pub stream: Stream,
    reader: FrameReader,
}

/// An announcement as it arrived, with the pack before it.
#[derive(Debug)]
pub(crate) struct Announced {
    pub message: FromObserver,
    pub pack: Vec<u8>,
}

impl Scripted {
    pub(crate) fn new(stream: Stream) -> Self {
        let mut reader = FrameReader::new(stream.clone());
        reader.set_timeout(Some(DEADLINE)).unwrap();
        Self { stream, reader }
    }

    pub(crate) fn hello(&mut self) -> Hello {
        let Opening::Hello(hello) = self.reader.read(MAX_LINE_BYTES).unwrap().expect("a hello");
        hello
    }

    /// Takes the hello, and agrees to pings at a very long interval.
    pub(crate) fn welcome(&mut self) {
        self.welcome_with(60_000, 300_000);
    }

    pub(crate) fn welcome_with(&mut self, ping_interval_ms: u64, timeout_ms: u64) {
        self.hello();
        let welcome = Welcome {
            version: 1,
            session: 7,
            incarnation: 1,
            ping_interval_ms,
            timeout_ms,
            takes_refs: true,
            takes_entries: false,
            pins: Vec::new(),
            joined: None,
        };
        write_frame(&self.stream, &Frame::new(&Greeting::Welcome(welcome))).unwrap();
    }

    /// Answers the hello with a refusal.
    pub(crate) fn turn_away(&mut self, code: ErrorCode, text: &str) {
        self.hello();
        let refusal = Refusal::new(code, text);
        write_frame(&self.stream, &Frame::new(&Greeting::Error(refusal))).unwrap();
        self.stream.close();
    }

    /// Returns the observer's next message; `None` if it closed the connection.
    pub(crate) fn hear_any(&mut self) -> Option<FromObserver> {
        self.reader.read(MAX_LINE_BYTES).unwrap()
    }

    /// Returns the observer's next message that is not a ping.
    pub(crate) fn hear(&mut self) -> FromObserver {
        loop {
            let message = self.hear_any().expect("a message");
            if message != FromObserver::Ping {
                return message;
            }
            self.say(&ToObserver::Ack);
        }
    }

    /// Whether the observer sends nothing except pings for that long.
    pub(crate) fn hears_nothing_for(&mut self, time: Duration) -> bool {
        self.reader.set_timeout(Some(time)).unwrap();
        let heard = loop {
            match self.reader.read(MAX_LINE_BYTES) {
                Ok(Some(FromObserver::Ping)) => self.say(&ToObserver::Ack),
                other => break other,
            }
        };
        self.reader.set_timeout(Some(DEADLINE)).unwrap();
        matches!(heard, Err(TransportError::TimedOut(_)))
    }

    pub(crate) fn payload(&mut self, bytes: u64) -> Vec<u8> {
        let mut payload = Vec::new();
        self.reader.read_payload(bytes, &mut payload).unwrap();
        payload
    }

    pub(crate) fn say(&self, message: &ToObserver) {
        write_frame(&self.stream, &Frame::new(message)).unwrap();
    }

    pub(crate) fn refuse(&self, code: ErrorCode, text: &str) {
        self.say(&ToObserver::Error(Refusal::new(code, text)));
    }

    /// Waits for the question about a repository's heads, and answers with these, given as `branch=commit`.
    pub(crate) fn tell_heads(&mut self, heads: &[(&str, &str)]) -> String {
        let FromObserver::Status { repo, .. } = self.hear() else { panic!("not a status") };
        let head = |(branch, commit): &(&str, &str)| {
            let name = if branch.starts_with("refs/") { RefName::new(branch) } else { RefName::of_branch(branch) };
            let (branch, reference) = name.written();
            Head { branch, reference, commit: (*commit).into(), noted: false }
        };
        self.say(&ToObserver::Heads {
            repo: repo.clone(),
            heads: heads.iter().map(head).collect(),
            more: false,
            moves: None,
            unseen: Vec::new(),
        });
        repo
    }

    /// Waits for an announcement, with its pack.
    pub(crate) fn announced(&mut self) -> Announced {
        let mut pack = Vec::new();
        let mut is_complete = true;
        loop {
            let message = self.hear();
            let FromObserver::Pack { last, bytes, .. } = message else {
                assert!(is_complete, "an announcement inside a pack");
                return Announced { message, pack };
            };
            assert!(bytes <= 256 * 1024, "a piece of {bytes} bytes");
            assert!(is_complete == pack.is_empty(), "a piece after the last one");
            pack.extend(self.payload(bytes));
            is_complete = last;
        }
    }

    /// Answers an announcement with `ok`.
    pub(crate) fn accept(&self, announced: &Announced, build: u64) {
        let (repo, branch, reference, commit, build) = match &announced.message {
            FromObserver::Dispatch { repo, branch, reference, commit, .. } => {
                (repo, branch, reference, Some(commit.clone()), Some(build))
            }
            FromObserver::Gone { repo, branch, reference, .. } => (repo, branch, reference, None, None),
            other @ (FromObserver::Status { .. }
            | FromObserver::Existing { .. }
            | FromObserver::Pack { .. }
            | FromObserver::Supply { .. }
            | FromObserver::Ping) => {
                panic!("not an announcement: {other:?}")
            }
        };
        let (repo, branch, reference) = (repo.clone(), branch.clone(), reference.clone());
        self.say(&ToObserver::Ok { repo, branch, reference, commit, build, moves: None });
    }
}

impl Announced {
    /// Formats the announcement as `branch before..commit`, or as `branch before gone`.
    pub(crate) fn show(&self) -> String {
        let before = |before: &Option<String>| before.clone().unwrap_or_else(|| "-".to_owned());
        match &self.message {
            FromObserver::Dispatch { branch, before: b, commit, .. } => format!("{branch} {}..{commit}", before(b)),
            FromObserver::Gone { branch, before, .. } => format!("{branch} {before} gone"),
            other @ (FromObserver::Status { .. }
            | FromObserver::Existing { .. }
            | FromObserver::Pack { .. }
            | FromObserver::Supply { .. }
            | FromObserver::Ping) => {
                format!("{other:?}")
            }
        }
    }
}
