//! Every reason with its code and its text, in tables. The store's tests take their samples from here.

use std::collections::BTreeMap;

use super::super::reason::{
    AttemptStatus, CancelReason, ChangeReason, DecisionKind, ErrorReason, FirstInLine, HistoryEntry, JobStatus,
    LeftOutReason, LossReason, LostWith, MissingFit, PlacementReason, Quarantine, RecordedReason, RefusalReason,
    SkipReason, StoredReason, TaskFailure,
};
use super::super::*;

type Table<T> = Vec<(T, &'static str, &'static str)>;

pub(super) fn runner() -> RunnerName {
    RunnerName::recorded("w1")
}

pub(super) fn task() -> TaskName {
    TaskName::recorded("test")
}

fn labels(labels: &[&str]) -> Vec<Label> {
    labels.iter().map(|label| Label::recorded(label)).collect()
}

fn said(text: &str) -> String {
    text.to_owned()
}

pub(super) fn quarantine() -> Quarantine {
    Quarantine { rest_ms: 1_500, failures: 3, last: LossReason::disk_full() }
}

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

fn fits() -> Table<MissingFit> {
    vec![
        (MissingFit::NoRunner, "no_runner", "no runner is connected"),
        (
            MissingFit::Drained { runners: vec![runner()], more: 0 },
            "drained",
            "the connected runner that fits is drained (w1): `surveil resume w1` gives it jobs",
        ),
        (
            MissingFit::Drained { runners: vec![runner(), runner()], more: 3 },
            "drained",
            "all connected runners that fit are drained (w1, w1 and 3 more): `surveil resume w1` gives it jobs",
        ),
        (MissingFit::Labels { labels: labels(&["gpu"]) }, "labels", "no connected runner offers the label gpu"),
        (
            MissingFit::Labels { labels: vec![Ability::Dir.label()] },
            "labels",
            "no connected runner knows `dir`: their programs are too old",
        ),
        (
            MissingFit::Labels { labels: labels(&["gpu", "os=linux"]) },
            "labels",
            "no connected runner offers the labels gpu, os=linux",
        ),
        (
            MissingFit::Combination { labels: labels(&["gpu", "os=linux"]) },
            "combination",
            "no single connected runner offers all of its labels (gpu, os=linux)",
        ),
        (
            MissingFit::Slots { slots: 8, largest: 4 },
            "slots",
            "no connected runner that fits has 8 slots, the largest has 4",
        ),
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
            ErrorReason::CouldNotStart { text: said("no such program") },
            "could_not_start",
            "could not start: no such program",
        ),
    ]
}

pub(crate) fn skips() -> Table<SkipReason> {
    let how = EndingKind::Failed;
    vec![(SkipReason::NeedNotPassed { task: task(), how }, "need_not_passed", "test did not pass")]
}

