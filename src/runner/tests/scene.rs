//! A runner in a directory of its own, a scripted dispatcher, and a repository between them.

use crate::model::{Label, RunnerName};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::config::{ImageTools, RunnerSettings, TokenSource};
use crate::git::Watched;
use crate::model::{Recipe, Script};
use crate::process::{
    Command, Ended, Enforcement, Exit, ProcessError, ProgressCallbacks, Usage, View, detect_isolation,
};
use crate::protocol::hello::{Greeting, Hello, Opening, Welcome};
use crate::protocol::limits::MAX_LINE_BYTES;
use crate::protocol::runner::{FromRunner, Runtask, StreamName, ToRunner, WireTask};
use crate::runner::executor::{Execute, Executors, MakeExecutor};
use crate::runner::layout::Layout;
use crate::runner::{RunnerError, core};
use crate::shutdown::Stop;
use crate::threads::{self, Thread};
use crate::transport::{Frame, FrameReader, Listener, Stream, write_frame};

/// Longer than any step of a test takes.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// A stand-in for the supervisor that ends the process group only.
fn execute_plainly(
    command: &Command,
    output: File,
    cancel: &Receiver<()>,
    progress: ProgressCallbacks<'_>,
) -> Result<Ended, ProcessError> {
    let Script::Shell(text) = &command.script else { panic!("a shell text") };
    let mut shell = process::Command::new("/bin/sh");
    shell.arg("-c").arg(text).current_dir(&command.directory).env_clear().envs(command.env.iter().cloned());
    shell.process_group(0).stdin(process::Stdio::null());
    shell.stdout(output.try_clone().unwrap()).stderr(output);
    let mut child = shell.spawn().unwrap();
    drop(shell);
    if let Some(started) = progress.started {
        started();
    }
    if let Some(lasting) = progress.lasting {
        lasting();
    }
    let group = rustix::process::Pid::from_child(&child);
    let (over, is_over) = bounded(1);
    let waiting = threads::spawn("wait", move || over.send(child.wait().unwrap()).unwrap()).unwrap();
    let never = crossbeam_channel::never();
    let also = progress.also_cancel.unwrap_or(&never);
    let (status, was_cancelled) = select! {
        recv(is_over) -> status => (status.unwrap(), false),
        recv(cancel) -> _ => {
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
            (is_over.recv().unwrap(), true)
        },
        recv(also) -> _ => {
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
            (is_over.recv().unwrap(), true)
        }
    };
    drop(waiting);
    let exit = match status.code() {
        _ if was_cancelled => Exit::Cancelled,
        Some(code) => Exit::Code(code),
        None => Exit::Signal(9),
    };
    Ok(Ended { exit, duration_ms: 1, leftovers: 0, usage: Usage::default(), enforcement: Enforcement::default() })
}

/// A runner in a thread, its directories, and the listener of its dispatcher.
pub(super) struct Scene {
    pub(super) directory: tempfile::TempDir,
    pub(super) listener: Arc<Listener>,
    pub(super) settings: RunnerSettings,
}

pub(super) struct Running {
    pub(super) stop: Sender<Stop>,
    pub(super) ended: Receiver<Result<(), RunnerError>>,
    pub(super) _thread: Thread<()>,
}

