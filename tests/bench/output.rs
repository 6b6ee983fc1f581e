//! Output of one task to the dispatcher's disk: 1 GB, from the pipe through the runner's spool and the connection,
//! until the outcome, and with it the whole log, is durable. Memory must stay bounded on the way. For comparison,
//! the same amount is written directly to the disk, twice (spool and log), and synced once.
//!
//! `SURVEIL_BENCH_TLS=1` encrypts all connections, so that both can be measured in turns.
//!
//! `cargo bench --bench output`; `SURVEIL_BENCH_MB` changes the amount.

mod stage;

use std::fs::{self, File};
use std::io::Write;

use stage::figures::{Sample, peak_memory, reset_peak_memory, say};
use stage::repo::Repo;
use stage::{Stage, finished, is_measuring, ms_since, setting};
use surveil::clock;

fn main() {
    let rounds = if is_measuring() { setting("SURVEIL_BENCH_ROUNDS", 5) } else { 1 };
    let bytes = if is_measuring() { setting("SURVEIL_BENCH_MB", 1000) } else { 2 } * 1_000_000;
    disk(bytes, rounds);
    let mut stage = Stage::with_dispatcher(&[]);
    let repo = Repo::new(&stage.path("app"));
    let tasks = format!("[task.loud]\nrun = \"head -c {bytes} /dev/zero\"\n");
    let commits = repo.chain(rounds + 1, &tasks);
    let runner = stage.start_runner("r1", &["--slots", "1", "--log-limit", "4G"]);
    stage.start_observer(&repo.path);
    let reader = stage.reader();
    let mut rates = Sample::default();
    for (n, commit) in commits.iter().enumerate() {
        for pid in [stage.pid(0), stage.pid(runner)] {
            reset_peak_memory(pid);
        }
        let begun = clock::instant();
        repo.move_main(*commit);
        let build = finished(&*reader, commit);
        let seconds = begun.elapsed().as_secs_f64();
        let log = stage.data().join("logs").join("app").join(build.id.to_string()).join("loud.1.log");
        assert_eq!(fs::metadata(&log).expect("the log is there").len(), bytes as u64);
        // Room for the next one.
        fs::remove_file(log).expect("the log is there");
        if n > 0 {
            rates.add(bytes as f64 / 1e6 / seconds);
        }
    }
    rates.print(&format!("{} MB of output", bytes / 1_000_000), "MB/s");
    let mib = |pid: u32| peak_memory(pid) as f64 / 1024.0;
    let (dispatcher, runner) = (mib(stage.pid(0)), mib(stage.pid(runner)));
    say(&format!("    most memory resident: dispatcher {dispatcher:.1} MiB, runner {runner:.1} MiB"));
}

/// Measures the disk alone.
fn disk(bytes: usize, rounds: usize) {
    let stage = Stage::new();
    let piece = vec![0; 256 * 1024];
    let mut rates = Sample::default();
    for _ in 0..rounds {
        let begun = clock::instant();
        for name in ["spool", "log"] {
            let mut file = File::create(stage.path(name)).expect("the directory can be written");
            let mut left = bytes;
            while left > 0 {
                let now = left.min(piece.len());
                file.write_all(&piece[..now]).expect("there is room");
                left -= now;
            }
            if name == "log" {
                file.sync_data().expect("there is room");
            }
        }
        rates.add(bytes as f64 / 1e3 / ms_since(begun));
    }
    rates.print("the disk alone: written twice, synced once", "MB/s");
}
