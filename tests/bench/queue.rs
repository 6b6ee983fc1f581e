//! The cost of a long queue: 100,000 jobs wait, in 1,000 groups of 100 repositories.
//!
//! First with real runners: jobs that do nothing, through everything, as in `jobs`. The benchmark compares the jobs a
//! second at the beginning of the long queue with those of a short queue of the same repositories.
//!
//! Then with runners that execute nothing, as in `leases`, so that the dispatcher alone counts. The benchmark compares
//! the leases a second with those of a short queue of the same repositories and groups, and with those of a nearly
//! empty queue of one repository without groups, and measures `surveil status` and the dispatcher's memory meanwhile.
//!
//! `cargo bench --bench queue`; without `--bench` (as `cargo test --all-targets` runs it) the queue is short and
//! nothing is asserted. `SURVEIL_BENCH_REPOS` changes the number of repositories, each with 1,000 jobs;
//! `SURVEIL_BENCH_GROUPS` that of groups in each of them, 0 for none.

mod stage;

use std::time::Duration;

use stage::figures::{Sample, memory, say};
use stage::repo::Repo;
use stage::scripted::{Crowd, Submitter, idle_tasks};
use stage::{Stage, is_measuring, look_every, ms_since, setting, wait_for};
use surveil::clock;
use surveil::model::AttemptId;

/// Interval of the looks at the store.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const RUNNERS: usize = 50;
const SLOTS: u32 = 8;
const GROUPS_PER_REPO: usize = 10;
const TASKS: usize = 1000;
/// Jobs that real runners execute before the clock runs, so that each slot has the tree of each repository, and those
/// that they execute then.
const FIRST_JOBS: u64 = 400;
const TIMED_JOBS: u64 = 1500;
/// At least this part of the jobs a second with a short queue.
const LEAST_JOBS: f64 = 0.8;
/// The jobs of each repository in the short queue for runners that execute nothing.
const SHORT_TASKS: usize = 100;
/// One of so many jobs is executed before the clock runs: until all runners are there, and the pages of the submitted
/// builds are in the store's file.
const FIRST_SHARE: usize = 5;
/// At least this part of the leases a second with a short queue of the same repositories and groups. Ten times the jobs
/// do not fit the caches of a processor that other machines share, so this part is the larger the quieter those are.
const LEAST_LEASES: f64 = 0.8;
/// At least this part of those of one repository without groups. Besides the length of the queue it counts what groups
/// cost, and that each lease is of another repository than the one before.
const LEAST_OF_PLAIN_LEASES: f64 = 0.5;
const MOST_RESIDENT_MIB: f64 = 150.0;
const MOST_STATUS_MS: f64 = 50.0;

fn main() {
    let measuring = is_measuring();
    let (repos, tasks) = if measuring { (setting("SURVEIL_BENCH_REPOS", 100), TASKS) } else { (3, 20) };
    let rounds = if measuring { 3 } else { 1 };
    // The shares are those of each round: the machine may be faster in one than in another.
    let (mut short, mut real, mut share) = <(Sample, Sample, Sample)>::default();
    let in_short = if measuring { 20 } else { 4 };
    for _ in 0..rounds {
        let [of_short, of_long] = [in_short, tasks].map(|tasks| with_real_runners(repos, tasks));
        short.add(of_short);
        real.add(of_long);
        share.add(of_long / of_short);
    }
    short.print(&format!("{} jobs wait, real runners", repos * in_short), "jobs/s");
    real.print(&format!("{} jobs wait, real runners", repos * tasks), "jobs/s");
    let jobs_ratio = share.median();
    say(&format!("    {:.0} % of those of the short queue", jobs_ratio * 100.0));
    let [mut plain, mut few, mut long, mut of_few, mut of_plain] = [(); 5].map(|()| Sample::default());
    let (mut asked, mut resident) = (Sample::default(), Sample::default());
    let short_tasks = SHORT_TASKS.min(tasks / 5);
    for _ in 0..rounds {
        let plain_rate = nearly_empty(tasks);
        let short_rate = rate(&queued(repos, short_tasks), repos * short_tasks);
        let long_rate = full(repos, tasks, &mut asked, &mut resident);
        plain.add(plain_rate);
        few.add(short_rate);
        long.add(long_rate);
        of_few.add(long_rate / short_rate);
        of_plain.add(long_rate / plain_rate);
    }
    let groups = repos * GROUPS_PER_REPO;
    let of_groups = |jobs: usize| format!("{jobs} jobs in {groups} groups and {repos} repositories");
    plain.print("the queue is nearly empty, one repository, no groups", "cycles/s");
    few.print(&of_groups(repos * short_tasks), "cycles/s");
    long.print(&of_groups(repos * tasks), "cycles/s");
    let [ratio, of_plain] = [of_few, of_plain].map(|shares| shares.median());
    let (of_short, of_one) = (ratio * 100.0, of_plain * 100.0);
    say(&format!("    {of_short:.0} % of those of the short queue, {of_one:.0} % of those of one repository"));
    asked.print("  `surveil status`, the whole command", "ms");
    resident.print("  resident memory of the dispatcher", "MiB");
    if measuring {
        assert!(jobs_ratio >= LEAST_JOBS, "a long queue makes jobs too slow: {jobs_ratio:.2}");
        assert!(ratio >= LEAST_LEASES, "a long queue makes leases too slow: {ratio:.2}");
        assert!(of_plain >= LEAST_OF_PLAIN_LEASES, "groups and repositories make leases too slow: {of_plain:.2}");
        assert!(asked.median() <= MOST_STATUS_MS, "`surveil status` takes {:.0} ms", asked.median());
        assert!(resident.median() <= MOST_RESIDENT_MIB, "{:.0} MiB are resident", resident.median());
    }
}