impl Scene {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = Arc::new(Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap());
        let token = directory.path().join("token");
        fs::write(&token, "secret\n").unwrap();
        let settings = RunnerSettings {
            name: RunnerName::new("w1").unwrap(),
            dispatch: vec![listener.local_addr().to_string().parse().unwrap()],
            pins: Vec::new(),
            token: TokenSource::new(token),
            work: directory.path().join("work"),
            slots: 1,
            labels: vec![Label::new("gpu").unwrap()],
            listen: None,
            local_source: None,
            isolation: None,
            log_limit: 1 << 30,
            artifact_files: 1000,
            artifact_bytes: 1 << 30,
            tool_cache_bytes: 1 << 20,
            cache_bytes: 1 << 30,
            min_free: 0,
            grace_ms: 100,
            delivery_ms: 10_000,
            idle_exit_ms: None,
            spawn: None,
            images: ImageTools::none(),
        };
        Self { directory, listener, settings }
    }

    /// Removes the runner's copies of files, so that it asks for all of them again.
    pub(super) fn forget_copies(&self) {
        let copies = self.settings.work.join("caches");
        // There are none if nothing came.
        drop(fs::remove_dir_all(&copies));
        assert!(!copies.exists());
    }

    pub(super) fn start(&self) -> Running {
        let (stop, stopped) = bounded(4);
        let (end, ended) = bounded(1);
        let settings = self.settings.clone();
        let thread = threads::spawn("runner", move || {
            let executor: MakeExecutor = Arc::new(|_: &Layout| -> Box<Execute> { Box::new(execute_plainly) });
            let nests = Arc::new(|_: &Layout, _: Option<&View>, _: usize| unreachable!("no task here has services"));
            let executors = Executors { tasks: executor.clone(), tools: executor, nests };
            end.send(core::run(&settings, detect_isolation(), None, executors, &stopped)).unwrap();
        });
        Running { stop, ended, _thread: thread.unwrap() }
    }

    /// Accepts and greets the next session. Returns it with the runner's registration.
    pub(super) fn accept(&self) -> (Peer, FromRunner) {
        let mut peer = Peer::new(self.listener.accept().unwrap().unwrap());
        assert_eq!(peer.hello().token, "secret");
        peer.welcome();
        let register = peer.hear();
        assert!(matches!(register, FromRunner::Register { .. }), "{register:?}");
        (peer, register)
    }

    /// Accepts the next session and registers the runner, with nothing gone and no logs.
    pub(super) fn accept_and_register(&self) -> Peer {
        let (peer, _) = self.accept();
        peer.say(&ToRunner::Registered { gone: vec![], logs: vec![], drained: false });
        peer
    }

    /// Makes a repository with one commit that holds `hello.txt`.
    pub(super) fn repository(&self) -> (Watched, String) {
        let path = self.directory.path().join("repo");
        fs::create_dir(&path).unwrap();
        git(&path, &["init", "-q"]);
        let head = self.commit("hello from the commit\n");
        (Watched::open(&path).unwrap(), head)
    }

    /// Makes another commit there, with another `hello.txt`.
    pub(super) fn commit(&self, hello: &str) -> String {
        let path = self.directory.path().join("repo");
        fs::write(path.join("hello.txt"), hello).unwrap();
        git(&path, &["add", "."]);
        git(&path, &["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "a commit"]);
        git(&path, &["rev-parse", "HEAD"]).trim().to_owned()
    }

    pub(super) fn fifo(&self, name: &str) -> std::path::PathBuf {
        let path = self.directory.path().join(name);
        assert!(process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }
}

pub(super) fn git(at: &Path, arguments: &[&str]) -> String {
    crate::git::tests::support::git_in(at, arguments)
}

impl Running {
    pub(super) fn end(self, stop: Stop) -> Result<(), RunnerError> {
        self.stop.send(stop).unwrap();
        self.ended.recv_timeout(LONG).unwrap()
    }
}

/// The dispatcher's end of a session.
pub(super) struct Peer {
    pub(super) stream: Stream,
    pub(super) reader: FrameReader,
    pub(super) log: Vec<u8>,
}

impl Peer {
    pub(super) fn new(stream: Stream) -> Self {
        let mut reader = FrameReader::new(stream.clone());
        reader.set_timeout(Some(LONG)).unwrap();
        Self { stream, reader, log: Vec::new() }
    }

    pub(super) fn hello(&mut self) -> Hello {
        let Opening::Hello(hello) = self.reader.read(MAX_LINE_BYTES).unwrap().unwrap();
        hello
    }

    pub(super) fn welcome(&self) {
        let welcome = Welcome {
            version: 1,
            session: 1,
            incarnation: 5,
            ping_interval_ms: 20,
            timeout_ms: 10_000,
            takes_refs: false,
            takes_entries: true,
            pins: Vec::new(),
            joined: None,
        };
        write_frame(&self.stream, &Frame::new(&Greeting::Welcome(welcome))).unwrap();
    }

    pub(super) fn say(&self, message: &ToRunner) {
        write_frame(&self.stream, &Frame::new(message)).unwrap();
    }

    /// Returns the next message that is not a ping. Pings are answered.
    pub(super) fn hear(&mut self) -> FromRunner {
        loop {
            let message = self.reader.read(MAX_LINE_BYTES).unwrap().expect("the session goes on");
            if !matches!(message, FromRunner::Ping { .. }) {
                return message;
            }
            self.say(&ToRunner::Ack { gone: vec![] });
        }
    }

    /// Reads the log, and returns the next message that is neither `log` nor `started`. `started` may come before or
    /// after the first piece.
    pub(super) fn hear_log(&mut self, acknowledge: bool) -> FromRunner {
        loop {
            let message = self.hear();
            if let FromRunner::Log { attempt, stream: StreamName::Log, offset, bytes, .. } = message {
                self.take_log(offset, bytes);
                if acknowledge {
                    self.say(&ToRunner::LogAck { attempt, stream: StreamName::Log, offset: self.log.len() as u64 });
                }
            } else if !matches!(message, FromRunner::Started { .. }) {
                return message;
            }
        }
    }

    /// Waits until `count` bytes of log have come.
    pub(super) fn hear_bytes(&mut self, count: usize) {
        while self.log.len() < count {
            let message = self.hear();
            if let FromRunner::Log { offset, bytes, .. } = message {
                self.take_log(offset, bytes);
            } else {
                assert!(matches!(message, FromRunner::Started { .. }), "{message:?}");
            }
        }
    }

    pub(super) fn take_log(&mut self, offset: u64, bytes: u64) {
        assert_eq!(offset, self.log.len() as u64, "no gap and no double");
        let mut piece = Vec::new();
        self.reader.read_payload(bytes, &mut piece).unwrap();
        self.log.extend(piece);
    }

    /// Tells the runner that a result is durable.
    pub(super) fn record(&self, attempt: u64) {
        self.say(&ToRunner::Ok { attempt });
    }

    /// Sends the source of the commit before a lease of it.
    pub(super) fn give_ahead(&self, commit: &str, pack: Vec<u8>) {
        let message = ToRunner::SourceAhead { repo: "app".into(), commit: commit.into(), bytes: pack.len() as u64 };
        write_frame(&self.stream, &Frame::with_payload(&message, pack)).unwrap();
    }

    /// Answers the request for source with the whole pack.
    pub(super) fn give_source(&mut self, repository: &Watched, commit: &str) {
        let FromRunner::Source { attempt, haves, .. } = self.hear() else { panic!("source is asked for") };
        assert_eq!(haves, Vec::<String>::new());
        let pack = pack(repository, commit, &[]);
        let middle = pack.len() / 2;
        for (bytes, last) in [(&pack[..middle], false), (&pack[middle..], true)] {
            let message = ToRunner::Pack { attempt, last, bytes: bytes.len() as u64, facts: None };
            write_frame(&self.stream, &Frame::with_payload(&message, bytes.to_vec())).unwrap();
        }
    }
}

/// Returns a pack of the objects that the commit has and the others have not.
pub(super) fn pack(repository: &Watched, commit: &str, haves: &[&str]) -> Vec<u8> {
    let mut pack = Vec::new();
    let haves: Vec<_> = haves.iter().map(|have| have.parse().unwrap()).collect();
    let mut take = |piece: &[u8]| {
        pack.extend_from_slice(piece);
        true
    };
    repository.pack(&[commit.parse().unwrap()], &haves, &mut take).unwrap();
    pack
}

pub(super) fn runtask(attempt: u64, commit: &str, script: &str) -> ToRunner {
    ToRunner::Runtask(Box::new(Runtask {
        attempt,
        lease_ms: 60_000,
        build: 3,
        number: 1,
        repo: "app".into(),
        branch: "main".into(),
        reference: None,
        event: Some("push".into()),
        trusted: Some(true),
        default_branch: None,
        slots: 1,
        before: Some("1".repeat(40)),
        url: Some("https://me:secret@h/app.git".into()),
        commit: commit.to_owned(),
        outputs: Vec::new(),
        outputs_missing: None,
        cache_scopes: Vec::new(),
        artifacts: Vec::new(),
        artifacts_missing: None,
        task: Ok(WireTask {
            name: "test".into(),
            recipe: Arc::new(Recipe {
                env: vec![("EXTRA".into(), "1".into())],
                timeout_ms: 60_000,
                ..Recipe::new(Script::Shell(script.into()))
            }),
        }),
    }))
}

#[track_caller]
pub(super) fn assert_results(message: &FromRunner, wanted: &str, log: &[u8]) {
    let FromRunner::Results { outcome, log_bytes, log_crc32, reason, .. } = message else { panic!("{message:?}") };
    assert_eq!((outcome.as_str(), *log_bytes), (wanted, log.len() as u64), "{reason:?}");
    assert_eq!(*log_crc32, crc32fast::hash(log));
}

pub(super) fn file_count(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}
