//! Jobs that do nothing, through everything: lease, clean tree, process, log, durable outcome. One runner with two
//! slots, 500 jobs queued at once; the clock runs from the update of the ref to the durable verdict.
//!
//! `cargo bench --bench jobs`; `SURVEIL_BENCH_JOBS` changes the number of jobs, `SURVEIL_BENCH_SLOTS` that of slots.

mod stage;

use std::time::Duration;

use stage::figures::{Sample, cpu_seconds, say};
use stage::repo::Repo;
use stage::{Stage, finished_every, is_measuring, setting};
use surveil::clock;

/// Interval of the check. A check every millisecond took a twentieth of both processors from the jobs.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The least rate of jobs that print one line, in hundredths of that of silent ones.
const LEAST_SHARE: f64 = 80.0;

fn main() {
    let rounds = if is_measuring() { setting("SURVEIL_BENCH_ROUNDS", 8) } else { 1 };
    let jobs = if is_measuring() { setting("SURVEIL_BENCH_JOBS", 500) } else { 4 };
    // The last two differ in what a guard costs.
    let shared = "[\"true\"]\nisolation = \"shared\"";
    let tasks =
        [("run = \"true\"", "\"true\""), ("run = [\"true\"]", "[\"true\"]"), ("run = [\"true\"], shared", shared)];
    for (what, run) in tasks {
        measure(what, run, jobs, rounds);
    }
    guards(jobs.min(200), rounds);
    lines(jobs, rounds);
}

/// The same jobs guarded and shared, in turns at the same runner with one slot, so that the difference is the guard's.
fn guards(jobs: usize, rounds: usize) {
    let tiers = ["shared", "guarded"].map(|tier| format!("run = [\"true\"]\nisolation = \"{tier}\""));
    let (mut with, mut more) = (Sample::default(), Sample::default());
    for [shared, guarded] in in_turns(jobs, rounds, 1, tiers) {
        with.add(guarded);
        more.add(guarded - shared);
    }
    with.print(&format!("{jobs} jobs one after the other, guarded"), "ms/job");
    more.print("    of that for the guard", "ms/job");
}

/// Jobs that print one line beside silent ones, in turns at the same runner with two slots.
fn lines(jobs: usize, rounds: usize) {
    let (mut rates, mut shares) = (Sample::default(), Sample::default());
    let runs = ["run = \":\"", "run = \"echo one line\""].map(str::to_owned);
    for [silent, line] in in_turns(jobs, rounds, 2, runs) {
        rates.add(1e3 / line);
        shares.add(silent / line * 100.0);
    }
    rates.print(&format!("{jobs} jobs that print one line, 2 slots"), "jobs/s");
    shares.print("    of the rate of silent ones", "%");
    if is_measuring() {
        assert!(shares.median() >= LEAST_SHARE, "jobs that print one line run at {:.0} %", shares.median());
    }
}

/// Executes builds of each kind of job in turns at one runner. Returns the milliseconds that a job took, by round.
fn in_turns<const N: usize>(jobs: usize, rounds: usize, slots: usize, runs: [String; N]) -> Vec<[f64; N]> {
    let mut stage = Stage::with_dispatcher(&[]);
    let repo = Repo::new(&stage.path("app"));
    let chains = runs.map(|run| {
        let task = |n| format!("[task.t{n}]\n{run}\n");
        repo.chain(rounds + 1, &(0..jobs).map(task).collect::<String>())
    });
    stage.start_runner("r1", &["--slots", &slots.to_string()]);
    stage.start_observer(&repo.path);
    let reader = stage.reader();
    let time = |commit| {
        let begun = clock::instant();
        repo.move_main(commit);
        let build = finished_every(LOOK_EVERY, &*reader, &commit);
        assert_eq!(build.verdict, Some(surveil::model::Verdict::Passed));
        begun.elapsed().as_secs_f64() * 1e3 / jobs as f64
    };
    let mut times: Vec<_> = (0..=rounds).map(|n| chains.each_ref().map(|chain| time(chain[n]))).collect();
    // The first round creates store and work trees.
    times.remove(0);
    times
}

fn measure(what: &str, run: &str, jobs: usize, rounds: usize) {
    let mut stage = Stage::with_dispatcher(&[]);
    let repo = Repo::new(&stage.path("app"));
    let tasks: String = (0..jobs).map(|n| format!("[task.t{n}]\nrun = {run}\n")).collect();
    let commits = repo.chain(rounds + 1, &tasks);
    let slots = setting("SURVEIL_BENCH_SLOTS", 2).to_string();
    let runner = stage.start_runner("r1", &["--slots", &slots]);
    stage.start_observer(&repo.path);
    let reader = stage.reader();
    let (mut rates, mut cpu) = (Sample::default(), [Sample::default(), Sample::default()]);
    for (n, commit) in commits.iter().enumerate() {
        let before = [cpu_seconds(stage.pid(0)), cpu_seconds(stage.pid(runner))];
        let begun = clock::instant();
        repo.move_main(*commit);
        let build = finished_every(LOOK_EVERY, &*reader, commit);
        let seconds = begun.elapsed().as_secs_f64();
        assert_eq!(build.verdict, Some(surveil::model::Verdict::Passed));
        // The first round creates store and work trees.
        if n > 0 {
            rates.add(jobs as f64 / seconds);
            let after = [cpu_seconds(stage.pid(0)), cpu_seconds(stage.pid(runner))];
            for ((sample, after), before) in cpu.iter_mut().zip(after).zip(before) {
                sample.add((after - before) * 1e6 / jobs as f64);
            }
        }
    }
    rates.print(&format!("{jobs} jobs, {what}, {slots} slots"), "jobs/s");
    say(&format!(
        "    CPU for a job: dispatcher {:.0} us, runner {:.0} us (supervisors and tasks not counted)",
        cpu[0].median(),
        cpu[1].median()
    ));
}
