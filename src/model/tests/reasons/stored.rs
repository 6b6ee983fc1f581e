//! Tables of the reasons that the store keeps, with code and text. The tests of the store take their samples from here,
//! and nothing is asserted here.

use std::collections::BTreeMap;

use super::{Table, labels, quarantine, runner, said, task};
use crate::model::reason::{
    CancelReason, ChangeReason, DecisionKind, ErrorReason, LeftOutReason, LossReason, LostWith, MissingFit,
    PlacementReason, SecretDenial, SkipReason, TaskFailure,
};
use crate::model::{BuildId, EndingKind, Label, ServiceFailure};

pub(crate) fn losses() -> Table<LossReason> {
    vec![
        (LossReason::ConnectionClosed, "connection_closed", "its runner's connection closed and it did not come back"),
        (LossReason::Silent { silent_ms: 20_900 }, "silent", "its runner was silent for 20 s"),
        (LossReason::LeaseExpired, "lease_expired", "its lease ran out"),
        (LossReason::RunnerRestarted, "runner_restarted", "its runner restarted"),
        (LossReason::NotHeld, "not_held", "its runner came back without it"),
        (LossReason::RunnerStopped, "runner_stopped", "its runner was stopped"),
        (LossReason::disk_full(), "disk_full", "disk full"),
        (LossReason::SourceMissing { text: said("the source is missing") }, "source_missing", "the source is missing"),
        (LossReason::CutOff { text: said("cut off") }, "cut_off", "cut off"),
        (LossReason::Interrupted { text: said("the runner restarted") }, "interrupted", "the runner restarted"),
        (LossReason::from("it rained"), "reported", "it rained"),
    ]
}

pub(crate) fn placements() -> Table<PlacementReason> {
    vec![
        (PlacementReason::CommitWarm, "commit_warm", "its tree is at this commit already"),
        (PlacementReason::RepoWarm, "repo_warm", "it has this repository already"),
        (PlacementReason::FreeSlot, "free_slot", "it had a free slot"),
    ]
}

pub(crate) fn errors() -> Table<ErrorReason> {
    let lost = |reason| LostWith { runner: runner(), reason };
    vec![
        (
            ErrorReason::GivenUp {
                losses: 3,
                with: vec![lost(LossReason::LeaseExpired), lost(LossReason::RunnerRestarted)],
            },
            "given_up",
            "given up after 3 lost attempts: w1 (its lease ran out), w1 (its runner restarted), and 1 before the last \
             restart",
        ),
        (
            ErrorReason::GivenUp { losses: 1, with: vec![lost(LossReason::from("it rained"))] },
            "given_up",
            "given up after 1 lost attempts: w1 (it rained)",
        ),
        (
            ErrorReason::NeverStarted { attempts: 20, last: lost(LossReason::disk_full()) },
            "never_started",
            "given up after 20 attempts that came to nothing, the last on w1: disk full",
        ),
        (
            ErrorReason::NoRunnerFits { waited_ms: 60_400, fit: MissingFit::Labels { labels: labels(&["gpu"]) } },
            "no_runner_fits",
            "no runner for it within 60 s: no connected runner offers the label gpu",
        ),
        (
            ErrorReason::BrokenTasks { text: said("SURVEIL_TASKS:1:1: x") },
            "broken_tasks",
            "the tasks that it wrote have a mistake: SURVEIL_TASKS:1:1: x",
        ),
        (
            ErrorReason::TooManyTasks { tasks: 5_001, limit: 5_000 },
            "too_many_tasks",
            "with the tasks that it wrote the build would have 5001, and may have at most 5000",
        ),
        (
            not_ready(ServiceFailure::ExitCode { exit_code: 3 }, vec![said("no space"), said("bye")]),
            "service_not_ready",
            "its service db ended with exit code 3 before it was ready; its log ends: no space / bye",
        ),
        (
            not_ready(ServiceFailure::Signal { signal: 9 }, vec![]),
            "service_not_ready",
            "its service db was ended by signal 9 before it was ready",
        ),
        (
            not_ready(ServiceFailure::CouldNotStart { text: said("there is no program pg") }, vec![]),
            "service_not_ready",
            "its service db could not start: there is no program pg",
        ),
        (
            not_ready(ServiceFailure::NotReady { timeout_ms: 1500, last_try: Some(2) }, vec![]),
            "service_not_ready",
            "its service db was not ready within 1.5 s (the last try of its `ready` ended with exit code 2)",
        ),
        (
            not_ready(ServiceFailure::NotReady { timeout_ms: 60_000, last_try: None }, vec![]),
            "service_not_ready",
            "its service db was not ready within 60 s",
        ),
        (
            ErrorReason::SecretDenied { secret: said("NPM_TOKEN"), denial: SecretDenial::Untrusted },
            "secret_denied",
            "it may not have the secret NPM_TOKEN: secrets go to trusted builds only, and this one is not",
        ),
        (
            ErrorReason::SecretDenied {
                secret: said("A"),
                denial: SecretDenial::Runner { runner: runner(), label: Label::recorded("deploy") },
            },
            "secret_denied",
            "it may not have the secret A: its rule asks for a runner whose credential has the label deploy, and that of w1 \
             has not",
        ),
        (
            ErrorReason::CouldNotStart { text: said("no such program") },
            "could_not_start",
            "could not start: no such program",
        ),
    ]
}

fn not_ready(failure: ServiceFailure, last_lines: Vec<String>) -> ErrorReason {
    ErrorReason::ServiceNotReady { service: said("db"), failure, last_lines }
}

pub(crate) fn skips() -> Table<SkipReason> {
    let how = EndingKind::Failed;
    vec![(SkipReason::NeedNotPassed { task: task(), how }, "need_not_passed", "test did not pass")]
}

