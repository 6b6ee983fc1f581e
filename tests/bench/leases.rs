//! Scheduler plus store without processes: leases and synced outcomes a second, for 50 scripted runners over loopback
//! TCP. A cycle is a lease received, a result sent and its `ok` received, which means that the outcome is synced.
//!
//! `cargo bench --bench leases`; without `--bench` (as `cargo test --all-targets` runs it) it does a few cycles only.
#![expect(clippy::print_stdout, reason = "figures go to stdout")]

use std::path::Path;
use std::time::Duration;

use crossbeam_channel::bounded;
use surveil::clock;
use surveil::config::{DispatcherSettings, defaults};
use surveil::dispatcher::Dispatcher;
use surveil::model::Address;
use surveil::protocol::hello::{Greeting, Hello, Opening, Role};
use surveil::protocol::observer::{FromObserver, ToObserver};
use surveil::protocol::runner::{FromRunner, ToRunner};
use surveil::protocol::{MIN_VERSION, VERSION};
use surveil::shutdown::Stop;
use surveil::threads;
use surveil::transport::{Frame, FrameReader, Stream, write_frame};

const RUNNERS: usize = 50;
const TASKS: usize = 1000;

fn main() {
    let full = std::env::args().any(|argument| argument == "--bench");
    let builds = if full { 300 } else { 1 };
    let slots: &[u32] = if full { &[1, 8, 64] } else { &[8] };
    for slots in slots {
        run(*slots, builds);
    }
}

fn run(slots: u32, builds: usize) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the target");
    let settings = DispatcherSettings {
        listen: Address { host: "127.0.0.1".into(), port: 0 },
        data: dir.path().join("data"),
        spawn: 0,
        heartbeat_interval_ms: defaults::HEARTBEAT_INTERVAL_MS,
        heartbeat_timeout_ms: 600_000,
        reconnect_ms: defaults::RECONNECT_MS,
        max_losses: defaults::MAX_LOSSES,
        queue_timeout_ms: defaults::QUEUE_TIMEOUT_MS,
        max_connections: defaults::MAX_CONNECTIONS,
    };
    let dispatcher = Dispatcher::start(settings).expect("a dispatcher");
    let address = Address { host: "127.0.0.1".into(), port: dispatcher.address().port() };
    let data = dir.path().join("data");
    submit(&address, &data, dir.path(), builds);

    let total = builds * TASKS;
    let (done, finished) = bounded::<usize>(1024);
    let start = clock::instant();
    let runners: Vec<_> = (0..RUNNERS)
        .map(|n| {
            let (address, data, done) = (address.clone(), data.clone(), done.clone());
            threads::spawn(&format!("bench{n}"), move || runner(n, slots, &address, &data, &done)).expect("a thread")
        })
        .collect();
    let mut count = 0;
    while count < total {
        count += finished.recv_timeout(Duration::from_secs(60)).expect("progress");
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{RUNNERS} runners of {slots} slots: {total} cycles in {seconds:.2} s, {:.0} a second",
        total as f64 / seconds
    );
    let (stop, stopped) = bounded(1);
    stop.send(Stop::Now).expect("room for one message");
    dispatcher.run(&stopped).expect("an orderly end");
    drop(runners);
}

fn open(role: Role, name: &str, address: &Address, data: &Path) -> (Stream, FrameReader) {
    let word = if role == Role::Runner { "runner" } else { "observer" };
    let token = std::fs::read_to_string(data.join("tokens").join(word)).expect("a token").trim().to_owned();
    let stream = Stream::dial(address, Duration::from_secs(5)).expect("a connection");
    let mut reader = FrameReader::new(stream.clone());
    let hello = Hello {
        version: VERSION,
        min_version: MIN_VERSION,
        role,
        name: name.into(),
        incarnation: 1,
        token,
        program: String::new(),
        listens_at: None,
        callback_key: None,
    };
    write_frame(&stream, &Frame::new(&Opening::Hello(hello))).expect("hello");
    let Some(Greeting::Welcome(_)) = reader.read(4096).expect("an answer") else { panic!("refused") };
    (stream, reader)
}

