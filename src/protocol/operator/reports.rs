//! The reports that answer an operator, as `--format json` prints them.
//!
//! Fields are only ever added to a report. A field of type `Option` that is missing reads as `None`. Fields named
//! `…_ms` that are points in time count milliseconds since the Unix epoch.
//!
//! A report may be sent in several messages: see [`crate::protocol::pieces`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::execution::{Execution, Tiers};

/// The report of `surveil status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Unfinished builds, oldest first, then finished ones, newest first.
    pub builds: Vec<BuildReport>,
    pub runners: Vec<RunnerReport>,
    /// The number of jobs that wait for a runner.
    pub queued_jobs: u64,
    /// The number of jobs that are executing.
    pub running_jobs: u64,
    /// The schedules, soonest first. Absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<ScheduleReport>,
    /// The problems that the dispatcher has now, such as a full disk.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Counters of events since the dispatcher started; absent while it waits for its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<CountersReport>,
    /// How peers reach the dispatcher. Absent if none runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Box<NetworkReport>>,
    /// Whether another message continues this answer. Absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// How peers reach the dispatcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkReport {
    /// The address at which it listens, the first of several.
    pub listen: String,
    /// The pin by which peers know it.
    pub pin: String,
    /// How far the replacement of its authority has come, while it is replaced. Absent by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationReport>,
    /// Networks besides loopback from which it accepts plain text. Empty by default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plain_text_from: Vec<String>,
}

/// How far the replacement of the dispatcher's authority has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationReport {
    /// The pin of the next authority.
    pub next_pin: String,
    /// The number of peers that joined and whose credentials are valid.
    pub joined: u64,
    /// The number of peers among them that have the next pin.
    pub taken: u64,
    /// The others, each as its role and name: the first 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// A schedule of a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleReport {
    /// The name in the task file.
    pub schedule: String,
    pub repo: String,
    pub branch: String,
    pub cron: String,
    pub timezone: String,
    /// The next firing. A time that has passed fires as soon as the source is there. Absent if the dispatcher's machine
    /// does not know the time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<i64>,
}

/// Counters of what has happened since the dispatcher started. Those with several kinds are objects; a kind that has
/// not happened yet is left out, and more kinds may come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CountersReport {
    pub builds_added: u64,
    /// By verdict.
    pub builds_finished: BTreeMap<String, u64>,
    /// Finished builds of which jobs were run again.
    pub builds_reopened: u64,
    /// By final state.
    pub jobs_finished: BTreeMap<String, u64>,
    pub attempts_leased: u64,
    /// By outcome.
    pub attempts_finished: BTreeMap<String, u64>,
    /// Lost attempts, by the code of the reason.
    pub losses_by_reason: BTreeMap<String, u64>,
    /// Results that came when they counted no more, by outcome.
    pub late_results: BTreeMap<String, u64>,
    /// Bytes of logs of finished attempts.
    pub log_bytes: u64,
}

/// One build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildReport {
    pub build: u64,
    pub repo: String,
    /// The short name of `ref`: a branch without `refs/heads/`.
    pub branch: String,
    pub commit: String,
    /// The kind of the trigger: `push`.
    #[serde(default = "crate::protocol::observer::push")]
    pub trigger: String,
    /// The full name of the ref that the trigger concerns.
    #[serde(default, rename = "ref")]
    pub reference: String,
    /// `trusted` or `untrusted`.
    #[serde(default)]
    pub trust: String,
    /// The name of the person who asked for the build. Absent if nobody did, or if the name is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
    /// The newest orders of people whose names are known, oldest first; only in the answer to `show`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<OrderReport>,
    pub before: Option<String>,
    pub subject: String,
    pub author: String,
    /// What was added to the priority of each task. Absent if nothing was.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// `queued`, `running`, or the verdict: `passed`, `failed`, `errored`, `cancelled`.
    pub state: String,
    /// Whether some job passed only after a failed attempt.
    #[serde(default)]
    pub flaky: bool,
    pub created_ms: i64,
    /// The time of the newest rerun, if there was one. What a build took is counted from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_ms: Option<i64>,
    pub finished_ms: Option<i64>,
    /// The reason why the build has no jobs, if it has none.
    pub problem: Option<String>,
    pub jobs: Vec<JobReport>,
    /// The number of jobs by state, in place of `jobs`: a `status` lists the jobs of its first builds only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub job_counts: BTreeMap<String, u64>,
    /// Whether another message continues this answer. Absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// An order of a person about jobs of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReport {
    pub at_ms: i64,
    /// The name of the person.
    pub by: String,
    /// `cancel_asked`, `rerun_asked` or `started`.
    pub code: String,
    /// The order as a sentence without its subject, such as "cancelled by alice".
    pub text: String,
}

/// One job of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    pub job: u64,
    pub task: String,
    /// `waiting`, `held`, `queued`, `running`, `passed`, `failed`, `errored`, `cancelled`, `skipped`, `left_out`.
    pub state: String,
    /// The reason why it is errored, cancelled, skipped or left out.
    pub detail: Option<String>,
    /// The code of that reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<String>,
    #[serde(default)]
    pub needs: Vec<String>,
    #[serde(default)]
    pub allow_failure: bool,
    /// The number of a runner's slots that an attempt takes. Absent if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// The values that people gave to its inputs, by name. Long values are cut and end with `…`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// The names of the services that its attempts have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Whether it passed only after a failed attempt.
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
    pub finished_ms: Option<i64>,
    /// The time for which the task's process ran, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Absent while it is executing.
    pub outcome: Option<String>,
    /// The exit code, the signal, or the reason, in words.
    pub detail: Option<String>,
    /// The code of that reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<String>,
    pub log_bytes: u64,
    /// The path of the log's file at the dispatcher.
    pub log_path: String,
    /// The steps of a task that has some, in order, once the attempt has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
    /// How it was executed, once it has ended. Absent if its runner told nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<Execution>,
    /// Its outputs, once it has ended, as pairs of a name and a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<(String, String)>,
}

