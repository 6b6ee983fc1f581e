//! A2: data is on disk before the dispatcher acknowledges it. Shown by its system calls, which strace records.
//!
//! `SURVEIL_TRACED=1000 cargo test --test it durability` traces more requests.

mod checker;
mod judged;
mod trace;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use surveil::git::Watched;
use surveil::model::{CommitId, ShortLog};

use crate::harness::{PATIENCE, Process, Repository, World, hello, text, until};
use checker::{Shown, check};

/// Submissions and results, unless the environment asks for more.
const USUALLY: usize = 40;
/// Observers that submit at the same time, so that commits are synced together.
const OBSERVERS: usize = 4;

/// The calls that the checker needs, with at least the length of the longest line of their data.
const OPTIONS: [&str; 9] = [
    "-D",
    "-f",
    "-Y",
    "-yy",
    "--seccomp-bpf",
    "-s",
    "9000",
    "-e",
    "trace=recvfrom,sendto,sendmsg,writev,pwrite64,fsync,fdatasync",
];

/// A command that is traced into this file. The started process is the command itself: the tracer runs beside it.
fn traced(world: &World, command: &Command) -> Command {
    let mut tracer = world.sealed("strace");
    tracer.args(OPTIONS).arg("-o").arg(world.path("trace"));
    tracer.arg(command.get_program()).args(command.get_args());
    tracer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    tracer
}

/// Whether this machine allows tracing. If not, the terminal says so.
fn can_trace(world: &World) -> bool {
    let mut tried = world.sealed("strace");
    tried.args(["-f", "-Y", "-yy", "--seccomp-bpf", "-e", "trace=fsync", "true"]);
    let tried = tried.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let why = match tried {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    // To the terminal itself, because the output of a passed test is not shown.
    let warning = format!("\nNOT SHOWN: that syncs come before acknowledgements (A2): strace does not work: {why}\n");
    std::io::stderr().write_all(warning.as_bytes()).unwrap();
    false
}

/// Waits until the trace is complete, and returns it.
fn whole_trace(world: &World) -> String {
    let path = world.path("trace");
    let read = || String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
    until("the trace ends", || read().lines().last().is_some_and(|line| line.contains("+++ exited with")));
    // Every thread's end is in it, and the program's last.
    until("the tracer has ended", || world.processes(&[]).iter().all(|process| !process.contains("strace")));
    read()
}

/// Sabotage: `synchronous` set to NORMAL in `store::sqlite::connection::for_writing` fails here with every one of them,
/// and an observer's session that calls a receiver's `finish` without `durable` with every pack.
#[test]
fn whatever_is_acknowledged_was_synced_before() {
    let world = World::new();
    if !can_trace(&world) {
        return;
    }
    let wanted = std::env::var("SURVEIL_TRACED").map_or(USUALLY, |count| count.parse().unwrap());
    let each = wanted.div_ceil(OBSERVERS);
    let arguments = ["dispatcher", "--host=127.0.0.1", "--port=0", "--spawn=0", "--heartbeat-timeout=1h"];
    let mut dispatcher = world.start_command("dispatcher", traced(&world, &world.command(&arguments)));
    world.listens_at(dispatcher.listening_at());

    let repositories: Vec<Repository> = (0..OBSERVERS).map(|n| world.repository(&format!("app{n}"))).collect();
    std::thread::scope(|scope| {
        for repository in &repositories {
            let commits = history(&world, repository, each);
            let peer = Peer::greet(&world, "observer", "traced");
            let path = repository.path.clone();
            scope.spawn(move || submit(peer, &path, &commits));
        }
        let peer = Peer::greet(&world, "runner", "w1");
        scope.spawn(|| execute(peer, OBSERVERS * each));
    });
    dispatcher.signal(rustix::process::Signal::TERM);
    assert_eq!(dispatcher.exit_code(), 0);

    let Shown { submissions, results, packs, logs, short_logs, syncs, broken } = check(&whole_trace(&world));
    assert!(broken.is_empty(), "{} of them, such as {:#?}", broken.len(), &broken[..broken.len().min(5)]);
    assert_eq!((submissions, results, packs), (OBSERVERS * each, OBSERVERS * each, OBSERVERS * each));
    let printed = (OBSERVERS * each).div_ceil(LOG_EVERY);
    assert_eq!((logs, short_logs), (printed / 2, printed.div_ceil(2)));
    let report = format!(
        "{submissions} submissions with {packs} packs and {results} results, {logs} of them with logs and {short_logs} with short ones, were \
         acknowledged after one of {syncs} syncs of the store\n"
    );
    if wanted > USUALLY {
        std::io::stderr().write_all(report.as_bytes()).unwrap();
    }
}

/// Every n-th commit brings a file of this many bytes: more than a mirror notes.
const LARGE_EVERY: usize = 8;
const LARGE_BYTES: usize = 400 << 10;

/// Commits one after the other, made in one go; oldest first.
fn history(world: &World, repository: &Repository, count: usize) -> Vec<CommitId> {
    let mut script = String::new();
    let mut state = 1_u32;
    for n in 0..count {
        let tasks = format!("[task.test]\nrun = \"echo {n}\"\n");
        script +=
            &format!("commit refs/heads/main\ncommitter A <a@b> {n} +0000\ndata 1\nx\nM 100644 inline .surveil.toml\n");
        script += &format!("data {}\n{tasks}\n", tasks.len());
        if n % LARGE_EVERY == 1 {
            script += &format!("M 100644 inline large\ndata {LARGE_BYTES}\n");
            // Bytes that do not compress well.
            script.extend((0..LARGE_BYTES).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                char::from(b'!' + (state >> 24) as u8 % 94)
            }));
            script.push('\n');
        }
    }
    let path = world.path("history");
    std::fs::write(&path, script).unwrap();
    let mut import = world.sealed("git");
    import.current_dir(&repository.path).args(["fast-import", "--quiet"]).stdin(File::open(&path).unwrap());
    assert!(import.status().unwrap().success());
    repository.git(&["rev-list", "--reverse", "main"]).lines().map(|line| line.parse().unwrap()).collect()
}

