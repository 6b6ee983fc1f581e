//! Why a job ended without a judgement of its task: errored, cancelled, skipped or left out.

use serde::{Deserialize, Serialize};

use super::{LossReason, RecordedReason, StoredReason};
use crate::model::{BuildId, EndingKind, Label, RunnerName, ServiceFailure, ServiceRecord, TaskName, Tier};

stored_reason! {
    /// Why a job is errored.
    pub enum ErrorReason {
        /// The job was lost as many times as a job may be, each time after its process had started.
        GivenUp {
            losses: u32,
            /// The losses since the dispatcher started, oldest first.
            with: Vec<LostWith>,
        } = "given_up",
        /// The job was leased again and again, and its process never started.
        NeverStarted { attempts: u32, last: LostWith } = "never_started",
        /// No connected runner fitted the job for the whole queue timeout.
        NoRunnerFits { waited_ms: u64, fit: MissingFit } = "no_runner_fits",
        /// The task's process could not be started.
        CouldNotStart { text: String } = "could_not_start",
        /// The task passed, and the file that it wrote for further tasks has mistakes.
        BrokenTasks { text: String } = "broken_tasks",
        /// The task passed, and with the tasks that it wrote the build would have more than it may have.
        TooManyTasks { tasks: usize, limit: usize } = "too_many_tasks",
        /// A service of the task failed before it was ready. The last lines of its log.
        ServiceNotReady { service: String, failure: ServiceFailure, last_lines: Vec<String> } = "service_not_ready",
        /// The task asks for a secret that the attempt may not have.
        SecretDenied { secret: String, denial: SecretDenial } = "secret_denied",
    }
}

impl ErrorReason {
    /// Returns the reason why an attempt with these services could not start, if one of them is it.
    #[must_use]
    pub fn of_services(services: &[ServiceRecord]) -> Option<Self> {
        services.iter().find(|service| service.ready_ms.is_none() && service.failure.is_some()).and_then(|record| {
            let ServiceRecord { name, failure, last_lines, .. } = record.clone();
            Some(Self::ServiceNotReady { service: name, failure: failure?, last_lines })
        })
    }
}

worded! {
    /// The rule that stands against giving a secret to an attempt.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(tag = "code", rename_all = "snake_case")]
    pub enum SecretDenial: code {
        /// There is no secret of that name for the repository.
        Unknown = "unknown",
        /// The build is not trusted.
        Untrusted = "untrusted",
        /// It is for other refs. The ref of the build: "main", "refs/tags/v1".
        Ref { what: String, allowed: Vec<String> } = "ref",
        /// It is for other tasks.
        Task { allowed: Vec<String> } = "task",
        /// The credential of the runner lacks this label.
        #[serde(rename = "runner_label")]
        Runner { runner: RunnerName, label: Label } = "runner_label",
        /// The connection to the runner is neither encrypted nor of this machine.
        Connection { runner: RunnerName } = "connection",
        /// It has a NUL byte, and no variable can hold that.
        Nul = "nul",
        /// The secrets of the task are longer than this together.
        TooLong { limit: usize } = "too_long",
        /// The dispatcher's key does not open it, or is not there.
        Sealed = "sealed",
    }
}

/// A loss that counts against a job, and the runner on which it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostWith {
    pub runner: RunnerName,
    pub reason: LossReason,
}

worded! {
    /// Why no connected runner fits a job.
    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(tag = "code", rename_all = "snake_case")]
    pub enum MissingFit: code {
        /// No runner is connected that takes jobs.
        NoRunner = "no_runner",
        /// The connected runners that fit are drained by operators: these, and this many more.
        Drained { runners: Vec<RunnerName>, more: usize } = "drained",
        /// No connected runner offers any of these labels.
        Labels { labels: Vec<Label> } = "labels",
        /// No connected runner that offers its other labels offers the tier that it asks for. The most that they offer,
        /// and those that do, and this many more.
        Tier { asked: Tier, most: Tier, runners: Vec<RunnerName>, more: usize } = "isolation",
        /// Each label is offered by some runner, but no runner offers all of them.
        Combination { labels: Vec<Label> } = "combination",
        /// The connected runners that offer its labels have too few slots: the largest has so many.
        Slots { slots: u32, largest: u32 } = "slots",
    }
}

stored_reason! {
    /// Why a job is skipped.
    pub enum SkipReason {
        /// A task that the job needs ended in another way than passed.
        NeedNotPassed { task: TaskName, how: EndingKind } = "need_not_passed",
    }
}

stored_reason! {
    /// Why a job was cancelled.
    pub enum CancelReason {
        /// A person cancelled it. There is no reason if the name of the person is not known.
        Asked { by: String } = "asked",
        /// This task of the build failed, and the build stops at its first failure.
        FailFast { task: TaskName } = "fail_fast",
        /// The build took longer than it may.
        BuildTimedOut { timeout_ms: u64 } = "build_timed_out",
        /// The ref moved on, and this is the build of the newer move.
        Superseded { by: BuildId } = "superseded",
        /// The ref was deleted before a runner got the job: "branch topic", "tag v1".
        RefDeleted { what: String } = "ref_deleted",
    }
}

stored_reason! {
    /// Why a job is left out.
    pub enum LeftOutReason {
        /// The task does not run for this ref: "branch main", "tag v1".
        NotOnRef { what: String } = "not_on_ref",
        /// The task does not run for this event.
        NotForEvent { event: String } = "not_for_event",
        /// No path that these globs match has changed since the task passed at this commit, in this build.
        NothingChanged { since: String, build: BuildId, globs: Vec<String> } = "nothing_changed",
        /// Whoever asked for the build chose other tasks.
        NotAsked = "not_asked",
        /// The task runs only after a failure, and nothing that it needs failed.
        NothingFailed = "nothing_failed",
    }
}

worded! {
    /// How a task's process failed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(tag = "code", rename_all = "snake_case")]
    pub enum TaskFailure: code {
        ExitCode { exit_code: i32 } = "exit_code",
        Signal { signal: i32 } = "signal",
        TimedOut = "timed_out",
    }
}
