//! Whole runners against a scripted dispatcher over TCP: real git, real output, a stand-in for the supervisor.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::RunnerError;
use super::core;
use super::slot::Execute;
use crate::config::{RunnerSettings, TokenSource};
use crate::git::Watched;
use crate::process::{Command, Ended, Exit, ProcessError, detect_isolation};
use crate::protocol::hello::{Call, ErrorCode, Greeting, Hello, Opening, Refusal, Welcome};
use crate::protocol::limits::MAX_LINE_BYTES;
use crate::protocol::runner::{FromRunner, LogOffset, Runtask, ToRunner, WireTask};
use crate::shutdown::Stop;
use crate::threads::{self, Thread};
use crate::transport::{Frame, FrameReader, Listener, Stream, write_frame};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// A stand-in for the supervisor that ends the process group only.
struct Plain;

impl Execute for Plain {
    fn run(
        &mut self,
        command: &Command,
        output: File,
        cancel: &Receiver<()>,
        started: &mut dyn FnMut(),
    ) -> Result<Ended, ProcessError> {
        let crate::model::Script::Shell(text) = &command.script else { panic!("a shell text") };
        let mut shell = process::Command::new("/bin/sh");
        shell.arg("-c").arg(text).current_dir(&command.directory).env_clear().envs(command.env.iter().cloned());
        shell.process_group(0).stdin(process::Stdio::null());
        shell.stdout(output.try_clone().unwrap()).stderr(output);
        let mut child = shell.spawn().unwrap();
        drop(shell);
        started();
        let group = rustix::process::Pid::from_child(&child);
        let (over, is_over) = bounded(1);
        let waiting = threads::spawn("wait", move || over.send(child.wait().unwrap()).unwrap()).unwrap();
        let (status, was_cancelled) = select! {
            recv(is_over) -> status => (status.unwrap(), false),
            recv(cancel) -> _ => {
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
        Ok(Ended { exit, duration_ms: 1, leftovers: 0 })
    }
}

/// A runner in a thread, its directories, and where its dispatcher listens.
struct Scene {
    directory: tempfile::TempDir,
    listener: Arc<Listener>,
    settings: RunnerSettings,
}

struct Running {
    stop: Sender<Stop>,
    ended: Receiver<Result<(), RunnerError>>,
    _thread: Thread<()>,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = Arc::new(Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap());
        let token = directory.path().join("token");
        fs::write(&token, "secret\n").unwrap();
        let settings = RunnerSettings {
            name: "w1".into(),
            dispatch: vec![listener.local_addr().to_string().parse().unwrap()],
            token: TokenSource(token),
            work: directory.path().join("work"),
            slots: 1,
            labels: vec!["gpu".into()],
            listen: None,
            local_source: None,
            log_limit: 1 << 30,
            min_free: 0,
            grace_ms: 100,
            idle_exit_ms: None,
            spawned: false,
        };
        Self { directory, listener, settings }
    }

    fn start(&self) -> Running {
        let (stop, stopped) = bounded(4);
        let (end, ended) = bounded(1);
        let settings = self.settings.clone();
        let thread = threads::spawn("runner", move || {
            let executor = Arc::new(|| -> Box<dyn Execute> { Box::new(Plain) });
            end.send(core::run(&settings, detect_isolation(), executor, &stopped)).unwrap();
        });
        Running { stop, ended, _thread: thread.unwrap() }
    }

    /// The next session, greeted, with what the runner registered.
    fn accept(&self) -> (Peer, FromRunner) {
        let mut peer = Peer::new(self.listener.accept().unwrap().unwrap());
        assert_eq!(peer.hello().token, "secret");
        peer.welcome();
        let register = peer.hear();
        assert!(matches!(register, FromRunner::Register { .. }), "{register:?}");
        (peer, register)
    }

    /// The same, with nothing gone and no logs.
    fn accept_and_register(&self) -> Peer {
        let (peer, _) = self.accept();
        peer.say(&ToRunner::Registered { gone: vec![], logs: vec![] });
        peer
    }

    /// A repository with one commit that holds `hello.txt`.
    fn repository(&self) -> (Watched, String) {
        let path = self.directory.path().join("repo");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("hello.txt"), "hello from the commit\n").unwrap();
        git(&path, &["init", "-q"]);
        git(&path, &["add", "."]);
        git(&path, &["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "first"]);
        let head = git(&path, &["rev-parse", "HEAD"]);
        (Watched::open(&path).unwrap(), head.trim().to_owned())
    }

    fn fifo(&self, name: &str) -> std::path::PathBuf {
        let path = self.directory.path().join(name);
        assert!(process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }
}

fn git(at: &Path, arguments: &[&str]) -> String {
    let output = process::Command::new("git").arg("-C").arg(at).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

impl Running {
    fn end(self, stop: Stop) -> Result<(), RunnerError> {
        self.stop.send(stop).unwrap();
        self.ended.recv_timeout(LONG).unwrap()
    }
}

/// The dispatcher's end of a session.
struct Peer {
    stream: Stream,
    reader: FrameReader,
    log: Vec<u8>,
}

impl Peer {
    fn new(stream: Stream) -> Self {
        let mut reader = FrameReader::new(stream.clone());
        reader.set_timeout(Some(LONG)).unwrap();
        Self { stream, reader, log: Vec::new() }
    }

    fn hello(&mut self) -> Hello {
        let Opening::Hello(hello) = self.reader.read(MAX_LINE_BYTES).unwrap().unwrap();
        hello
    }

    fn welcome(&self) {
        let welcome = Welcome { version: 1, session: 1, incarnation: 5, ping_interval_ms: 20, timeout_ms: 10_000 };
        write_frame(&self.stream, &Frame::new(&Greeting::Welcome(welcome))).unwrap();
    }

    fn say(&self, message: &ToRunner) {
        write_frame(&self.stream, &Frame::new(message)).unwrap();
    }

    /// The next message that is no ping; those are answered.
    fn hear(&mut self) -> FromRunner {
        loop {
            let message = self.reader.read(MAX_LINE_BYTES).unwrap().expect("the session goes on");
            if !matches!(message, FromRunner::Ping { .. }) {
                return message;
            }
            self.say(&ToRunner::Ack { gone: vec![] });
        }
    }

    /// The next message that is neither of the log nor `started`, which may come before or after the first of it.
    fn hear_log(&mut self, acknowledge: bool) -> FromRunner {
        loop {
            let message = self.hear();
            if let FromRunner::Log { attempt, offset, bytes } = message {
                self.take_log(offset, bytes);
                if acknowledge {
                    self.say(&ToRunner::LogAck { attempt, offset: self.log.len() as u64 });
                }
            } else if !matches!(message, FromRunner::Started { .. }) {
                return message;
            }
        }
    }

    /// Waits for so many bytes of log.
    fn hear_bytes(&mut self, count: usize) {
        while self.log.len() < count {
            let message = self.hear();
            if let FromRunner::Log { offset, bytes, .. } = message {
                self.take_log(offset, bytes);
            } else {
                assert!(matches!(message, FromRunner::Started { .. }), "{message:?}");
            }
        }
    }

    fn take_log(&mut self, offset: u64, bytes: u64) {
        assert_eq!(offset, self.log.len() as u64, "no gap and no double");
        self.reader.read_payload(bytes, &mut self.log).unwrap();
    }

    /// Says that a result is durable.
    fn record(&self, attempt: u64) {
        self.say(&ToRunner::Ok { attempt });
    }

    /// Answers the request for source with the whole pack.
    fn give_source(&mut self, repository: &Watched, commit: &str) {
        let FromRunner::Source { attempt, haves } = self.hear() else { panic!("source is asked for") };
        assert_eq!(haves, Vec::<String>::new());
        let mut pack = Vec::new();
        repository
            .pack(&[commit.parse().unwrap()], &[], &mut |piece| {
                pack.extend_from_slice(piece);
                true
            })
            .unwrap();
        let middle = pack.len() / 2;
        for (bytes, last) in [(&pack[..middle], false), (&pack[middle..], true)] {
            let message = ToRunner::Pack { attempt, last, bytes: bytes.len() as u64 };
            write_frame(&self.stream, &Frame::with_payload(&message, bytes.to_vec())).unwrap();
        }
    }
}

fn runtask(attempt: u64, commit: &str, script: &str) -> ToRunner {
    ToRunner::Runtask(Box::new(Runtask {
        attempt,
        lease_ms: 60_000,
        build: 3,
        number: 1,
        repo: "app".into(),
        branch: "main".into(),
        commit: commit.to_owned(),
        task: WireTask {
            name: "test".into(),
            shell: Some(script.into()),
            program: None,
            env: vec![("EXTRA".into(), "1".into())],
            timeout_ms: 60_000,
            keep: vec![],
            exclusive: false,
        },
    }))
}

#[track_caller]
fn assert_results(message: &FromRunner, wanted: &str, log: &[u8]) {
    let FromRunner::Results { outcome, log_bytes, log_crc32, reason, .. } = message else { panic!("{message:?}") };
    assert_eq!((outcome.as_str(), *log_bytes), (wanted, log.len() as u64), "{reason:?}");
    assert_eq!(*log_crc32, crc32fast::hash(log));
}

fn file_count(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[test]
fn a_commits_task_is_executed_from_the_pack_and_its_log_and_result_arrive() {
    let scene = Scene::new();
    let (repository, commit) = scene.repository();
    let runner = scene.start();
    let (mut peer, register) = scene.accept();
    let FromRunner::Register { slots: 1, labels, holding, .. } = register else { panic!("{register:?}") };
    assert!(labels.contains(&"gpu".to_owned()), "{labels:?}");
    assert!(labels.iter().any(|label| label.starts_with("os=")), "its own facts, too: {labels:?}");
    assert!(holding.is_empty(), "{holding:?}");
    peer.say(&ToRunner::Registered { gone: vec![], logs: vec![] });
    peer.say(&runtask(7, &commit, "cat hello.txt; echo $SURVEIL_TASK $EXTRA; exit 3"));
    peer.give_source(&repository, &commit);
    let results = peer.hear_log(true);
    assert_eq!(peer.log, b"hello from the commit\ntest 1\n");
    assert_results(&results, "failed", &peer.log);
    peer.record(7);
    peer.say(&runtask(8, &commit, "test -f hello.txt"));
    assert_eq!(peer.hear(), FromRunner::Started { attempt: 8 });
    assert_results(&peer.hear(), "passed", b"");
    peer.record(8);
    runner.stop.send(Stop::Drain).unwrap();
    assert_eq!(peer.hear(), FromRunner::Draining);
    // It waits until its ping after that is answered.
    while let Ok(Some(FromRunner::Ping { .. })) = peer.reader.read(MAX_LINE_BYTES) {
        drop(write_frame(&peer.stream, &Frame::new(&ToRunner::Ack { gone: vec![] })));
    }
    runner.ended.recv_timeout(LONG).unwrap().unwrap();
    assert_eq!(file_count(&scene.settings.work.join("spool")), 0, "what was delivered is deleted");
}

#[test]
fn a_session_that_breaks_is_taken_up_again_at_the_byte_where_the_dispatcher_stands() {
    let scene = Scene::new();
    let (repository, commit) = scene.repository();
    let gate = scene.fifo("gate");
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &commit, &format!("printf 0123456789; cat {}; printf end", gate.display())));
    peer.give_source(&repository, &commit);
    peer.hear_bytes(10);
    peer.stream.close();

    let (mut peer, register) = scene.accept();
    assert!(matches!(register, FromRunner::Register { holding, .. } if holding == [7]));
    peer.say(&ToRunner::Registered { gone: vec![], logs: vec![LogOffset { attempt: 7, offset: 4 }] });
    peer.log = b"0123".to_vec();
    fs::write(&gate, "more").unwrap();
    let results = peer.hear_log(false);
    assert_eq!(peer.log, b"0123456789moreend");
    assert_results(&results, "passed", &peer.log);
    peer.stream.close();

    let (mut peer, register) = scene.accept();
    assert!(matches!(register, FromRunner::Register { holding, .. } if holding == [7]));
    peer.say(&ToRunner::Registered { gone: vec![], logs: vec![LogOffset { attempt: 7, offset: 17 }] });
    assert_results(&peer.hear(), "passed", b"0123456789moreend");
    // The dispatcher finds that it does not have the end after all.
    peer.log = b"0123456789".to_vec();
    peer.say(&ToRunner::LogAck { attempt: 7, offset: 10 });
    assert_results(&peer.hear_log(true), "passed", b"0123456789moreend");
    peer.record(7);
    peer.say(&ToRunner::Drain);
    assert_eq!(peer.hear(), FromRunner::Draining);
    peer.stream.close();
    runner.ended.recv_timeout(LONG).unwrap().unwrap();
}

#[test]
fn a_pack_cut_off_by_the_end_of_the_session_is_asked_for_again() {
    let scene = Scene::new();
    let (repository, commit) = scene.repository();
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &commit, "cat hello.txt"));
    let FromRunner::Source { attempt, .. } = peer.hear() else { panic!("source is asked for") };
    let message = ToRunner::Pack { attempt, last: false, bytes: 4 };
    write_frame(&peer.stream, &Frame::with_payload(&message, b"PACK".to_vec())).unwrap();
    peer.stream.close();
    let mut peer = scene.accept_and_register();
    peer.give_source(&repository, &commit);
    assert_results(&peer.hear_log(true), "passed", b"hello from the commit\n");
    peer.record(7);
    runner.end(Stop::Now).unwrap();
}

#[test]
fn a_source_that_is_missing_or_broken_is_a_loss_and_not_a_failure() {
    let scene = Scene::new();
    let (repository, commit) = scene.repository();
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &commit, "true"));
    assert!(matches!(peer.hear(), FromRunner::Source { attempt: 7, .. }));
    peer.say(&ToRunner::SourceMissing { attempt: 7, reason: "pruned".into() });
    assert_results(&peer.hear(), "lost", b"");
    peer.record(7);
    peer.say(&runtask(8, &commit, "true"));
    assert!(matches!(peer.hear(), FromRunner::Source { attempt: 8, .. }));
    let message = ToRunner::Pack { attempt: 8, last: true, bytes: 5 };
    write_frame(&peer.stream, &Frame::with_payload(&message, b"trash".to_vec())).unwrap();
    assert_results(&peer.hear(), "lost", b"");
    peer.record(8);
    peer.say(&runtask(9, &commit, "true"));
    peer.give_source(&repository, &commit);
    assert_results(&peer.hear_log(true), "passed", b"");
    peer.record(9);
    runner.end(Stop::Now).unwrap();
}

