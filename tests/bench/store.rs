//! How many cycles of lease, outcome and ending the store makes durable each second, by the number of cycles in a
//! batch; then how long a start and a status take on what is left behind. `cargo bench --bench store` measures; without
//! `--bench` it only shows that it works. `SURVEIL_BENCH_DIR` names the disk, `SURVEIL_BENCH_JOBS` how many finished
//! jobs the start and the status are measured on.

#![expect(clippy::print_stdout, reason = "a bench is for its output")]

use std::path::Path;
use std::time::{Duration, Instant};

use surveil::model::reason::PlacementReason;
use surveil::model::{
    Attempt, AttemptId, BranchName, Build, BuildId, BuildSettings, BuildSource, CommitId, Ending, Job, JobId, JobState,
    LogSummary, Outcome, Record, RepoName, RunnerId, Script, TaskName, TaskSpec, Trigger, Verdict, WallTime,
};
use surveil::store::{Store, sqlite};

const JOBS_PER_BUILD: u64 = 5;

fn main() {
    let is_measuring = std::env::args().any(|arg| arg == "--bench");
    let setting = |name: &str| std::env::var(name).ok();
    let directory = tempfile::tempdir_in(setting("SURVEIL_BENCH_DIR").unwrap_or_else(|| "target".into()))
        .expect("the directory can be written");
    let path = directory.path().join("surveil.db");
    let many = setting("SURVEIL_BENCH_JOBS").and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let mut store = sqlite::open(&path).expect("a new store opens");
    let mut next_job = 1;
    for (batch, cycles) in [(1, 1_000), (10, 10_000), (100, 100_000), (1000, 200_000)] {
        measure_cycles(&mut *store, &mut next_job, batch, if is_measuring { cycles } else { batch });
    }
    while is_measuring && next_job < many {
        let jobs = add_builds(&mut *store, &mut next_job, 1000);
        run(&mut *store, jobs, 1000, &mut Vec::new());
    }
    finish_builds(&mut *store, next_job);
    // As after a kill: the write-ahead log is not moved into the main file.
    let copy = directory.path().join("copy");
    std::fs::create_dir(&copy).expect("the directory can be written");
    for name in ["surveil.db", "surveil.db-wal"] {
        std::fs::copy(directory.path().join(name), copy.join(name)).expect("the files can be copied");
    }
    println!("{:>40}: {}", "finished jobs", next_job - 1);
    timed("close", || drop(store));
    measure_reading(&copy.join("surveil.db"));
}

#[expect(clippy::disallowed_methods, reason = "measuring is about real time")]
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let from = Instant::now();
    let result = work();
    println!("{what:>40}: {:.1?}", from.elapsed());
    result
}

#[expect(clippy::disallowed_methods, reason = "measuring is about real time")]
fn measure_cycles(store: &mut dyn Store, next_job: &mut u64, batch: u64, cycles: u64) {
    let from = Instant::now();
    let jobs = add_builds(store, next_job, cycles);
    let adding = from.elapsed();
    let mut times = Vec::new();
    let from = Instant::now();
    run(store, jobs, batch, &mut times);
    let elapsed = from.elapsed();
    times.sort_unstable();
    println!(
        "{batch:>5} cycles in a batch: {:>8.0} cycles/s, a batch takes {:.2?} (99 %: {:.2?}, longest {:.2?}); jobs added {:.0}/s",
        cycles as f64 / elapsed.as_secs_f64(),
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times[times.len() - 1],
        cycles as f64 / adding.as_secs_f64()
    );
}

fn add_builds(store: &mut dyn Store, next_job: &mut u64, jobs: u64) -> std::ops::Range<u64> {
    let first = *next_job;
    *next_job += jobs.next_multiple_of(JOBS_PER_BUILD);
    let builds: Vec<u64> = (first / JOBS_PER_BUILD..*next_job / JOBS_PER_BUILD).collect();
    for some in builds.chunks(100) {
        let records: Vec<_> = some.iter().map(|build| added(build + 1)).collect();
        store.commit(&records).expect("builds are added");
    }
    first..first + jobs
}

