//! Resident memory of an idle dispatcher and an idle runner, before and after a first job, and of a dispatcher after
//! 100,000 finished jobs; and the cost of 10,000 idle runners for one dispatcher, in memory for each and in CPU at the
//! default heartbeat interval.
//!
//! `cargo bench --bench memory`; `SURVEIL_BENCH_RUNNERS` changes their number, `SURVEIL_BENCH_SECONDS` the time for
//! which they are watched. Both ends need a descriptor for each: `ulimit -n`.

mod stage;

use std::time::{Duration, Instant};

use stage::figures::{children, cpu_seconds, memory, say, threads};
use stage::repo::Repo;
use stage::scripted::{Crowd, Submitter, idle_tasks, open, open_pinned, register};
use stage::{Stage, finished, is_measuring, pause, setting};
use surveil::clock;
use surveil::config::defaults::HEARTBEAT_INTERVAL_MS;
use surveil::protocol::hello::Role;
use surveil::protocol::operator::{FromOperator, ToOperator};
use surveil::protocol::runner::{FromRunner, ToRunner};
use surveil::transport::{Frame, FrameReader, Stream, write_frame};

/// Tasks of each commit in [`after_work`].
const JOBS_EACH: usize = 1000;
/// The most resident memory of a dispatcher that has finished 100,000 jobs and rests.
const RESTS_MIB: f64 = 14.0;

/// The most resident memory that an idle runner with an encrypted connection may cost.
const ENCRYPTED_KIB: f64 = 45.0;

fn main() {
    idle();
    after_work();
    crowd();
    encrypted_crowd();
}

/// Runners with encrypted connections that do nothing but ping.
fn encrypted_crowd() {
    let count = if is_measuring() { setting("SURVEIL_BENCH_TLS_RUNNERS", 10_000) } else { 20 };
    let stage = Stage::with_dispatcher(&[]);
    let dispatcher = stage.pid(0);
    let pins: Vec<_> = stage.pin().into_iter().collect();
    pause(Duration::from_millis(200));
    let before = memory(dispatcher);
    let begun = clock::instant();
    let mut peers = Vec::new();
    for n in 0..count {
        let (stream, mut reader) = open_pinned(&stage, Role::Runner, &format!("idle{n}"), &pins);
        write_frame(&stream, &register(1)).expect("a registration");
        let answer = reader.read::<ToRunner>(1 << 20).expect("an answer");
        assert!(matches!(answer, Some(ToRunner::Registered { .. })), "{answer:?}");
        peers.push((stream, reader));
    }
    let seconds = begun.elapsed().as_secs_f64();
    say(&format!("{count} runners connected encrypted and registered, one after the other, in {seconds:.2} s"));
    for _ in 0..3 {
        for (stream, reader) in &mut peers {
            write_frame(stream, &Frame::new(&FromRunner::Ping { holding: vec![] })).expect("a ping");
            reader.read::<ToRunner>(1 << 20).expect("an answer");
        }
    }
    let after = memory(dispatcher);
    let each = |of: fn(&stage::figures::Memory) -> u64| (of(&after) - of(&before)) as f64 / count as f64;
    let (resident, private) = (each(|memory| memory.resident), each(|memory| memory.private));
    say(&format!("an encrypted runner costs the dispatcher {resident:.1} KiB resident ({private:.1} private)"));
    assert!(!is_measuring() || resident <= ENCRYPTED_KIB, "{resident:.1} KiB; {ENCRYPTED_KIB} are allowed");
}

/// One runner with two slots.
fn idle() {
    // An idle role gives memory back within two seconds.
    let settle = Duration::from_millis(if is_measuring() { 3000 } else { 1 });
    let mut stage = Stage::with_dispatcher(&[]);
    let runner = stage.start_runner("r1", &["--slots", "2"]);
    let repo = Repo::new(&stage.path("app"));
    let observer = stage.start_observer(&repo.path);
    let commits = repo.chain(3, "[task.a]\nrun = \"echo a\"\n\n[task.b]\nrun = \"echo b\"\n");
    let reader = stage.reader();
    let show = |stage: &Stage, when: &str| {
        pause(settle);
        let supervisors = children(stage.pid(runner));
        memory(stage.pid(0)).print(&format!("dispatcher, {when}"));
        memory(stage.pid(runner)).print(&format!("runner, {when}, {} supervisors not counted", supervisors.len()));
        for supervisor in supervisors {
            memory(supervisor).print("    a supervisor of it");
        }
        memory(stage.pid(observer)).print(&format!("observer, {when}"));
    };
    show(&stage, "idle since its start");
    for (commit, when) in commits.iter().zip(["first", "second", "third"]) {
        repo.move_main(*commit);
        finished(&*reader, commit);
        show(&stage, &format!("after a {when} commit"));
    }
}