#[test]
fn a_cancelled_attempt_ends_and_says_so() {
    let scene = Scene::new();
    let (repository, commit) = scene.repository();
    let gate = scene.fifo("gate");
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &commit, &format!("cat {}", gate.display())));
    peer.give_source(&repository, &commit);
    assert_eq!(peer.hear(), FromRunner::Started { attempt: 7 });
    peer.say(&ToRunner::Cancel { attempt: 7 });
    assert_results(&peer.hear(), "cancelled", b"");
    peer.record(7);
    runner.end(Stop::Now).unwrap();
}

#[test]
fn what_could_not_be_delivered_is_delivered_by_the_next_start() {
    let mut scene = Scene::new();
    let (repository, commit) = scene.repository();
    scene.settings.slots = 2;
    let gate = scene.fifo("gate");
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &commit, "echo seven"));
    peer.give_source(&repository, &commit);
    assert_results(&peer.hear_log(true), "passed", b"seven\n");
    peer.say(&runtask(8, &commit, &format!("echo eight; cat {}", gate.display())));
    peer.log.clear();
    peer.hear_bytes(6);
    peer.stream.close();
    scene.listener.close();
    runner.end(Stop::Now).unwrap();

    let listener = Arc::new(Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap());
    scene.settings.dispatch = vec![listener.local_addr().to_string().parse().unwrap()];
    scene.listener = listener;
    let runner = scene.start();
    let (mut peer, register) = scene.accept();
    let FromRunner::Register { holding, warm, .. } = register else { panic!("{register:?}") };
    assert_eq!(holding, [7, 8]);
    assert_eq!(warm[0].commit, commit);
    peer.say(&ToRunner::Registered { gone: vec![], logs: vec![LogOffset { attempt: 7, offset: 6 }] });
    let mut found = [peer.hear_log(true), peer.hear_log(true)];
    found.sort_by_key(|message| matches!(message, FromRunner::Results { attempt: 8, .. }));
    assert_results(&found[0], "passed", b"seven\n");
    assert_results(&found[1], "cancelled", b"eight\n");
    assert_eq!(peer.log, b"eight\n");
    peer.record(7);
    peer.record(8);
    runner.end(Stop::Now).unwrap();
}