pub(crate) fn cancels() -> Table<CancelReason> {
    vec![
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

pub(crate) fn choices() -> Table<ChangeReason> {
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
        (DecisionKind::CancelAsked, "cancel_asked", "cancelled by an operator"),
        (
            DecisionKind::Cancelled { reason: CancelReason::Superseded { by: BuildId(13) } },
            "cancelled",
            "cancelled: build b13 superseded this one",
        ),
        (DecisionKind::RerunAsked, "rerun_asked", "run again by an operator"),
    ]
}

fn history() -> Table<HistoryEntry> {
    let (branch, from) = (BranchName::new("main"), CommitId::from_bytes(&[0xab; 20]).unwrap());
    let moved = |commits| HistoryEntry::BranchMoved { branch: branch.clone(), from, to: from, commits };
    let ended = |outcome| HistoryEntry::Ended { number: 2, runner: runner(), outcome };
    vec![
        (
            HistoryEntry::BranchAppeared { branch: branch.clone(), commit: from },
            "branch_appeared",
            "abababa was the first commit seen of branch main",
        ),
        (moved(None), "branch_moved", "branch main moved from abababa to abababa"),
        (moved(Some(1)), "branch_moved", "branch main moved from abababa to abababa, 1 commit"),
        (moved(Some(3)), "branch_moved", "branch main moved from abababa to abababa, 3 commits"),
        (
            HistoryEntry::RefMoved { reference: RefName::new("refs/tags/v1"), from: None, to: from },
            "ref_moved",
            "abababa was the first commit seen of tag v1",
        ),
        (
            HistoryEntry::RefMoved { reference: RefName::new("refs/pull/1/head"), from: Some(from), to: from },
            "ref_moved",
            "refs/pull/1/head moved from abababa to abababa",
        ),
        (
            HistoryEntry::Scheduled { name: "nightly".into(), due: said("03:17 Europe/Berlin") },
            "scheduled",
            "schedule nightly came due (03:17 Europe/Berlin)",
        ),
        (HistoryEntry::Submitted { commit: from }, "submitted", "an operator asked for a build of abababa"),
        (HistoryEntry::Tried { commit: from }, "tried", "an operator tried uncommitted work, which is abababa"),
        (
            HistoryEntry::Leased { number: 1, runner: runner(), reason: PlacementReason::FreeSlot },
            "leased",
            "attempt 1 went to w1: it had a free slot",
        ),
        (ended(Outcome::Passed), "ended", "attempt 2 on w1: passed"),
        (ended(Outcome::Failed(3)), "ended", "attempt 2 on w1: failed (exit code 3)"),
        (
            HistoryEntry::LateResult { number: 2, outcome: Outcome::Killed(9) },
            "late_result",
            "a late result of attempt 2 (killed) was kept and counts for nothing",
        ),
        (HistoryEntry::Decided(DecisionKind::CancelAsked), "cancel_asked", "cancelled by an operator"),
        (HistoryEntry::Skipped(skips().remove(0).0), "skipped", "skipped: test did not pass"),
        (HistoryEntry::LeftOut(LeftOutReason::NotAsked), "left_out", "left out: nobody asked for it"),
        (
            HistoryEntry::BuildFinished { verdict: Verdict::Errored, problem: Some(said("no tasks")) },
            "build_finished",
            "the build errored: no tasks",
        ),
    ]
}

fn refusals() -> Table<RefusalReason> {
    let build = BuildId(12);
    vec![
        (
            RefusalReason::NameTaken { runner: runner() },
            "name_taken",
            "a runner named w1 is connected already: give this one another --name",
        ),
        (RefusalReason::UnknownBuild { build }, "unknown_build", "build b12 is no longer there"),
        (
            RefusalReason::BuildUnfinished { build },
            "build_unfinished",
            "build b12 is not finished: cancel it first, or wait for it",
        ),
        (
            RefusalReason::BrokenTasks { build },
            "broken_tasks",
            "build b12 has no jobs: mend its task file in a new commit",
        ),
        (
            RefusalReason::NothingRan { build },
            "nothing_ran",
            "nothing of build b12 would run again: its jobs are held or left out",
        ),
        (
            RefusalReason::NotHeld { build, task: task(), state: JobStateKind::Finished(EndingKind::LeftOut) },
            "not_held",
            "test of build b12 is not held, so it cannot be started: its state is left out",
        ),
        (
            RefusalReason::StillHeld { build, task: task() },
            "still_held",
            "test of build b12 is held and has not run: start it with `surveil start b12 test`",
        ),
        (
            RefusalReason::UnknownInput {
                build,
                task: task(),
                name: said("verson"),
                known: vec![said("a"), said("b")],
            },
            "unknown_input",
            "test of build b12 takes no input `verson`: it takes a, b",
        ),
        (
            RefusalReason::UnknownInput { build, task: task(), name: said("x\ny"), known: vec![] },
            "unknown_input",
            "test of build b12 takes no input `x y`: it takes none",
        ),
        (
            RefusalReason::MissingInputs { build, task: task(), names: vec![said("version"), said("where")] },
            "missing_input",
            "test of build b12 needs a value for version, where: give it with --set version=VALUE",
        ),
        (
            RefusalReason::NeedsHeld { build, task: task(), needs: TaskName::recorded("approve") },
            "needs_held",
            "test of build b12 needs approve, which is held: start that first",
        ),
        (
            RefusalReason::NewerBuild { build, task: task(), newer: BuildId(14) },
            "newer_build",
            "build b14 of the same ref is newer than b12: --force starts test all the same",
        ),
        (
            RefusalReason::NeedsOther { build, task: task(), needs: TaskName::recorded("compile") },
            "needs_other",
            "test of build b12 needs compile, which did not pass: run that again, or all that failed with `surveil \
             rerun --failed b12`",
        ),
        (
            RefusalReason::NothingFailed { build, task: task() },
            "nothing_failed",
            "test of build b12 runs after a failure, and nothing that it needs failed",
        ),
        (RefusalReason::NoJobs { build }, "no_jobs", "build b12 has no jobs"),
        (
            RefusalReason::AllPassed { build, of: None },
            "all_passed",
            "all jobs of build b12 passed: nothing to run again",
        ),
        (
            RefusalReason::StillEnding { build, task: task(), group: None, number: 2, runner: runner() },
            "still_ending",
            "build b12: attempt 2 of test, which is exclusive, is still being ended on w1",
        ),
        (
            RefusalReason::MayStillRun { build, task: task(), group: None, wait_ms: 1_001 },
            "may_still_run",
            "build b12: test is exclusive and may not have ended before the dispatcher started: try again in 2 s",
        ),
    ]
}

fn statuses() -> Table<JobStatus> {
    let waited_ms = 5_500;
    let running = |status| JobStatus::Running { number: 2, runner: runner(), status };
    vec![
        (
            JobStatus::WaitsForNeeds { open: vec![(task(), JobStateKind::Queued), (task(), JobStateKind::Running)] },
            "waits_for_needs",
            "waits for what it needs: test (queued), test (running)",
        ),
        (JobStatus::Held { needs: vec![] }, "held", "held until somebody starts it"),
        (
            JobStatus::Held { needs: vec![task(), task()] },
            "held",
            "held until somebody starts what it needs: test, test",
        ),
        (
            JobStatus::NoRunnerFits { waited_ms, fit: MissingFit::NoRunner },
            "no_runner_fits",
            "queued for 5 s: no runner is connected",
        ),
        (
            JobStatus::Paused { waited_ms, again_ms: 14_001 },
            "paused",
            "queued for 5 s: it came to nothing repeatedly and is tried again in 15 s",
        ),
        (JobStatus::RetryDelayed { again_ms: 29_001 }, "retry_delayed", "failed, and is tried again in 30 s"),
        (
            JobStatus::WaitsForSlots { waited_ms, slots: 4, runner: runner(), free: 1 },
            "waits_for_slots",
            "queued for 5 s: it needs 4 slots, and w1 is kept for it until then: 1 is free",
        ),
        (
            JobStatus::SlotsKept { waited_ms, runner: runner(), build: BuildId(3), task: task(), slots: 4 },
            "slots_kept",
            "queued for 5 s: the free slots of w1 are kept for b3/test, which needs 4",
        ),
        (
            JobStatus::RunnersRest { waited_ms, runners: vec![(runner(), None), (runner(), Some(quarantine()))] },
            "runners_rest",
            "queued for 5 s: w1 rests for a moment after a failure of infrastructure; w1 is in quarantine for 2 s \
             more: 3 failures in a row with different commits, the last: disk full",
        ),
        (
            JobStatus::WaitsForTurn {
                waited_ms,
                first: FirstInLine::Attempt { build: BuildId(3), number: 2, runner: runner(), is_cancelled: false },
            },
            "waits_for_turn",
            "queued for 5 s: the task is exclusive, and attempt 2 of build b3 runs on w1",
        ),
        (
            JobStatus::WaitsForTurn {
                waited_ms,
                first: FirstInLine::Attempt { build: BuildId(3), number: 2, runner: runner(), is_cancelled: true },
            },
            "waits_for_turn",
            "queued for 5 s: the task is exclusive, and attempt 2 of build b3, which was cancelled, is still being \
             ended on w1",
        ),
        (
            JobStatus::WaitsForTurn { waited_ms, first: FirstInLine::Job { build: BuildId(3) } },
            "waits_for_turn",
            "queued for 5 s: the task is exclusive, and build b3 comes first",
        ),
        (
            JobStatus::WaitsForTurn { waited_ms, first: FirstInLine::Doubt { left_ms: 4_001 } },
            "waits_for_turn",
            "queued for 5 s: the task is exclusive, and an attempt that was cancelled before the dispatcher started \
             may not have ended: 5 s more",
        ),
        (
            JobStatus::WaitsForGroup {
                waited_ms,
                group: GroupName::new("staging").unwrap(),
                limit: 1,
                task: Some(task()),
                first: FirstInLine::Attempt { build: BuildId(3), number: 2, runner: runner(), is_cancelled: false },
                before: 2,
            },
            "waits_for_group",
            "queued for 5 s: group staging: test of build b3 runs on w1; 2 jobs of the group come before it",
        ),
        (
            JobStatus::WaitsForGroup {
                waited_ms,
                group: GroupName::new("staging").unwrap(),
                limit: 3,
                task: Some(task()),
                first: FirstInLine::Job { build: BuildId(3) },
                before: 3,
            },
            "waits_for_group",
            "queued for 5 s: group staging (3 at a time): test of build b3 comes first; next in the group",
        ),
        (
            JobStatus::WaitsForGroup {
                waited_ms,
                group: GroupName::new("staging").unwrap(),
                limit: 1,
                task: None,
                first: FirstInLine::Doubt { left_ms: 4_001 },
                before: 0,
            },
            "waits_for_group",
            "queued for 5 s: group staging: an attempt that was cancelled before the dispatcher started may not have \
             ended: 5 s more",
        ),
        (
            JobStatus::InQueue { waited_ms, before: 0 },
            "in_queue",
            "queued for 5 s: next in the queue, no fitting runner has a free slot",
        ),
        (
            JobStatus::InQueue { waited_ms, before: 4 },
            "in_queue",
            "queued for 5 s: 4 jobs before it, no fitting runner has a free slot",
        ),
        (running(AttemptStatus::FetchingSource), "fetching_source", "attempt 2 runs on w1, which fetches the source"),
        (running(AttemptStatus::Executing), "executing", "attempt 2 runs on w1"),
        (
            running(AttemptStatus::RunnerAway { left_ms: 400 }),
            "runner_away",
            "attempt 2 runs on w1, which is away; if it is not back within 0 s, another gets the job",
        ),
    ]
}

fn stored<T: StoredReason + PartialEq + std::fmt::Debug>(table: &Table<T>) {
    for (reason, code, text) in table {
        assert_eq!((reason.code(), reason.to_string().as_str()), (Some(*code), *text), "{reason:?}");
        let json = serde_json::to_value(reason).unwrap();
        assert_eq!(json["code"], **code, "the code in the store is the code on the wire");
        assert_eq!(serde_json::from_value::<T>(json).unwrap(), *reason);
    }
    let old = T::from(RecordedReason { code: Some("of_tomorrow".into()), text: "it rained".into() });
    assert_eq!((old.code(), &*old.to_string()), (Some("of_tomorrow"), "it rained"));
    assert!(serde_json::to_string(&old).is_err(), "it is kept as its text alone");
}

#[test]
fn every_stored_reason_has_a_code_and_a_text_and_reads_back() {
    stored(&losses());
    stored(&placements());
    stored(&errors());
    stored(&skips());
    stored(&cancels());
    stored(&left_outs());
    stored(&choices());
    stored(&decisions());
}

#[test]
fn every_other_reason_has_a_code_and_a_text() {
    let fits = fits().into_iter().map(|(it, code, text)| (it.code(), it.to_string(), code, text));
    let refusals = refusals().into_iter().map(|(it, code, text)| (it.code(), it.to_string(), code, text));
    let statuses = statuses().into_iter().map(|(it, code, text)| (it.code(), it.to_string(), code, text));
    for (code, said, expected, text) in fits.chain(refusals).chain(statuses) {
        assert_eq!((code, &*said), (expected, text));
    }
    for (entry, code, text) in history() {
        assert_eq!((entry.code(), &*entry.to_string()), (Some(code), text));
    }
}

#[test]
fn a_runners_code_is_known_again_and_another_leaves_its_text() {
    for (reason, code, text) in losses().into_iter().filter(|(reason, ..)| reason.is_reported()) {
        assert_eq!(LossReason::reported(Some(code), text.to_owned()), reason);
    }
    for code in [None, Some("of_tomorrow"), Some("silent")] {
        assert_eq!(LossReason::reported(code, said("it rained")), LossReason::from("it rained"));
    }
}

/// A code that the protocol document does not explain helps nobody.
#[test]
fn every_code_is_in_the_protocol_document() {
    let document = include_str!("../../../docs/protocol.md");
    let (_, reasons) = document.split_once("\n## 14. Reasons").unwrap();
    let stored = codes(losses())
        .chain(codes(placements()))
        .chain(codes(errors()))
        .chain(codes(skips()))
        .chain(codes(cancels()))
        .chain(codes(left_outs()))
        .chain(codes(choices()));
    let told = codes(decisions()).chain(codes(history())).chain(codes(statuses())).chain(codes(fits()));
    for code in stored.chain(told).chain(codes(refusals())) {
        assert!(reasons.contains(&format!("`{code}`")), "`{code}` is missing");
    }
}

fn codes<T>(table: Table<T>) -> impl Iterator<Item = &'static str> {
    table.into_iter().map(|(_, code, _)| code)
}