pub(crate) fn cancels() -> Table<CancelReason> {
    vec![
        (CancelReason::Asked { by: "alice".into() }, "asked", "alice cancelled it"),
        (CancelReason::FailFast { task: task() }, "fail_fast", "test failed, and the build stops at its first failure"),
        (
            CancelReason::BuildTimedOut { timeout_ms: 7_200_000 },
            "build_timed_out",
            "the build took longer than its timeout of 7200 s",
        ),
        (CancelReason::RefDeleted { what: "tag v1".into() }, "ref_deleted", "tag v1 was deleted"),
        (CancelReason::Superseded { by: BuildId(13) }, "superseded", "build b13 superseded this one"),
    ]
}

pub(crate) fn left_outs() -> Table<LeftOutReason> {
    vec![
        (LeftOutReason::NotOnRef { what: said("branch topic") }, "not_on_ref", "it does not run for branch topic"),
        (LeftOutReason::NotForEvent { event: said("tag") }, "not_for_event", "it does not run for the event tag"),
        (
            LeftOutReason::NothingChanged {
                since: said("4f2a91c04f2a91c0"),
                build: BuildId(12),
                globs: ["src/**", "a", "!**/*.md", "b", "c"].map(String::from).into(),
            },
            "nothing_changed",
            "no file matching src/**, a, b, … but not **/*.md changed since 4f2a91c passed (b12)",
        ),
        (LeftOutReason::NotAsked, "not_asked", "nobody asked for it"),
        (LeftOutReason::NothingFailed, "nothing_failed", "it runs after a failure, and nothing that it needs failed"),
    ]
}

pub(super) fn choices() -> Table<ChangeReason> {
    let (since, build) = (said("4f2a91c04f2a91c0"), BuildId(12));
    vec![
        (ChangeReason::NoPass, "no_pass", "it has not passed here before"),
        (
            ChangeReason::PathChanged { path: said("src/a.rs"), since: since.clone(), build },
            "path_changed",
            "src/a.rs changed since 4f2a91c passed (b12)",
        ),
        (
            ChangeReason::ManyChanged { since: since.clone(), build },
            "many_changed",
            "very many files changed since 4f2a91c passed (b12)",
        ),
        (
            ChangeReason::DefinitionChanged { since: since.clone(), build },
            "definition_changed",
            "the task itself changed since 4f2a91c passed (b12)",
        ),
        (
            ChangeReason::NotComparable { since, build },
            "not_comparable",
            "what changed since 4f2a91c passed (b12) cannot be read any more",
        ),
    ]
}

pub(crate) fn decisions() -> Table<DecisionKind> {
    let lost = |loss_of, quarantine| DecisionKind::Lost {
        runner: runner(),
        reason: LossReason::RunnerRestarted,
        loss_of,
        quarantine,
    };
    let retried = |failure| DecisionKind::Retried { failure, next: 2, tries: 3, delay_ms: 0 };
    vec![
        (lost(None, None), "lost", "lost on w1: its runner restarted; queued again"),
        (
            lost(Some((1, 3)), Some(quarantine())),
            "lost",
            "lost on w1: its runner restarted; queued again (loss 1 of 3); w1 is in quarantine for 2 s more: 3 \
             failures in a row with different commits, the last: disk full",
        ),
        (
            retried(TaskFailure::ExitCode { exit_code: 4 }),
            "retried",
            "failed with exit code 4: queued again (retry 1 of 2)",
        ),
        (retried(TaskFailure::Signal { signal: 9 }), "retried", "killed by signal 9: queued again (retry 1 of 2)"),
        (retried(TaskFailure::TimedOut), "retried", "timed out: queued again (retry 1 of 2)"),
        (
            DecisionKind::Retried { failure: TaskFailure::TimedOut, next: 3, tries: 3, delay_ms: 29_001 },
            "retried",
            "timed out: queued again in 30 s (retry 2 of 2)",
        ),
        (
            DecisionKind::NotRetried { failure: TaskFailure::ExitCode { exit_code: 4 } },
            "not_retried",
            "failed with exit code 4: not tried again, because `retry` of the task does not name this failure",
        ),
        (
            DecisionKind::Started { by: said("ann@box"), inputs: BTreeMap::new(), newer: None, reopened: false },
            "started",
            "started by ann@box",
        ),
        (
            DecisionKind::Started {
                by: said("\u{1b}[2J"),
                inputs: [("version".to_owned(), "1\n2".to_owned()), ("x".to_owned(), String::new())].into(),
                newer: Some(BuildId(14)),
                reopened: true,
            },
            "started",
            "started by \u{fffd}[2J with version=1 2, x=, although build b14 is newer",
        ),
        (DecisionKind::Expanded { tasks: 2 }, "expanded", "2 tasks that it wrote joined the build"),
        (
            DecisionKind::GaveUp { reason: ErrorReason::CouldNotStart { text: said("x") } },
            "gave_up",
            "could not start: x",
        ),
        (DecisionKind::Chosen { reason: ChangeReason::NoPass }, "chosen", "chosen: it has not passed here before"),
        (DecisionKind::CancelAsked { by: None }, "cancel_asked", "cancelled by an operator"),
        (DecisionKind::CancelAsked { by: Some("alice".into()) }, "cancel_asked", "cancelled by alice"),
        (
            DecisionKind::Cancelled { reason: CancelReason::Superseded { by: BuildId(13) } },
            "cancelled",
            "cancelled: build b13 superseded this one",
        ),
        (DecisionKind::RerunAsked { by: None }, "rerun_asked", "run again by an operator"),
        (DecisionKind::RerunAsked { by: Some("alice".into()) }, "rerun_asked", "run again by alice"),
    ]
}
