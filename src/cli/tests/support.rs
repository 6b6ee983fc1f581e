//! An output that tests can read, and reports to print.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use crate::cli::output::Output;
use crate::protocol::operator::{AttemptReport, BuildReport, JobReport};

/// Collects a command's output.
#[derive(Clone, Default)]
pub(crate) struct Collected(Arc<Mutex<Vec<u8>>>);

impl Collected {
    pub(crate) fn output(&self) -> Output {
        Output::plain(Box::new(self.clone()))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn attempt(number: u32) -> AttemptReport {
    AttemptReport {
        attempt: 100 + u64::from(number),
        number,
        runner: "w1".into(),
        leased_ms: 1_000_100,
        finished_ms: Some(1_003_400),
        duration_ms: Some(3_200),
        outcome: Some("passed".into()),
        detail: None,
        reason_code: None,
        log_bytes: 10,
        log_path: format!("/d/logs/b12/test.{number}.log"),
        steps: Vec::new(),
        execution: None,
        outputs: Vec::new(),
    }
}

pub(crate) fn job(task: &str, state: &str, attempts: Vec<AttemptReport>) -> JobReport {
    JobReport { job: 1, task: task.into(), state: state.into(), attempts, ..JobReport::default() }
}

pub(crate) fn build(number: u64, state: &str, jobs: Vec<JobReport>) -> BuildReport {
    BuildReport {
        priority: 0,
        build: number,
        repo: "app".into(),
        branch: "main".into(),
        commit: "4f2a91c0".repeat(5),
        trigger: "push".into(),
        reference: "refs/heads/main".into(),
        trust: "trusted".into(),
        asked_by: None,
        orders: Vec::new(),
        before: None,
        subject: "Fix the thing".into(),
        author: "Ann <ann@example.org>".into(),
        state: state.into(),
        flaky: false,
        created_ms: 1_000_000,
        rerun_ms: None,
        finished_ms: Some(1_012_000),
        problem: None,
        jobs,
        job_counts: BTreeMap::new(),
        more: false,
    }
}