/// One step of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    pub name: String,
    /// As that of an attempt; absent for a step that was left out.
    pub outcome: Option<String>,
    /// The exit code, the signal, or the reason, in words.
    pub detail: Option<String>,
    /// The code of that reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<String>,
    /// The time for which its process ran, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Where its section of the log begins and ends, in bytes.
    pub log_start: u64,
    pub log_end: u64,
}

/// The report of `surveil runners`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnersReport {
    pub runners: Vec<RunnerReport>,
    /// Whether another message continues this answer. Absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// One runner that is connected, or that is away and still has leases, or that is drained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerReport {
    pub name: String,
    /// `connected`, `away` (its leases are kept for a while), `draining`, `drained`, `resting`, `quarantined`.
    pub state: String,
    /// Whether it is connected. Of a drained runner that is not, only its name is known.
    #[serde(default = "connected")]
    pub connected: bool,
    /// Whether an operator drained it.
    #[serde(default)]
    pub drained: bool,
    /// The name of the person who gave the last order to drain or resume it. Absent if there was none, or if the name
    /// is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered_by: Option<String>,
    /// The time of that order. Absent if there was none, or if it was given before such orders were recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered_ms: Option<i64>,
    /// The reason why it is drained or in quarantine, if it is.
    pub detail: Option<String>,
    /// The code of that reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<String>,
    pub slots: u32,
    pub busy: u32,
    pub labels: Vec<String>,
    pub isolation: String,
    /// The tiers that it offers to tasks. Absent if the runner did not tell them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<Tiers>,
    /// The time since its last message, in milliseconds.
    pub silent_ms: u64,
    /// The jobs that it executes, as `build/task`.
    pub running: Vec<String>,
    /// The time since each of these was given to it, in milliseconds and in the same order; empty in a `status`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running_ms: Vec<u64>,
}

/// Reports of before there was the field say nothing of runners that are not connected.
fn connected() -> bool {
    true
}

/// The report of `surveil why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyReport {
    pub build: u64,
    /// As in `build`. Empty from dispatchers before it existed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trust: String,
    /// The present wait of each unfinished job, one sentence a job; empty for a finished build.
    pub now: Vec<WhyLine>,
    /// The decisions about the build, oldest first.
    pub history: Vec<WhyLine>,
    /// Whether another message continues this answer. Absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// One reason, as a sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyLine {
    pub at_ms: Option<i64>,
    pub task: Option<String>,
    pub text: String,
    /// The code of what happened or is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The code of why, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<String>,
    /// The name of the person who ordered it. Absent if nobody did, or if the name is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The line's place in the order of what happened. Numbers ascend over all builds and starts, with gaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// The answer to `passes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassesReport {
    /// Tasks about which anything is known.
    pub tasks: Vec<PassReport>,
}

/// The past of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassReport {
    pub task: String,
    /// The build in which it passed last; absent if none is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<u64>,
    /// The commit of that build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// A number that tells the task of then from another. Two versions of the program may count differently.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<u32>,
    /// The median of what its last passes took, on whatever ref.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median_ms: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// The answer to `tokens`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensReport {
    /// Join tokens and credentials, the newest first.
    pub tokens: Vec<TokenReport>,
    /// Whether more messages with tokens follow, or, for an operator that takes no pieces, whether some are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// A join token, or the credential of a peer that joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReport {
    pub id: String,
    /// `token` or `credential`.
    pub kind: String,
    pub role: String,
    /// `valid`, `used`, `expired` or `revoked`.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    pub created_ms: i64,
    /// The name of the person who created the join token, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// The time at which it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<i64>,
    /// The name of the person who revoked it, if it was revoked and the name is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<String>,
    /// When it expires: for a credential, if it is not used before.
    pub expires_ms: i64,
    /// How many peers may still join with it; only of a join token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u32>,
    /// The join token by which the peer joined; only of a credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_by: Option<String>,
    /// The last use, correct to about a day; only of a credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_ms: Option<i64>,
    /// The number of its sessions that are open.
    #[serde(default)]
    pub sessions: u32,
}

/// The answer to `secrets`: no value is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsReport {
    pub secrets: Vec<SecretReport>,
    /// Whether more messages with secrets follow, or, for an operator that takes no pieces, whether some are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// A secret without its value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretReport {
    pub name: String,
    /// Absent for a secret of all repositories.
    pub repo: Option<String>,
    pub refs: Vec<String>,
    pub tasks: Vec<String>,
    /// Labels that the runner's credential must have.
    pub labels: Vec<String>,
    pub set_ms: i64,
    /// The person who set it, if the name is known.
    pub set_by: Option<String>,
    /// Absent if no attempt has had it.
    pub used_ms: Option<i64>,
    /// The task of the newest attempt that had it, such as `b12/deploy`.
    pub used_by: Option<String>,
}