/// Announces commits whose task file has many tasks, one after the other.
fn submit(address: &Address, data: &Path, dir: &Path, builds: usize) {
    let repo = git2::Repository::init(dir.join("repo")).expect("a repository");
    let text: String = (0..TASKS).map(|n| format!("[task.t{n}]\nrun = \"true\"\n")).collect();
    let blob = repo.blob(text.as_bytes()).expect("a blob");
    let mut tree = repo.treebuilder(None).expect("a tree");
    tree.insert(".surveil.toml", blob, 0o100_644).expect("an entry");
    let tree = repo.find_tree(tree.write().expect("a tree")).expect("a tree");
    let who = git2::Signature::new("a", "a@b", &git2::Time::new(0, 0)).expect("a signature");
    let (stream, mut reader) = open(Role::Observer, "bench", address, data);
    let mut before: Option<git2::Oid> = None;
    for n in 0..builds {
        let id = repo.commit(None, &who, &who, &n.to_string(), &tree, &[]).expect("a commit");
        let mut pack = repo.packbuilder().expect("a pack");
        pack.insert_commit(id).expect("an object");
        let mut bytes = git2::Buf::new();
        pack.write_buf(&mut bytes).expect("a pack");
        let message = FromObserver::Pack { repo: "app".into(), last: true, bytes: bytes.len() as u64 };
        write_frame(&stream, &Frame::with_payload(&message, bytes.to_vec())).expect("a pack");
        let message = FromObserver::Dispatch {
            repo: "app".into(),
            branch: "main".into(),
            before: before.map(|id| id.to_string()),
            commit: id.to_string(),
            range: vec![],
            subject: String::new(),
            author: String::new(),
        };
        write_frame(&stream, &Frame::new(&message)).expect("a dispatch");
        match reader.read::<ToObserver>(1 << 20).expect("an answer") {
            Some(ToObserver::Ok { .. }) => {}
            other => panic!("{other:?}"),
        }
        before = Some(id);
    }
    stream.close();
}

/// Answers every lease with a result at once, all that have arrived in one write.
fn runner(n: usize, slots: u32, address: &Address, data: &Path, done: &crossbeam_channel::Sender<usize>) {
    let (stream, mut reader) = open(Role::Runner, &format!("w{n}"), address, data);
    let register = FromRunner::Register {
        slots,
        labels: vec![],
        isolation: "subreaper".into(),
        holding: vec![],
        warm: vec![],
        spawned: false,
    };
    write_frame(&stream, &Frame::new(&register)).expect("register");
    let mut batch = Vec::new();
    loop {
        // What has arrived already is answered together, as a runner with several slots does.
        reader.set_timeout(if batch.is_empty() { None } else { Some(Duration::ZERO) }).expect("a timeout");
        match reader.read::<ToRunner>(1 << 20) {
            Ok(Some(ToRunner::Runtask(task))) => {
                let result = FromRunner::Results {
                    attempt: task.attempt,
                    outcome: "passed".into(),
                    code: None,
                    reason: None,
                    duration_ms: Some(1),
                    log_bytes: 0,
                    log_crc32: 0,
                    log_missing: None,
                };
                batch.extend_from_slice(&Frame::new(&result).line);
                if batch.len() < 32_000 {
                    continue;
                }
            }
            Ok(Some(ToRunner::Ok { .. })) => {
                if done.send(1).is_err() {
                    return;
                }
                continue;
            }
            Ok(Some(_)) => continue,
            Err(surveil::transport::TransportError::TimedOut(_)) if !batch.is_empty() => {}
            Ok(None) | Err(_) => return,
        }
        let frame = Frame { line: std::mem::take(&mut batch), payload: Vec::new() };
        if write_frame(&stream, &frame).is_err() {
            return;
        }
    }
}
