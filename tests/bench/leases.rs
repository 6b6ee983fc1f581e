//! Scheduler plus store without processes: leases and synced outcomes a second, for 50 scripted runners over loopback
//! TCP. A cycle is a lease received, a result sent and its `ok` received, which means that the outcome is synced.
//!
//! `cargo bench --bench leases`; without `--bench` (as `cargo test --all-targets` runs it) it does a few cycles only.
//! `SURVEIL_BENCH_BUILDS` changes how much is queued, in thousands of jobs; `SURVEIL_BENCH_SLOTS` picks one of the
//! rows.

mod stage;

use std::time::Duration;

use stage::figures::{Sample, cpu_seconds, say};
use stage::scripted::{Crowd, idle_tasks, submit};
use stage::{Stage, is_measuring, setting};
use surveil::clock;

const RUNNERS: usize = 50;
const TASKS: usize = 1000;
const ROUNDS: usize = 5;

fn main() {
    let (builds, slots, rounds) = match is_measuring() {
        true => (setting("SURVEIL_BENCH_BUILDS", 50), &[1, 8, 64][..], ROUNDS),
        false => (1, &[8][..], 1),
    };
    let only = setting("SURVEIL_BENCH_SLOTS", 0) as u32;
    for slots in slots.iter().filter(|slots| only == 0 || **slots == only) {
        let (mut rates, mut cpu) = (Sample::default(), Sample::default());
        for _ in 0..rounds {
            run(*slots, builds, &mut rates, &mut cpu);
        }
        rates.print(&format!("{RUNNERS} runners of {slots} slots"), "cycles/s");
        say(&format!("    CPU of the dispatcher for a cycle: {:.1} us", cpu.median()));
    }
}

fn run(slots: u32, builds: usize, rates: &mut Sample, cpu: &mut Sample) {
    let stage = Stage::with_dispatcher(&["--heartbeat-timeout", "10m"]);
    submit(&stage, builds, &idle_tasks(TASKS));
    let total = builds * TASKS;
    let before = cpu_seconds(stage.pid(0));
    let begun = clock::instant();
    let mut crowd = Crowd::connect(&stage, "w", RUNNERS, slots);
    let mut recorded = 0;
    while recorded < total {
        recorded += crowd.turn(Duration::from_secs(60)).recorded;
    }
    rates.add(total as f64 / begun.elapsed().as_secs_f64());
    cpu.add((cpu_seconds(stage.pid(0)) - before) * 1e6 / total as f64);
}
