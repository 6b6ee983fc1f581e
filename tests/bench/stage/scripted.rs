//! Peers that speak the protocol and do nothing else, so that a benchmark measures the dispatcher alone.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use git2::Oid;
use rustix::event::{PollFd, PollFlags, Timespec};
use surveil::model::Pin;
use surveil::protocol::hello::{Greeting, Hello, Opening, Role};
use surveil::protocol::observer::{FromObserver, ToObserver};
use surveil::protocol::runner::FromRunner;
use surveil::protocol::{MIN_VERSION, VERSION};
use surveil::transport::{Frame, FrameReader, Stream, write_frame};

use super::Stage;
use super::repo::Repo;

/// Dials and says hello.
pub(crate) fn open(stage: &Stage, role: Role, name: &str) -> (Stream, FrameReader) {
    open_pinned(stage, role, name, &[])
}

/// Like [`open`], encrypted if there are pins.
pub(crate) fn open_pinned(stage: &Stage, role: Role, name: &str, pins: &[Pin]) -> (Stream, FrameReader) {
    let stream = Stream::dial_pinned(&stage.address(), Duration::from_secs(5), pins).expect("a connection");
    let mut reader = FrameReader::new(stream.clone());
    write_frame(&stream, &hello(role, name, stage.token(role))).expect("hello");
    let Some(Greeting::Welcome(_)) = reader.read(4096).expect("an answer") else { panic!("refused") };
    (stream, reader)
}

pub(crate) fn hello(role: Role, name: &str, token: String) -> Frame {
    Frame::new(&Opening::Hello(Hello {
        version: VERSION,
        min_version: MIN_VERSION,
        role,
        name: name.into(),
        incarnation: 1,
        token,
        program: String::new(),
        listens_at: None,
        callback_key: None,
        join: None,
        user: None,
        pins: vec![],
        takes_wakes: false,
        takes_refs: false,
        takes_pieces: false,
    }))
}

pub(crate) fn register(slots: u32) -> Frame {
    Frame::new(&FromRunner::Register {
        slots,
        labels: vec![],
        isolation: "subreaper".into(),
        tiers: None,
        holding: vec![],
        warm: vec![],
        spawned: false,
        spawn: None,
        draining: false,
        takes_source: false,
        takes_cells: true,
    })
}

/// A task file with this many tasks that do nothing.
pub(crate) fn idle_tasks(count: usize) -> String {
    (0..count).map(|n| format!("[task.t{n}]\nrun = \"true\"\n")).collect()
}

/// Announces this many commits with these tasks, each on the one before.
pub(crate) fn submit(stage: &Stage, builds: usize, tasks: &str) {
    let mut submitter = Submitter::connect(stage, "app");
    for _ in 0..builds {
        submitter.submit(tasks);
    }
}

/// An observer that announces one commit after the other.
pub(crate) struct Submitter {
    name: String,
    repo: Repo,
    stream: Stream,
    reader: FrameReader,
    before: Option<Oid>,
    count: usize,
}

impl Submitter {
    /// Connects as the observer of a repository of this name.
    pub(crate) fn connect(stage: &Stage, name: &str) -> Self {
        let repo = Repo::new(&stage.path(&format!("submitted-{name}")));
        let (stream, mut reader) = open(stage, Role::Observer, &format!("bench-{name}"));
        let (name, source) = (name.to_owned(), format!("here:/{name}"));
        let status = FromObserver::Status {
            repo: name.clone(),
            source,
            patterns: Vec::new(),
            default_branch: Some("main".into()),
            named: Vec::new(),
        };
        write_frame(&stream, &Frame::new(&status)).expect("a status");
        assert!(matches!(reader.read::<ToObserver>(1 << 20), Ok(Some(ToObserver::Heads { .. }))));
        Self { name, repo, stream, reader, before: None, count: 0 }
    }

    /// Sends a commit with these tasks and waits until its build is recorded.
    pub(crate) fn submit(&mut self, tasks: &str) {
        self.count += 1;
        let id = self.repo.commit(None, &self.count.to_string(), tasks, &[]);
        let mut pack = self.repo.git.packbuilder().expect("a pack");
        pack.insert_commit(id).expect("an object");
        let mut bytes = git2::Buf::new();
        pack.write_buf(&mut bytes).expect("a pack");
        let message = FromObserver::Pack { repo: self.name.clone(), last: true, bytes: bytes.len() as u64 };
        write_frame(&self.stream, &Frame::with_payload(&message, bytes.to_vec())).expect("a pack");
        let message = FromObserver::Dispatch {
            repo: self.name.clone(),
            branch: "main".into(),
            reference: None,
            before: self.before.map(|id| id.to_string()),
            commit: id.to_string(),
            range: vec![],
            commits: None,
            ancestors: vec![],
            subject: String::new(),
            author: String::new(),
            trigger: "push".into(),
            seen: None,
            facts: None,
        };
        write_frame(&self.stream, &Frame::new(&message)).expect("a dispatch");
        match self.reader.read::<ToObserver>(1 << 20).expect("an answer") {
            Some(ToObserver::Ok { .. }) => {}
            other => panic!("{other:?}"),
        }
        self.before = Some(id);
    }
}

