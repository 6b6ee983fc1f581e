//! The cost of losses, and of a start. 1,000 leases are lost at once, because the connections of their runners are cut,
//! and given to other runners. Then a dispatcher starts on a store with 1,000,000 finished jobs, and is asked for its
//! status.
//!
//! `cargo bench --bench redistribute`; `SURVEIL_BENCH_JOBS` changes the number of finished jobs.

mod stage;

use std::time::Duration;

use stage::figures::{Sample, memory, say};
use stage::scripted::{Crowd, idle_tasks, submit};
use stage::{Stage, is_measuring, ms_since, pause, setting};
use surveil::clock;
use surveil::config::defaults::RECONNECT_MS;
use surveil::model::reason::PlacementReason;
use surveil::model::{
    Attempt, AttemptId, BranchName, Build, BuildId, BuildSettings, BuildSource, CommitId, Ending, Job, JobId, JobState,
    LogSummary, Outcome, Record, RepoName, Runner, RunnerId, RunnerName, Script, TaskName, TaskSpec, Trigger, Verdict,
    WallTime,
};
use surveil::store::sqlite;

const RUNNERS: usize = 20;
const JOBS_PER_BUILD: u64 = 10;

fn main() {
    let leases = if is_measuring() { setting("SURVEIL_BENCH_LEASES", 1000) } else { 20 };
    let rounds = if is_measuring() { 5 } else { 1 };
    let (mut whole, mut after) = (Sample::default(), Sample::default());
    for _ in 0..rounds {
        lose(leases, &mut whole, &mut after);
    }
    whole.print(&format!("{leases} leases: connections cut -> all leased again"), "ms");
    after.print(&format!("  of that, after the window of {RECONNECT_MS} ms to come back"), "ms");
    start(if is_measuring() { setting("SURVEIL_BENCH_JOBS", 1_000_000) } else { 100 } as u64);
}

fn lose(leases: usize, whole: &mut Sample, after: &mut Sample) {
    let stage = Stage::with_dispatcher(&["--heartbeat-timeout", "10m"]);
    submit(&stage, 1, &idle_tasks(leases));
    let slots = (leases / RUNNERS) as u32;
    let mut lost = Crowd::connect(&stage, "lost", RUNNERS, slots);
    lost.keep_leases();
    let held = take(&mut lost, leases);
    assert_eq!(held, leases);
    let mut heirs = Crowd::connect(&stage, "heir", RUNNERS, slots);
    heirs.keep_leases();
    heirs.turn(Duration::from_secs(10));
    let begun = clock::instant();
    lost.vanish();
    take(&mut heirs, leases);
    let took = ms_since(begun);
    whole.add(took);
    after.add(took - RECONNECT_MS as f64);
}

/// Receives this many leases.
fn take(crowd: &mut Crowd, leases: usize) -> usize {
    let mut heard = 0;
    while heard < leases {
        heard += crowd.turn(Duration::from_secs(10)).leases;
    }
    heard
}

fn start(jobs: u64) {
    let mut stage = Stage::new();
    fill(&stage, jobs);
    let rounds = if is_measuring() { 5 } else { 1 };
    let (mut starts, mut asked, mut resident) = (Sample::default(), Sample::default(), Sample::default());
    for _ in 0..rounds {
        let (at, took) = stage.start_dispatcher(&[]);
        starts.add(took.as_secs_f64() * 1000.0);
        for _ in 0..rounds {
            let begun = clock::instant();
            let address = stage.address().to_string();
            let status = stage.command(&["status", "--dispatch", &address]).output().expect("surveil starts");
            asked.add(ms_since(begun));
            assert!(status.status.success(), "{status:?}");
        }
        resident.add(memory(stage.pid(at)).resident as f64 / 1024.0);
        // As a crash leaves it, every second time.
        if starts.count() % 2 == 0 {
            stage.kill(at)
        } else {
            stage.stop(at)
        }
        pause(Duration::from_millis(10));
    }
    say(&format!("a store with {jobs} finished jobs:"));
    starts.print("  dispatcher's process begins -> it listens", "ms");
    asked.print("  `surveil status`, the whole command", "ms");
    resident.print("  resident afterwards", "MiB");
}

/// Makes a store in which this many jobs have passed.
fn fill(stage: &Stage, jobs: u64) {
    std::fs::create_dir_all(stage.data()).expect("the directory can be written");
    let mut store = sqlite::open(&stage.data().join("surveil.db")).expect("a new store");
    let runner = Runner {
        id: RunnerId(1),
        name: RunnerName::recorded("r1"),
        first_seen: WallTime(0),
        drain: None,
        ordered: None,
    };
    store.commit(&[Record::RunnerSaved(runner)]).expect("it is stored");
    let builds: Vec<u64> = (1..=jobs / JOBS_PER_BUILD).collect();
    for some in builds.chunks(200) {
        let records: Vec<Record> = some.iter().flat_map(|build| passed(*build)).collect();
        store.commit(&records).expect("it is stored");
    }
}

/// A build whose jobs have passed.
fn passed(build: u64) -> Vec<Record> {
    let (id, at) = (BuildId(build), WallTime(1_700_000_000_000 + build as i64));
    let mut raw = [0; 20];
    raw[..8].copy_from_slice(&build.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let source = BuildSource {
        repo: RepoName::new("app").expect("it is a name"),
        commit: CommitId::from_bytes(&raw).expect("20 bytes are a commit id"),
        trigger: Trigger::push(&BranchName::new("main"), None, vec![]),
        subject: "teach the parser to count beyond nine".into(),
        author: "Ada Lovelace <ada@example.org>".into(),
    };
    let ids: Vec<u64> = (1..=JOBS_PER_BUILD).map(|task| (build - 1) * JOBS_PER_BUILD + task).collect();
    let job = |job: &u64| Job {
        id: JobId(*job),
        build: id,
        task: TaskSpec::new(
            TaskName::recorded(&format!("task{}", *job % JOBS_PER_BUILD)),
            Script::Shell("cargo test".into()),
        )
        .into(),
        state: JobState::Queued,
        attempts: 0,
        failures: 0,
        losses: 0,
    };
    let jobs = ids.iter().map(job).collect();
    let settings = BuildSettings::default();
    let build =
        Build { id, source, created_at: at, rerun_at: None, finished_at: None, verdict: None, problem: None, settings };
    let mut records = vec![Record::BuildAdded { build: Box::new(build), jobs }];
    for job in ids {
        let attempt = Attempt {
            id: AttemptId(job),
            job: JobId(job),
            build: id,
            number: 1,
            runner: RunnerId(1),
            reason: PlacementReason::FreeSlot,
            leased_at: at,
            finished_at: None,
            duration_ms: None,
            outcome: None,
            log: LogSummary::default(),
        };
        let (attempt_id, log) = (attempt.id, LogSummary { bytes: 2000, crc32: job as u32, missing: None });
        records.push(Record::AttemptLeased(attempt));
        let (outcome, duration_ms) = (Outcome::Passed, Some(1500));
        records.push(Record::AttemptFinished { attempt: attempt_id, outcome, log, duration_ms, at });
        records.push(Record::JobFinished { job: JobId(job), ending: Ending::Passed });
    }
    records.push(Record::BuildFinished { build: id, verdict: Verdict::Passed, at });
    records
}