/// What stays of thousands of finished jobs, with an operator who asks for the status all the while.
fn after_work() {
    let builds = if is_measuring() { setting("SURVEIL_BENCH_FINISHED_BUILDS", 100) } else { 2 };
    // An idle role gives memory back within two seconds.
    let settle = Duration::from_millis(if is_measuring() { 3500 } else { 1 });
    let stage = Stage::with_dispatcher(&["--heartbeat-timeout", "10m"]);
    let dispatcher = stage.pid(0);
    let tasks = idle_tasks(JOBS_EACH);
    let mut submitter = Submitter::connect(&stage, "app");
    let mut crowd = Crowd::connect(&stage, "w", 2, 40);
    let mut asker = Asker::connect(&stage);
    for built in 1..=builds {
        submitter.submit(&tasks);
        let mut recorded = 0;
        while recorded < JOBS_EACH {
            recorded += crowd.turn(Duration::from_secs(60)).recorded;
            asker.ask_if_due();
        }
        if built % (builds / 5).max(1) == 0 {
            pause(settle);
            memory(dispatcher).print(&format!("dispatcher, after {} finished jobs", built * JOBS_EACH));
        }
    }
    let rests = memory(dispatcher).resident as f64 / 1024.0;
    assert!(!is_measuring() || rests <= RESTS_MIB, "it rests at {rests:.1} MiB; {RESTS_MIB} MiB are allowed");
}

/// An operator who asks for the status three times a second.
struct Asker {
    stream: Stream,
    reader: FrameReader,
    next: Instant,
}

impl Asker {
    fn connect(stage: &Stage) -> Self {
        let (stream, reader) = open(stage, Role::Operator, "asker");
        Self { stream, reader, next: clock::instant() }
    }

    fn ask_if_due(&mut self) {
        if clock::instant() >= self.next {
            self.next = clock::instant() + Duration::from_millis(333);
            let question = FromOperator::Status { repo: None, limit: 20 };
            write_frame(&self.stream, &Frame::new(&question)).expect("a question");
            let answer = self.reader.read::<ToOperator>(1 << 20).expect("an answer");
            assert!(matches!(answer, Some(ToOperator::Status(_))), "{answer:?}");
        }
    }
}

/// Runners that do nothing but ping.
fn crowd() {
    let count = if is_measuring() { setting("SURVEIL_BENCH_RUNNERS", 10_000) } else { 50 };
    let seconds = if is_measuring() { setting("SURVEIL_BENCH_SECONDS", 20) } else { 0 };
    let stage = Stage::with_dispatcher(&[]);
    let dispatcher = stage.pid(0);
    pause(Duration::from_millis(200));
    let before = memory(dispatcher);
    let begun = clock::instant();
    let mut crowd = Crowd::connect(&stage, "idle", count, 1);
    say(&format!("{count} runners connected and registered in {:.2} s", begun.elapsed().as_secs_f64()));
    ping_for(&mut crowd, Duration::from_millis(2 * HEARTBEAT_INTERVAL_MS).min(Duration::from_secs(seconds as u64)));
    let (from, cpu) = (clock::instant(), cpu_seconds(dispatcher));
    ping_for(&mut crowd, Duration::from_secs(seconds as u64));
    let (elapsed, cpu) = (from.elapsed().as_secs_f64(), cpu_seconds(dispatcher) - cpu);
    let after = memory(dispatcher);
    let threads = threads(dispatcher);
    assert!(threads > count, "each has a thread that reads, or it is not connected: {threads}");
    let each = |of: fn(&stage::figures::Memory) -> u64| (of(&after) - of(&before)) as f64 / count as f64;
    say(&format!(
        "a runner costs the dispatcher {:.1} KiB resident ({:.1} private); {:.1} MiB in all",
        each(|memory| memory.resident),
        each(|memory| memory.private),
        after.resident as f64 / 1024.0
    ));
    say(&format!(
        "pings every {HEARTBEAT_INTERVAL_MS} ms from {count} runners: {:.1} % of one core over {elapsed:.0} s",
        cpu * 100.0 / elapsed.max(0.001)
    ));
}

/// Lets every runner ping once in each interval, spread over the interval as real runners are.
fn ping_for(crowd: &mut Crowd, length: Duration) {
    let until = clock::instant() + length;
    let share = crowd.len().div_ceil(100);
    let mut at = 0;
    while clock::instant() < until {
        let next = clock::instant() + Duration::from_millis(HEARTBEAT_INTERVAL_MS) / 100;
        at = crowd.ping_some(at, share);
        pause(next.saturating_duration_since(clock::instant()));
    }
}
