//! The cost of a long queue: 100,000 jobs wait, in 1,000 groups of 100 repositories. The benchmark compares the leases
//! a second with those of a queue that is nearly empty, and measures `surveil status` and the dispatcher's memory
//! meanwhile. A cycle is a lease received, a result sent and its `ok` received, as in `leases`.
//!
//! `cargo bench --bench queue`; without `--bench` (as `cargo test --all-targets` runs it) the queue is short and
//! nothing is asserted. `SURVEIL_BENCH_REPOS` changes the number of repositories, each with 1,000 jobs;
//! `SURVEIL_BENCH_GROUPS` that of groups in each of them, 0 for none.

mod stage;

use std::time::Duration;

use stage::figures::{Sample, memory, say};
use stage::scripted::{Crowd, Submitter, idle_tasks};
use stage::{Stage, is_measuring, ms_since, setting};
use surveil::clock;

const RUNNERS: usize = 50;
const SLOTS: u32 = 8;
const GROUPS_PER_REPO: usize = 10;
const TASKS: usize = 1000;
/// At least this part of the leases a second with an empty queue.
const LEAST_RATIO: f64 = 0.8;
const MOST_RESIDENT_MIB: f64 = 150.0;
const MOST_STATUS_MS: f64 = 50.0;

fn main() {
    let measuring = is_measuring();
    let (repos, tasks) = if measuring { (setting("SURVEIL_BENCH_REPOS", 100), TASKS) } else { (3, 20) };
    let rounds = if measuring { 3 } else { 1 };
    let (mut empty, mut long) = (Sample::default(), Sample::default());
    let (mut asked, mut resident) = (Sample::default(), Sample::default());
    for _ in 0..rounds {
        empty.add(nearly_empty(tasks));
        long.add(full(repos, tasks, &mut asked, &mut resident));
    }
    let (jobs, groups) = (repos * tasks, repos * GROUPS_PER_REPO);
    empty.print("the queue is nearly empty", "cycles/s");
    long.print(&format!("{jobs} jobs in {groups} groups and {repos} repositories"), "cycles/s");
    let ratio = long.median() / empty.median();
    say(&format!("    {:.0} % of those of the empty queue", ratio * 100.0));
    asked.print("  `surveil status`, the whole command", "ms");
    resident.print("  resident memory of the dispatcher", "MiB");
    if measuring {
        assert!(ratio >= LEAST_RATIO, "a long queue makes leases too slow: {ratio:.2}");
        assert!(asked.median() <= MOST_STATUS_MS, "`surveil status` takes {:.0} ms", asked.median());
        assert!(resident.median() <= MOST_RESIDENT_MIB, "{:.0} MiB are resident", resident.median());
    }
}

/// Returns the cycles a second of jobs without groups, of which a few builds are queued.
fn nearly_empty(tasks: usize) -> f64 {
    let stage = Stage::with_dispatcher(&["--heartbeat-timeout", "10m"]);
    let mut submitter = Submitter::connect(&stage, "app");
    let total = 10 * tasks;
    for _ in 0..10 {
        submitter.submit(&idle_tasks(tasks));
    }
    rate(&stage, total)
}

/// Returns the cycles a second at the beginning of a long queue.
fn full(repos: usize, tasks: usize, asked: &mut Sample, resident: &mut Sample) -> f64 {
    let stage = Stage::with_dispatcher(&["--heartbeat-timeout", "10m"]);
    let groups = setting("SURVEIL_BENCH_GROUPS", GROUPS_PER_REPO);
    let group = |n: usize| n.checked_rem(groups).map(|group| format!("group = \"g{group}\"\n")).unwrap_or_default();
    let file: String = (0..tasks).map(|n| format!("[task.t{n}]\nrun = \"true\"\n{}", group(n))).collect();
    for repo in 0..repos {
        Submitter::connect(&stage, &format!("repo{repo}")).submit(&file);
    }
    let address = stage.address().to_string();
    for _ in 0..5 {
        let begun = clock::instant();
        let status = stage.command(&["status", "--dispatch", &address]).output().expect("surveil starts");
        asked.add(ms_since(begun));
        assert!(status.status.success(), "{status:?}");
    }
    let rate = rate(&stage, repos * tasks / 5);
    resident.add(memory(stage.pid(0)).resident as f64 / 1024.0);
    rate
}

/// Executes this many jobs, and returns how many that were in a second.
fn rate(stage: &Stage, jobs: usize) -> f64 {
    let begun = clock::instant();
    let mut crowd = Crowd::connect(stage, "w", RUNNERS, SLOTS);
    let mut recorded = 0;
    while recorded < jobs {
        recorded += crowd.turn(Duration::from_secs(60)).recorded;
    }
    recorded as f64 / begun.elapsed().as_secs_f64()
}
