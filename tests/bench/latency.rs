//! From the update of a ref to a process: how long after a commit its task executes, with an idle connected runner.
//! Real observer, dispatcher and runner; the clock starts before the ref is written and stops when the task's first
//! line has been executed, which is a byte in a FIFO that this process reads.
//!
//! `SURVEIL_BENCH_TLS=1` encrypts all connections, so that both can be measured in turns.
//!
//! `cargo bench --bench latency`; `SURVEIL_BENCH_ROUNDS` changes the number of rounds, and
//! `SURVEIL_BENCH_PAUSE_MS` the time between two: after 2,500 ms every role has given its memory back.

mod stage;

use std::io::Read;
use std::time::Duration;

use stage::figures::Sample;
use stage::repo::Repo;
use stage::{Stage, finished, is_measuring, ms_since, pause, setting};
use surveil::clock;

fn main() {
    let rounds = if is_measuring() { setting("SURVEIL_BENCH_ROUNDS", 300) } else { 2 };
    let rest = setting("SURVEIL_BENCH_PAUSE_MS", 100);
    let mut stage = Stage::with_dispatcher(&[]);
    let (fifo, mut signals) = stage.fifo();
    let repo = Repo::new(&stage.path("app"));
    let tasks = format!("[task.test]\nrun = \"echo > {}\"\n", fifo.display());
    let commits = repo.chain(rounds + WARM_UP, &tasks);
    stage.start_runner("r1", &["--slots", "2"]);
    stage.start_observer(&repo.path);
    let reader = stage.reader();

    let (mut started, mut done) = (Sample::default(), Sample::default());
    for (n, commit) in commits.iter().enumerate() {
        // Wait until every process is idle and the upkeep after the last round is done.
        pause(Duration::from_millis(if is_measuring() { rest as u64 } else { 1 }));
        let begun = clock::instant();
        repo.move_main(*commit);
        signals.read_exact(&mut [0]).expect("a signal");
        let to_start = ms_since(begun);
        finished(&*reader, commit);
        if n >= WARM_UP {
            started.add(to_start);
            done.add(ms_since(begun));
        }
    }
    started.print("ref update -> the task's process executes", "ms");
    done.print("ref update -> verdict durable", "ms");
}

/// Rounds in which stores and work trees are created.
const WARM_UP: usize = 5;
