//! Tables of the reasons that are told and not stored, with code and text: answers to `why`, and refusals. Nothing is
//! asserted here.

use super::stored::skips;
use super::{Table, labels, quarantine, runner, said, task};
use crate::model::reason::{
    AttemptStatus, DecisionKind, FirstInLine, HistoryEntry, JobStatus, LeftOutReason, MissingFit, PlacementReason,
    RefusalReason, SecretDenial,
};
use crate::model::*;

pub(super) fn denials() -> Table<SecretDenial> {
    let allowed = || vec![said("main"), said("refs/tags/v*")];
    vec![
        (SecretDenial::Unknown, "unknown", "there is none of that name for this repository (surveil secret list)"),
        (SecretDenial::Untrusted, "untrusted", "secrets go to trusted builds only, and this one is not"),
        (
            SecretDenial::Ref { what: said("topic"), allowed: allowed() },
            "ref",
            "its rule allows the refs main, refs/tags/v*, and this build is of topic",
        ),
        (SecretDenial::Task { allowed: vec![said("deploy")] }, "task", "its rule allows the tasks deploy"),
        (
            SecretDenial::Runner { runner: runner(), label: Label::recorded("deploy") },
            "runner_label",
            "its rule asks for a runner whose credential has the label deploy, and that of w1 has not",
        ),
        (
            SecretDenial::Connection { runner: runner() },
            "connection",
            "the connection to w1 is not encrypted (join it with a token, or name the pin)",
        ),
        (SecretDenial::Nul, "nul", "it has a NUL byte, which no variable can hold: ask for it with `file = true`"),
        (SecretDenial::TooLong { limit: 1 << 17 }, "too_long", "the secrets of one task are at most 128 KiB together"),
        (SecretDenial::Sealed, "sealed", "the dispatcher's key does not open it: set it again, or bring the key back"),
    ]
}

pub(super) fn fits() -> Table<MissingFit> {
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
            MissingFit::Labels { labels: vec![Ability::Sealed.label()] },
            "labels",
            "no connected runner offers isolation `sealed`",
        ),
        (
            MissingFit::Labels { labels: labels(&["gpu", "os=linux"]) },
            "labels",
            "no connected runner offers the labels gpu, os=linux",
        ),
        (
            MissingFit::Tier { asked: Tier::Sealed, most: Tier::Guarded, runners: vec![runner()], more: 2 },
            "isolation",
            "it asks for isolation `sealed`, and no connected runner that fits offers more than `guarded` (w1 and 2 more)",
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

pub(super) fn history() -> Table<HistoryEntry> {
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
        (HistoryEntry::Submitted { commit: from, by: None }, "submitted", "an operator asked for a build of abababa"),
        (
            HistoryEntry::Tried { commit: from, by: Some("alice".into()) },
            "tried",
            "alice tried uncommitted work, which is abababa",
        ),
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
        (HistoryEntry::Decided(DecisionKind::CancelAsked { by: None }), "cancel_asked", "cancelled by an operator"),
        (HistoryEntry::Skipped(skips().remove(0).0), "skipped", "skipped: test did not pass"),
        (HistoryEntry::LeftOut(LeftOutReason::NotAsked), "left_out", "left out: nobody asked for it"),
        (
            HistoryEntry::BuildFinished { verdict: Verdict::Errored, problem: Some(said("no tasks")) },
            "build_finished",
            "the build errored: no tasks",
        ),
    ]
}

pub(super) fn refusals() -> Table<RefusalReason> {
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

pub(super) fn statuses() -> Table<JobStatus> {
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
            JobStatus::InQueue { waited_ms, before: 0, only: vec![runner()] },
            "in_queue",
            "queued for 5 s: next in the queue, no fitting runner has a free slot (it fits w1)",
        ),
        (
            JobStatus::InQueue { waited_ms, before: 4, only: Vec::new() },
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
