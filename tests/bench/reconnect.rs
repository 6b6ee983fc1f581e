//! A dispatcher that restarts under 1,000 connected runners, which all reconnect at once: the time from its listening
//! to the last registration, with encrypted connections beside plain ones, in turns. The runners' part of the
//! handshakes is computed on the same machine.
//!
//! `cargo bench --bench reconnect`; `SURVEIL_BENCH_RUNNERS` changes their number, `SURVEIL_BENCH_ROUNDS` that of the
//! restarts. Both ends need a descriptor for each: `ulimit -n`.

mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use stage::figures::{Sample, cpu_seconds, say};
use stage::scripted::{hello, register};
use stage::{Stage, is_measuring, ms_since, setting};
use surveil::clock;
use surveil::model::{Address, Pin};
use surveil::protocol::hello::{Greeting, Role};
use surveil::protocol::runner::ToRunner;
use surveil::threads::{self, Thread};
use surveil::transport::{Backoff, FrameReader, Stream, write_frame};

/// The longest time in which 1,000 encrypted runners may reconnect.
const TARGET_MS: f64 = 3_000.0;
/// The time that a runner takes for dialling, and for the handshake.
const DIAL: Duration = Duration::from_secs(3);
/// The first and the longest pause of a runner between two tries, in milliseconds.
const REDIAL_MS: (u64, u64) = (100, 3_000);
/// Settings of the dispatcher: nobody is given up between two restarts, because the runners send no pings.
const FLAGS: &[&str] = &["--heartbeat-timeout", "10m"];
/// The longest wait for all runners.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let count = if is_measuring() { setting("SURVEIL_BENCH_RUNNERS", 1_000) } else { 20 };
    let rounds = if is_measuring() { setting("SURVEIL_BENCH_ROUNDS", 5) } else { 1 };
    let (mut plain, mut encrypted) = (Crowd::connect(count, false), Crowd::connect(count, true));
    for _ in 0..rounds {
        plain.restart();
        encrypted.restart();
    }
    for (crowd, kind) in [(&plain, "plain"), (&encrypted, "encrypted")] {
        say(&format!("{count} {kind} runners, a restart of the dispatcher:"));
        crowd.took.print("  it listens -> the last one has registered", "ms");
        crowd.cpu.print("  of the dispatcher's processor time", "ms");
        say(&format!("  tries that failed: {}", crowd.shared.failures.load(Ordering::Acquire)));
    }
    let most = encrypted.took.most();
    assert!(!is_measuring() || count > 1_000 || most <= TARGET_MS, "{most:.0} ms; {TARGET_MS} ms are allowed");
}

/// A dispatcher with its runners.
struct Crowd {
    stage: Stage,
    shared: Arc<Shared>,
    dispatcher: usize,
    registered: Receiver<()>,
    /// Lets each runner dial once it has lost its connection.
    gates: Vec<Sender<()>>,
    runners: Vec<Thread<()>>,
    took: Sample,
    cpu: Sample,
}

/// The facts that all runners know.
struct Shared {
    address: Address,
    token: String,
    pins: Vec<Pin>,
    failures: AtomicUsize,
}

impl Crowd {
    /// Starts a dispatcher, and runners that have all registered.
    fn connect(count: usize, is_encrypted: bool) -> Self {
        let stage = Stage::with_dispatcher(FLAGS);
        let shared = Arc::new(Shared {
            address: stage.address(),
            token: stage.token(Role::Runner),
            pins: stage.pin().filter(|_| is_encrypted).into_iter().collect(),
            failures: AtomicUsize::new(0),
        });
        let (joined, registered) = unbounded();
        let (mut gates, mut runners) = (Vec::new(), Vec::new());
        for n in 0..count {
            let (gate, may_dial) = bounded(1);
            let (shared, joined) = (shared.clone(), joined.clone());
            let runner = move || runner(n, &shared, &may_dial, &joined);
            runners.push(threads::spawn("runner", runner).expect("a thread"));
            gates.push(gate);
        }
        let (took, cpu) = Default::default();
        let crowd = Self { stage, shared, dispatcher: 0, registered, gates, runners, took, cpu };
        crowd.let_all_in();
        crowd.shared.failures.store(0, Ordering::Release);
        crowd
    }

    /// Lets all runners dial, and waits until each has registered.
    fn let_all_in(&self) {
        for gate in &self.gates {
            gate.send(()).expect("the runner waits or has a connection");
        }
        for _ in &self.gates {
            self.registered.recv_timeout(PATIENCE).expect("a registration");
        }
    }

    /// Restarts the dispatcher, and measures the return of the runners.
    fn restart(&mut self) {
        self.stage.stop(self.dispatcher);
        (self.dispatcher, _) = self.stage.start_dispatcher(FLAGS);
        let begun = clock::instant();
        let pid = self.stage.pid(self.dispatcher);
        let cpu = cpu_seconds(pid);
        self.let_all_in();
        self.took.add(ms_since(begun));
        self.cpu.add((cpu_seconds(pid) - cpu) * 1000.0);
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // The runners end when they have neither a connection nor a gate.
        self.gates.clear();
        self.stage.kill(self.dispatcher);
        self.runners.clear();
    }
}

/// A runner that does nothing. Whenever it has lost its connection, it waits for the gate, and dials as often as
/// needed.
fn runner(n: usize, shared: &Shared, may_dial: &Receiver<()>, joined: &Sender<()>) {
    while may_dial.recv().is_ok() {
        let mut backoff = Backoff::new(REDIAL_MS.0, REDIAL_MS.1, n as u64);
        let mut reader = loop {
            stage::pause(backoff.next_delay());
            match join(n, shared) {
                Some(reader) => break reader,
                None if may_dial.try_recv() == Err(TryRecvError::Disconnected) => return,
                None => shared.failures.fetch_add(1, Ordering::AcqRel),
            };
        };
        if joined.send(()).is_err() {
            return;
        }
        // Idle, until the dispatcher is gone.
        while let Ok(Some(_)) = reader.read::<ToRunner>(1 << 20) {}
    }
}

/// Connects and registers; `None` if the dispatcher did not take this try.
fn join(n: usize, shared: &Shared) -> Option<FrameReader> {
    let stream = Stream::dial_pinned(&shared.address, DIAL, &shared.pins).ok()?;
    let mut reader = FrameReader::new(stream.clone());
    write_frame(&stream, &hello(Role::Runner, &format!("idle{n}"), shared.token.clone())).ok()?;
    let Ok(Some(Greeting::Welcome(_))) = reader.read(4096) else { return None };
    write_frame(&stream, &register(1)).ok()?;
    let Ok(Some(ToRunner::Registered { .. })) = reader.read(1 << 20) else { return None };
    Some(reader)
}