/// Returns the task file of a repository, whose tasks stand in groups in turn.
fn task_file(tasks: usize) -> String {
    let groups = setting("SURVEIL_BENCH_GROUPS", GROUPS_PER_REPO);
    let group = |n: usize| n.checked_rem(groups).map(|group| format!("group = \"g{group}\"\n")).unwrap_or_default();
    (0..tasks).map(|n| format!("[task.t{n}]\nrun = [\"true\"]\n{}", group(n))).collect()
}

/// Returns the jobs a second of a real runner with two slots at the beginning of a queue.
fn with_real_runners(repos: usize, tasks: usize) -> f64 {
    let mut stage = Stage::with_dispatcher(&[]);
    let file = task_file(tasks);
    let watched: Vec<Repo> = (0..repos).map(|n| Repo::new(&stage.path(&format!("repo{n}")))).collect();
    for repo in &watched {
        repo.move_main(repo.chain(1, &file)[0]);
    }
    stage.start_observer_of(&watched);
    let reader = stage.reader();
    let all = u32::try_from(repos).expect("a few");
    let is_there = || reader.unfinished_builds(None, all).is_ok_and(|builds| builds.len() == repos).then_some(());
    wait_for("the builds", is_there);
    stage.start_runner("r1", &["--slots", "2"]);
    let total = (repos * tasks) as u64;
    // Attempts get runners in the order of their numbers.
    let ended = |number: u64| {
        let attempt = || reader.attempt(AttemptId(number)).expect("the store can be read");
        look_every(LOOK_EVERY, "an outcome", || attempt().filter(|it| it.outcome.is_some()).map(|_| clock::instant()))
    };
    let first = FIRST_JOBS.min(total / 3);
    let last = (first + TIMED_JOBS).min(total);
    let begun = ended(first);
    (last - first) as f64 / (ended(last) - begun).as_secs_f64()
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

/// Returns a dispatcher with a build of each repository in its queue.
fn queued(repos: usize, tasks: usize) -> Stage {
    let stage = Stage::with_dispatcher(&["--heartbeat-timeout", "10m"]);
    let file = task_file(tasks);
    for repo in 0..repos {
        Submitter::connect(&stage, &format!("repo{repo}")).submit(&file);
    }
    stage
}

/// Returns the cycles a second at the beginning of a long queue.
fn full(repos: usize, tasks: usize, asked: &mut Sample, resident: &mut Sample) -> f64 {
    let stage = queued(repos, tasks);
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

/// Executes this many jobs, and returns how many that were in a second, but for the first of them.
fn rate(stage: &Stage, jobs: usize) -> f64 {
    let mut crowd = Crowd::connect(stage, "w", RUNNERS, SLOTS);
    let mut execute = |count: usize| {
        let mut recorded = 0;
        while recorded < count {
            recorded += crowd.turn(Duration::from_secs(60)).recorded;
        }
        recorded
    };
    let first = execute(jobs / FIRST_SHARE);
    let begun = clock::instant();
    let timed = execute(jobs - first);
    timed as f64 / begun.elapsed().as_secs_f64()
}