#[expect(clippy::disallowed_methods, reason = "measuring is about real time")]
fn run(store: &mut dyn Store, jobs: std::ops::Range<u64>, batch: u64, times: &mut Vec<Duration>) {
    let mut records = Vec::new();
    let mut from = Instant::now();
    for job in jobs.clone() {
        records.extend(cycle(job));
        if records.len() as u64 >= 3 * batch || job + 1 == jobs.end {
            store.commit(&records).expect("cycles are committed");
            records.clear();
            times.push(from.elapsed());
            from = Instant::now();
        }
    }
}

fn finish_builds(store: &mut dyn Store, next_job: u64) {
    let builds: Vec<u64> = (1..=(next_job - 1) / JOBS_PER_BUILD).collect();
    for some in builds.chunks(1000) {
        let finish = |id: &u64| Record::BuildFinished {
            build: BuildId(*id),
            verdict: Verdict::Passed,
            at: WallTime(1_700_000_000_000),
        };
        store.commit(&some.iter().map(finish).collect::<Vec<_>>()).expect("builds finish");
    }
}

fn measure_reading(path: &Path) {
    let bytes = path.metadata().expect("the store is there").len();
    println!("{:>40}: {:.0} MiB", "store", bytes as f64 / 1048576.0);
    let store = timed("start", || sqlite::open(path).expect("the store opens"));
    timed("snapshot", || store.snapshot().expect("it reads"));
    let reader = timed("reader", || store.readers().open().expect("a reader opens"));
    let builds = timed("finished_builds(20)", || reader.finished_builds(None, 20).expect("it reads"));
    timed("finished_builds(20) of a repository", || reader.finished_builds(Some("app"), 20).expect("it reads"));
    timed("unfinished_builds", || reader.unfinished_builds(None, u32::MAX).expect("it reads"));
    timed("jobs and attempts of 20 builds", || {
        for build in &builds {
            assert!(!reader.jobs(build.id).expect("it reads").is_empty());
            assert!(!reader.attempts(build.id).expect("it reads").is_empty());
        }
    });
    timed("check of everything", || reader.check(&mut drop).expect("it is sound"));
}

fn commit_id(number: u64) -> CommitId {
    let mut raw = [0; 20];
    raw[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    raw[12..].copy_from_slice(&number.to_be_bytes());
    CommitId::from_bytes(&raw).expect("20 bytes are a commit id")
}

fn added(id: u64) -> Record {
    let source = BuildSource {
        repo: RepoName::new("app").expect("it is a name"),
        commit: commit_id(id),
        trigger: Trigger::push(&BranchName::new("main"), Some(commit_id(id - 1)), vec![commit_id(id)]),
        subject: "teach the parser to count beyond nine".into(),
        author: "Ada Lovelace <ada@example.org>".into(),
    };
    let job = |task: u64| Job {
        id: JobId((id - 1) * JOBS_PER_BUILD + task),
        build: BuildId(id),
        task: TaskSpec::new(TaskName::recorded(&format!("task{task}")), Script::Shell("cargo test --locked".into()))
            .into(),
        state: JobState::Queued,
        attempts: 0,
        failures: 0,
        losses: 0,
    };
    Record::BuildAdded {
        build: Box::new(Build {
            id: BuildId(id),
            source,
            created_at: WallTime(1_700_000_000_000),
            rerun_at: None,
            finished_at: None,
            verdict: None,
            problem: None,
            settings: BuildSettings::default(),
        }),
        jobs: (1..=JOBS_PER_BUILD).map(job).collect(),
    }
}

fn cycle(job: u64) -> [Record; 3] {
    let (id, at) = (AttemptId(job), WallTime(1_700_000_000_000 + job as i64));
    let attempt = Attempt {
        id,
        job: JobId(job),
        build: BuildId((job - 1) / JOBS_PER_BUILD + 1),
        number: 1,
        runner: RunnerId(job % 50),
        reason: if job.is_multiple_of(2) { PlacementReason::RepoWarm } else { PlacementReason::FreeSlot },
        leased_at: at,
        finished_at: None,
        duration_ms: None,
        outcome: None,
        log: LogSummary::default(),
    };
    let log = LogSummary { bytes: 20_000 + job % 1000, crc32: job as u32, missing: None };
    let finished = Record::AttemptFinished { attempt: id, outcome: Outcome::Passed, log, duration_ms: Some(1500), at };
    [Record::AttemptLeased(attempt), finished, Record::JobFinished { job: JobId(job), ending: Ending::Passed }]
}