#[test]
fn a_runner_with_a_wrong_token_ends_and_says_what_to_do() {
    let scene = Scene::new();
    let runner = scene.start();
    let mut peer = Peer::new(scene.listener.accept().unwrap().unwrap());
    peer.hello();
    let refusal = Refusal { code: ErrorCode::Token, text: "the token is wrong".into() };
    write_frame(&peer.stream, &Frame::new(&Greeting::Error(refusal))).unwrap();
    let error = runner.ended.recv_timeout(LONG).unwrap().unwrap_err();
    assert!(error.to_string().contains("--token-file"), "{error}");
}

#[test]
fn a_runner_whose_name_is_taken_tries_again() {
    let scene = Scene::new();
    let runner = scene.start();
    let mut peer = Peer::new(scene.listener.accept().unwrap().unwrap());
    peer.hello();
    let refusal = Refusal { code: ErrorCode::NameTaken, text: "w1 is connected".into() };
    write_frame(&peer.stream, &Frame::new(&Greeting::Error(refusal))).unwrap();
    let peer = scene.accept_and_register();
    runner.end(Stop::Now).unwrap();
    drop(peer);
}

#[test]
fn a_listening_runner_answers_only_who_shows_its_key() {
    let mut scene = Scene::new();
    scene.settings.listen = Some("127.0.0.1:0".parse().unwrap());
    let runner = scene.start();
    let mut announced = Peer::new(scene.listener.accept().unwrap().unwrap());
    let hello = announced.hello();
    announced.welcome();
    let address = hello.listens_at.unwrap();
    let key = hello.callback_key.unwrap();
    assert_eq!(key.len(), 64);

    let mut impostor = Peer::new(Stream::dial(&address.parse().unwrap(), LONG).unwrap());
    let call = |callback_key: &str| Frame::new(&Call::Dialled { callback_key: callback_key.to_owned() });
    write_frame(&impostor.stream, &call("0000")).unwrap();
    assert!(impostor.reader.read::<Opening>(MAX_LINE_BYTES).is_ok_and(|message| message.is_none()));

    let mut peer = Peer::new(Stream::dial(&address.parse().unwrap(), LONG).unwrap());
    write_frame(&peer.stream, &call(&key)).unwrap();
    assert_eq!(peer.hello().listens_at, None);
    peer.welcome();
    assert!(matches!(peer.hear(), FromRunner::Register { .. }));
    peer.say(&ToRunner::Registered { gone: vec![], logs: vec![] });
    peer.stream.close();
    let mut announced = Peer::new(scene.listener.accept().unwrap().unwrap());
    assert_eq!(announced.hello().callback_key, Some(key), "it announces itself again");
    runner.end(Stop::Now).unwrap();
}

