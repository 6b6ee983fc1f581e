//! Values and records for tests of stores.

use crate::model::reason::PlacementReason;
use crate::model::{
    Attempt, AttemptId, BranchName, Build, BuildId, BuildSettings, BuildSource, CommitId, Ending, Job, JobId, JobState,
    LogSummary, Outcome, Record, RepoName, RunnerId, Script, TaskName, TaskSpec, Trigger, Verdict, WallTime,
};

pub(in crate::store) fn commit_id(number: u64) -> CommitId {
    let mut raw = [0; 20];
    // Spread over all values, like hashes.
    raw[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    raw[12..].copy_from_slice(&number.to_be_bytes());
    CommitId::from_bytes(&raw).unwrap()
}

pub(in crate::store) fn build(id: u64) -> Build {
    Build {
        id: BuildId(id),
        source: BuildSource {
            repo: RepoName::new("app").unwrap(),
            commit: commit_id(id),
            trigger: Trigger::push(&BranchName::new("main"), (id > 1).then(|| commit_id(id - 1)), vec![commit_id(id)]),
            subject: "teach the parser to count".into(),
            author: "Ada <ada@example.org>".into(),
        },
        created_at: WallTime(1_700_000_000_000 + id as i64),
        rerun_at: None,
        finished_at: None,
        verdict: None,
        problem: None,
        settings: BuildSettings::default(),
    }
}

pub(in crate::store) fn job(id: u64, build: u64) -> Job {
    let task = TaskSpec::new(TaskName::new(&format!("task{}", id % 3)).unwrap(), Script::Shell("true".into()));
    Job {
        id: JobId(id),
        build: BuildId(build),
        task: task.into(),
        state: JobState::Queued,
        attempts: 0,
        failures: 0,
        losses: 0,
    }
}

pub(in crate::store) fn attempt(id: u64, job: u64, build: u64, number: u32) -> Attempt {
    Attempt {
        id: AttemptId(id),
        job: JobId(job),
        build: BuildId(build),
        number,
        runner: RunnerId(1),
        reason: PlacementReason::FreeSlot,
        leased_at: WallTime(1_700_000_000_500),
        finished_at: None,
        duration_ms: None,
        outcome: None,
        log: LogSummary::default(),
    }
}

pub(in crate::store) fn added(id: u64, jobs: impl IntoIterator<Item = u64>) -> Record {
    Record::BuildAdded { build: Box::new(build(id)), jobs: jobs.into_iter().map(|job_id| job(job_id, id)).collect() }
}

pub(in crate::store) fn finished(attempt: u64, outcome: Outcome) -> Record {
    Record::AttemptFinished {
        attempt: AttemptId(attempt),
        outcome,
        log: LogSummary { bytes: 1234, crc32: 0xfeed_beef, missing: None },
        duration_ms: Some(1500),
        at: WallTime(1_700_000_002_000),
    }
}

/// A build of one job that passed, from the first record to the last.
pub(in crate::store) fn passed_build(id: u64) -> Vec<Record> {
    vec![
        added(id, [id]),
        Record::AttemptLeased(attempt(id, id, id, 1)),
        finished(id, Outcome::Passed),
        Record::JobFinished { job: JobId(id), ending: Ending::Passed },
        Record::BuildFinished {
            build: BuildId(id),
            verdict: Verdict::Passed,
            at: WallTime(1_700_000_003_000 + id as i64),
        },
    ]
}
