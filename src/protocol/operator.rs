//! Messages between an operator's command and the dispatcher, and the reports that `--format json` prints.
//!
//! Fields are only ever added to a report. Times are milliseconds since the Unix epoch.

use serde::{Deserialize, Serialize};

use super::hello::Refusal;

/// Operator to dispatcher. A `build` is a number, a commit prefix of at least 4 digits, or `latest`; with `repo` it is
/// looked for in that repository alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromOperator {
    /// Answer: `status`.
    Status {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repo: Option<String>,
        /// How many finished builds to list.
        limit: u32,
    },
    /// Answer: `build`.
    Show { build: String },
    /// Why a build, or one of its jobs, is where it is. Answer: `why`.
    Why {
        build: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<String>,
    },
    /// Answer: `runners`.
    Runners,
    /// The log of one task's newest attempt (or of attempt `number`), from `offset`. With `follow` until the attempt is
    /// finished. Answer: `log` pieces, then `log_end`.
    Logs {
        build: String,
        /// May be left out where the build has a single task.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u32>,
        #[serde(default)]
        offset: u64,
        #[serde(default)]
        follow: bool,
    },
    /// Cancels what is unfinished of a build, or one task of it. Answer: `ok`.
    Cancel {
        build: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<String>,
    },
    /// Runs a finished build's jobs again, or only those that did not pass. Answer: `ok`.
    Rerun { build: String, failed: bool },
    /// Lets a runner finish what it holds and then end. Answer: `ok`.
    Drain { runner: String },
    /// From now on: a `build` for every build that changes. Ends with the session.
    Watch,
    /// Sent every `ping_interval_ms` by an operator that waits. Answer: `ack`.
    Ping,
}

/// Dispatcher to operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToOperator {
    Status(StatusReport),
    Build(Box<BuildReport>),
    Why(WhyReport),
    Runners(RunnersReport),
    /// `bytes` raw bytes of the log follow, which stand at `offset`.
    Log {
        build: u64,
        task: String,
        number: u32,
        offset: u64,
        bytes: u64,
    },
    /// The log's end, for now or for good.
    LogEnd {
        build: u64,
        task: String,
        number: u32,
        /// The attempt's outcome; absent while it is executing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<String>,
        /// Why output is missing, where it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing: Option<String>,
    },
    /// What was asked for is durable.
    Ok {
        text: String,
    },
    Ack,
    Error(Refusal),
}

/// What `surveil status` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Unfinished builds, oldest first, then finished ones, newest first.
    pub builds: Vec<BuildReport>,
    pub runners: Vec<RunnerReport>,
    /// Jobs that wait for a runner.
    pub queued_jobs: u64,
    /// Jobs that are executing.
    pub running_jobs: u64,
    /// Problems the dispatcher has now, such as a full disk.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// One build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildReport {
    pub build: u64,
    pub repo: String,
    /// The short name of `ref`: a branch without `refs/heads/`.
    pub branch: String,
    pub commit: String,
    /// What asked for the build: `push`.
    #[serde(default = "super::observer::push")]
    pub trigger: String,
    /// The full name of the ref that the trigger concerns.
    #[serde(default, rename = "ref")]
    pub reference: String,
    /// `trusted` or `untrusted`.
    #[serde(default)]
    pub trust: String,
    #[serde(default)]
    pub before: Option<String>,
    pub subject: String,
    pub author: String,
    /// `queued`, `running`, or the verdict: `passed`, `failed`, `errored`, `cancelled`.
    pub state: String,
    /// Some job passed only after a failed attempt.
    #[serde(default)]
    pub flaky: bool,
    pub created_ms: i64,
    #[serde(default)]
    pub finished_ms: Option<i64>,
    /// Why the build has no jobs, where it has none.
    #[serde(default)]
    pub problem: Option<String>,
    pub jobs: Vec<JobReport>,
}

/// One job of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    pub job: u64,
    pub task: String,
    /// `waiting`, `queued`, `running`, `passed`, `failed`, `errored`, `cancelled`, `skipped`.
    pub state: String,
    /// Why it is errored or skipped.
    #[serde(default)]
    pub detail: Option<String>,
    #[serde(default)]
    pub needs: Vec<String>,
    #[serde(default)]
    pub allow_failure: bool,
    /// Passed only after a failed attempt.
    #[serde(default)]
    pub flaky: bool,
    pub attempts: Vec<AttemptReport>,
}

/// One attempt of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptReport {
    pub attempt: u64,
    pub number: u32,
    pub runner: String,
    pub leased_ms: i64,
    #[serde(default)]
    pub finished_ms: Option<i64>,
    /// How long the task's process ran.
    #[serde(default)]
    pub duration_ms: Option<u64>,
    /// Absent while it is executing.
    #[serde(default)]
    pub outcome: Option<String>,
    /// The exit code, the signal, or the reason, in words.
    #[serde(default)]
    pub detail: Option<String>,
    pub log_bytes: u64,
    /// The log's file at the dispatcher.
    pub log_path: String,
}

/// What `surveil runners` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnersReport {
    pub runners: Vec<RunnerReport>,
}

/// One runner, connected or remembered with leases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerReport {
    pub name: String,
    /// `connected`, `away` (its leases are kept for a while), `draining`, `resting`, `quarantined`.
    pub state: String,
    /// Why it is in quarantine, where it is.
    #[serde(default)]
    pub detail: Option<String>,
    pub slots: u32,
    pub busy: u32,
    pub labels: Vec<String>,
    pub isolation: String,
    /// Since it was last heard.
    pub silent_ms: u64,
    /// What it executes, as `build/task`.
    pub running: Vec<String>,
}

/// What `surveil why` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyReport {
    pub build: u64,
    /// What it waits for now, a sentence a job; empty for a finished build.
    pub now: Vec<WhyLine>,
    /// What was decided, oldest first.
    pub history: Vec<WhyLine>,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyLine {
    #[serde(default)]
    pub at_ms: Option<i64>,
    #[serde(default)]
    pub task: Option<String>,
    pub text: String,
}