#[test]
fn a_task_that_fills_the_disk_for_logs_is_a_loss() {
    let scene = Scene::new();
    let (repository, commit) = scene.repository();
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    // Where the spool would be is a directory, so that it cannot be written.
    fs::create_dir(scene.settings.work.join("spool/a7.log")).unwrap();
    let gate = scene.fifo("gate");
    peer.say(&runtask(7, &commit, &format!("echo lost; cat {}", gate.display())));
    peer.give_source(&repository, &commit);
    assert_results(&peer.hear_log(true), "lost", b"");
    peer.record(7);
    runner.end(Stop::Now).unwrap();
}

#[test]
fn too_little_free_disk_is_said_before_anything_is_done() {
    let mut scene = Scene::new();
    scene.settings.min_free = u64::MAX;
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &"ab".repeat(20), "true"));
    let FromRunner::Results { outcome, reason, .. } = peer.hear() else { panic!("results") };
    assert_eq!(outcome, "lost");
    assert!(reason.unwrap().starts_with("free disk space of"));
    peer.record(7);
    runner.end(Stop::Now).unwrap();
}

#[test]
fn the_runners_own_repository_is_asked_before_the_dispatcher() {
    let mut scene = Scene::new();
    let (_, commit) = scene.repository();
    scene.settings.local_source = Some(scene.directory.path().join("repo"));
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &commit, "cat hello.txt"));
    assert_results(&peer.hear_log(true), "passed", b"hello from the commit\n");
    peer.record(7);
    runner.end(Stop::Now).unwrap();
}

#[test]
fn much_output_arrives_whole() {
    let scene = Scene::new();
    let (repository, commit) = scene.repository();
    let runner = scene.start();
    let mut peer = scene.accept_and_register();
    peer.say(&runtask(7, &commit, "head -c 50000000 /dev/zero"));
    peer.give_source(&repository, &commit);
    let results = peer.hear_log(true);
    assert_results(&results, "passed", &vec![0; 50_000_000]);
    assert_eq!(peer.log.len(), 50_000_000);
    peer.record(7);
    runner.end(Stop::Now).unwrap();
}
