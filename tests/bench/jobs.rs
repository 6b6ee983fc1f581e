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
    beside(jobs.min(200), rounds);
}

/// The same jobs guarded and shared, in turns at the same runner with one slot, so that the difference is the guard's.
fn beside(jobs: usize, rounds: usize) {
    let mut stage = Stage::with_dispatcher(&[]);
    let repo = Repo::new(&stage.path("app"));
    let chain = |tier: &str| {
        let task = |n| format!("[task.t{n}]\nrun = [\"true\"]\nisolation = \"{tier}\"\n");
        repo.chain(rounds + 1, &(0..jobs).map(task).collect::<String>())
    };
    let (guarded, shared) = (chain("guarded"), chain("shared"));
    stage.start_runner("r1", &["--slots", "1"]);
    stage.start_observer(&repo.path);
    let reader = stage.reader();
    let time = |commit| {
        let begun = clock::instant();
        repo.move_main(commit);
        let build = finished_every(LOOK_EVERY, &*reader, &commit);
        assert_eq!(build.verdict, Some(surveil::model::Verdict::Passed));
        begun.elapsed().as_secs_f64() * 1e3 / jobs as f64
    };
    let (mut with, mut more) = (Sample::default(), Sample::default());
    for (n, (guarded, shared)) in guarded.into_iter().zip(shared).enumerate() {
        let (without, guarded) = (time(shared), time(guarded));
        // The first round creates store and work trees.
        if n > 0 {
            with.add(guarded);
            more.add(guarded - without);
        }
    }
    with.print(&format!("{jobs} jobs one after the other, guarded"), "ms/job");
    more.print("    of that for the guard", "ms/job");
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