/// An observer that submits commit after commit, each with its pack.
fn submit(mut peer: Peer, path: &Path, commits: &[CommitId]) {
    let watched = Watched::open(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    peer.say(&json!({"type": "status", "repo": name, "source": text(path)}), &[]);
    peer.hear("heads");
    let mut before: Vec<CommitId> = Vec::new();
    for commit in commits {
        let mut pack = Vec::new();
        let mut sink = |piece: &[u8]| {
            pack.extend_from_slice(piece);
            true
        };
        watched.pack(&[*commit], &before, &mut sink).unwrap();
        peer.say(&json!({"type": "pack", "repo": name, "last": true, "bytes": pack.len()}), &pack);
        let mut announcement =
            json!({"type": "dispatch", "repo": name, "branch": "main", "commit": commit.to_string()});
        if let Some(before) = before.last() {
            announcement["before"] = before.to_string().into();
        }
        peer.say(&announcement, &[]);
        peer.hear("ok");
        before = vec![*commit];
    }
}

/// Every n-th attempt prints something: in turns a line, and more than the store takes along.
const LOG_EVERY: usize = 4;

/// A runner whose attempts have all passed at once.
fn execute(mut peer: Peer, count: usize) {
    peer.say(&json!({"type": "register", "slots": 8, "isolation": "subreaper"}), &[]);
    let (mut leased, mut done) = (0, 0);
    while done < count {
        let message = peer.next();
        match message["type"].as_str().unwrap() {
            "ok" => done += 1,
            "runtask" => {
                let attempt = &message["attempt"];
                let mut results = json!({"type": "results", "attempt": attempt, "outcome": "passed"});
                if leased % LOG_EVERY == 0 {
                    let lines = if leased % (2 * LOG_EVERY) == 0 { 1 } else { ShortLog::MAX_BYTES / 10 };
                    let output = format!("this is attempt {attempt}\n").repeat(lines).into_bytes();
                    peer.say(&json!({"type": "log", "attempt": attempt, "offset": 0, "bytes": output.len()}), &output);
                    (results["log_bytes"], results["log_crc32"]) =
                        (output.len().into(), crc32fast::hash(&output).into());
                }
                leased += 1;
                peer.say(&results, &[]);
            }
            "registered" | "log_ack" => {}
            other => panic!("{other}: {message}"),
        }
    }
}

/// A peer without a deadline of its own.
struct Peer(BufReader<TcpStream>);

impl Peer {
    fn dial(address: SocketAddrV4) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn greet(world: &World, role: &str, name: &str) -> Self {
        let mut peer = Self::dial(world.address());
        peer.say(&hello(world, role, name), &[]);
        peer.hear("welcome");
        peer
    }

    fn say(&mut self, message: &Value, payload: &[u8]) {
        let said = [format!("{message}\n").as_bytes(), payload].concat();
        self.0.get_mut().write_all(&said).unwrap();
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    #[track_caller]
    fn hear(&mut self, kind: &str) {
        let message = self.next();
        assert_eq!(message["type"], kind, "{message}");
    }
}

/// Variable that tells the small program below how to sync. Without it the test is not that program.
const SYNCHRONOUS: &str = "SURVEIL_TEST_SYNCHRONOUS";

/// The checker can fail: the same trace of the smallest program that acknowledges what SQLite has committed, with
/// `synchronous` set to FULL as the store has it, and to NORMAL.
#[test]
fn an_acknowledgement_before_the_sync_is_noticed() {
    let world = World::new();
    if !can_trace(&world) {
        return;
    }
    let count = 20;
    let shown = ["FULL", "NORMAL"].map(|synchronous| {
        let mut program = world.sealed(text(&std::env::current_exe().unwrap()));
        program.args(["--exact", "durability::a_store_for_the_test_above", "--nocapture"]);
        program.env(SYNCHRONOUS, synchronous);
        let store = world.start_command(synchronous, traced(&world, &program));
        let mut peer = Peer::dial(store.listening_at());
        for n in 0..count {
            peer.say(&json!({"type": "dispatch", "repo": "app", "commit": n.to_string()}), &[]);
            peer.hear("ok");
        }
        drop(peer);
        let shown = check(&ended(&world, store));
        assert_eq!((shown.submissions, shown.results), (count, 0));
        shown.broken.len()
    });
    assert_eq!(shown, [0, count]);
}

fn ended(world: &World, mut store: Process) -> String {
    assert_eq!(store.exit_code(), 0);
    whole_trace(world)
}

#[test]
fn a_store_for_the_test_above() {
    let Ok(synchronous) = std::env::var(SYNCHRONOUS) else { return };
    let place = tempfile::tempdir().unwrap();
    let store = rusqlite::Connection::open(place.path().join("small.db")).unwrap();
    store.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    store.pragma_update(None, "synchronous", synchronous).unwrap();
    store.execute("CREATE TABLE commits (id TEXT)", []).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let words = format!("listening at {}\n", listener.local_addr().unwrap());
    std::io::stderr().write_all(words.as_bytes()).unwrap();
    let stream = listener.accept().unwrap().0;
    for line in BufReader::new(&stream).lines() {
        let mut message: Value = serde_json::from_str(&line.unwrap()).unwrap();
        store.execute("INSERT INTO commits VALUES (?1)", [message["commit"].as_str().unwrap()]).unwrap();
        message["type"] = "ok".into();
        (&stream).write_all(format!("{message}\n").as_bytes()).unwrap();
    }
}