impl Drop for Submitter {
    fn drop(&mut self) {
        self.stream.close();
    }
}

/// Many runners in one thread, which answer every lease with a result at once. Messages are told apart by their
/// first bytes, because parsing them would take longer than the measured work.
pub(crate) struct Crowd {
    runners: Vec<Scripted>,
    scratch: Vec<u8>,
}

struct Scripted {
    socket: TcpStream,
    /// Bytes that were read and not used yet: at most part of a line.
    rest: Vec<u8>,
    /// Bytes to be written.
    out: Vec<u8>,
    ends: bool,
}

/// The messages that the runners received in one turn.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) leases: usize,
    /// Results that the dispatcher has recorded.
    pub(crate) recorded: usize,
}

impl Crowd {
    /// Connects and registers this many runners.
    pub(crate) fn connect(stage: &Stage, prefix: &str, count: usize, slots: u32) -> Self {
        let address = stage.address();
        let token = stage.token(Role::Runner);
        let runners = (0..count).map(|n| {
            let mut socket = TcpStream::connect((address.host.as_str(), address.port)).expect("a connection");
            socket.set_nodelay(true).expect("a socket");
            let hello = hello(Role::Runner, &format!("{prefix}{n}"), token.clone());
            let opening = [hello.line, register(slots).line].concat();
            socket.write_all(&opening).expect("hello");
            socket.set_nonblocking(true).expect("a socket");
            Scripted { socket, rest: Vec::new(), out: Vec::new(), ends: true }
        });
        Self { runners: runners.collect(), scratch: vec![0; 256 * 1024] }
    }

    /// Counts and keeps leases from now on.
    pub(crate) fn keep_leases(&mut self) {
        self.runners.iter_mut().for_each(|runner| runner.ends = false);
    }

    /// Waits for a message, answers it, and returns what it was.
    pub(crate) fn turn(&mut self, wait: Duration) -> Heard {
        let mut heard = Heard::default();
        let ready: Vec<bool> = {
            let mut fds: Vec<_> = self.runners.iter().map(Scripted::wanted).collect();
            let wait = Timespec::try_from(wait).expect("a wait that can be counted");
            rustix::event::poll(&mut fds, Some(&wait)).expect("sockets can be waited for");
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        for (runner, _) in self.runners.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            runner.read(&mut self.scratch, &mut heard);
            runner.write();
        }
        heard
    }

    /// Lets this many runners ping, starting at the given one, after reading their messages. Returns the next runner.
    pub(crate) fn ping_some(&mut self, from: usize, count: usize) -> usize {
        let Self { runners, scratch } = self;
        let total = runners.len();
        for at in from..from + count {
            let runner = &mut runners[at % total];
            runner.read(scratch, &mut Heard::default());
            runner.out.extend_from_slice(b"{\"type\":\"ping\",\"holding\":[]}\n");
            runner.write();
        }
        (from + count) % total
    }

    /// Cuts every connection.
    pub(crate) fn vanish(self) {
        drop(self);
    }

    pub(crate) fn len(&self) -> usize {
        self.runners.len()
    }
}

impl Scripted {
    /// The message that it waits for.
    fn wanted(&self) -> PollFd<'_> {
        let room = if self.out.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        PollFd::new(&self.socket, PollFlags::IN | room)
    }

    fn read(&mut self, scratch: &mut [u8], heard: &mut Heard) {
        let count = match self.socket.read(scratch) {
            Ok(0) => panic!("the dispatcher closed the connection"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        };
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.extend_from_slice(&scratch[..count]);
        let mut rest = &bytes[..];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.take(&rest[..end], heard);
            rest = &rest[end + 1..];
        }
        self.rest = rest.to_vec();
    }

    fn take(&mut self, line: &[u8], heard: &mut Heard) {
        if let Some(lease) = line.strip_prefix(br#"{"type":"runtask","attempt":"#) {
            heard.leases += 1;
            if self.ends {
                let digits = lease.iter().take_while(|byte| byte.is_ascii_digit());
                let attempt = digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
                let result = format!(
                    "{{\"type\":\"results\",\"attempt\":{attempt},\"outcome\":\"passed\",\"duration_ms\":1,\"log_bytes\":0,\
                     \"log_crc32\":0}}\n"
                );
                self.out.extend_from_slice(result.as_bytes());
            }
        } else if line.starts_with(br#"{"type":"ok""#) {
            heard.recorded += 1;
        } else {
            let known = [&br#"{"type":"welcome""#[..], br#"{"type":"registered""#, br#"{"type":"ack""#];
            let text = String::from_utf8_lossy(line);
            assert!(known.iter().any(|start| line.starts_with(start)), "{text}");
        }
    }

    fn write(&mut self) {
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                // The dispatcher reads too slowly; the rest is written in the next turn.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}
