//! The texts of answers to orders, of warnings and of log lines, which have no code.

use super::super::reason::*;
use super::super::*;
use super::reasons::{quarantine, runner, task};

#[test]
fn answers_and_log_lines_have_texts() {
    let (build, id, repo) = (BuildId(12), RunnerId(1), RepoName::new("app").unwrap());
    let (branch, commit) = (BranchName::new("main"), CommitId::from_bytes(&[0xab; 20]).unwrap());
    let (attempt, holding) = (AttemptId(7), 2);
    let (reference, pool) = (RefName::of_branch(&branch), PoolId(1));
    let texts: Vec<(Box<dyn std::fmt::Display>, &str)> = vec![
        (Box::new(OrderDone::Cancelled { build, of: None, jobs: 1 }), "build b12: 1 job cancelled"),
        (
            Box::new(OrderDone::NothingToCancel { build, of: None }),
            "build b12: it is finished already, nothing was cancelled",
        ),
        (Box::new(OrderDone::Started { build, task: task(), waits: false }), "build b12: test is started"),
        (
            Box::new(OrderDone::CellsStarted { build, task: task(), cells: 3, total: 3, waits: false }),
            "build b12: all 3 cells of test are started",
        ),
        (
            Box::new(OrderDone::CellsStarted { build, task: task(), cells: 1, total: 3, waits: true }),
            "build b12: 1 of 3 cells of test starts when what it needs has ended",
        ),
        (
            Box::new(OrderDone::Started { build, task: task(), waits: true }),
            "build b12: test starts when what it needs has ended",
        ),
        (
            Box::new(Notice::BuildCancelled { build, reason: CancelReason::Superseded { by: BuildId(13) } }),
            "build b12 is cancelled: build b13 superseded this one",
        ),
        (Box::new(OrderDone::Rerun { build, of: None, jobs: 2, named: 0 }), "build b12: 2 jobs will run again"),
        (
            Box::new(OrderDone::Draining { runner: runner(), attempts: 2 }),
            "runner w1 finishes 2 attempts, then ends; it gets no jobs until `surveil resume w1`",
        ),
        (
            Box::new(OrderDone::Drained { runner: runner() }),
            "runner w1 is drained; it gets no jobs until `surveil resume w1`",
        ),
        (
            Box::new(OrderDone::DrainedAlready { runner: runner() }),
            "runner w1 was drained already; it gets no jobs until `surveil resume w1`",
        ),
        (Box::new(OrderDone::Resumed { runner: runner(), ends: false }), "runner w1 takes jobs again"),
        (
            Box::new(OrderDone::Resumed { runner: runner(), ends: true }),
            "runner w1 takes jobs again once it is started again: its present process still ends",
        ),
        (
            Box::new(OrderDone::Woken { repo: repo.clone(), source: "box:/srv/app".into(), observers: 1, old: 0 }),
            "the observer of app looks at box:/srv/app now",
        ),
        (
            Box::new(OrderDone::Woken { repo: repo.clone(), source: "box:/srv/app".into(), observers: 2, old: 1 }),
            "2 observers of app look at box:/srv/app now; 1 observer of an older version cannot be woken",
        ),
        (Box::new(OrderDone::NotDrained { runner: runner(), quarantine: None }), "runner w1 was not drained"),
        (
            Box::new(OrderDone::NotDrained { runner: runner(), quarantine: Some(quarantine()) }),
            "runner w1 was not drained: it is in quarantine for 2 s more: 3 failures in a row with different commits, the \
             last: disk full; that ends by itself",
        ),
        (Box::new(CloseReason::Overtaken), "its runner has dialled again since"),
        (Box::new(CloseReason::Replaced), "its runner came back on a new one"),
        (
            Box::new(CloseReason::NameTaken { runner: runner() }),
            "a runner named w1 is connected already: give this one another --name",
        ),
        (Box::new(CloseReason::Silent { silent_ms: 9_000 }), "its runner was silent for 9 s"),
        (Box::new(Concern::NoRunnerFits(MissingFit::NoRunner)), "jobs are queued and no runner is connected"),
        (
            Box::new(Concern::RunnerRests { runner: runner(), rest_ms: 1, quarantine: None }),
            "runner w1 gets no jobs for 1 s: infrastructure failed there",
        ),
        (
            Box::new(Notice::BuildAdded { build, repo: repo.clone(), reference: reference.clone(), commit, tasks: 2 }),
            "build b12 of app main abababa: 2 tasks",
        ),
        (
            Box::new(Notice::BuildFinished {
                build,
                repo: repo.clone(),
                reference: reference.clone(),
                verdict: Verdict::Passed,
                seconds: 5,
            }),
            "build b12 of app main: passed after 5 s",
        ),
        (
            Box::new(Notice::RefsNoted { repo: repo.clone(), refs: 1, patterns: vec!["refs/tags/*".into()] }),
            "first look at refs/tags/* of app: 1 ref there already, which is not built",
        ),
        (Box::new(Notice::RefGone { repo, reference: RefName::of_branch(branch) }), "branch main of app is gone"),
        (
            Box::new(Notice::AttemptLost {
                attempt,
                job: JobId(3),
                runner: runner(),
                reason: LossReason::LeaseExpired,
            }),
            "attempt a7 lost on runner w1: its lease ran out; job j3 queued again",
        ),
        (
            Box::new(Notice::LateResult { attempt, outcome: Outcome::Passed }),
            "attempt a7: a late result (passed) is kept and counts for nothing",
        ),
        (
            Box::new(Notice::RunnerJoined { runner: runner(), id, slots: 4, holding }),
            "runner w1 joined as r1 with 4 slots, holding 2 attempts",
        ),
        (Box::new(Notice::RunnerAway { runner: runner(), holding }), "runner w1 is away, holding 2 attempts"),
        (Box::new(Notice::RunnerDraining { runner: runner(), holding }), "runner w1 drains: 2 attempts to finish"),
        (
            Box::new(Notice::RunnerDrained { runner: runner() }),
            "runner w1 is drained by an operator: no jobs until `surveil resume w1`",
        ),
        (Box::new(Notice::RunnerResumed { runner: runner() }), "an operator resumed runner w1: it takes jobs again"),
        (
            Box::new(Notice::RunnerQuarantined { runner: runner(), quarantine: quarantine() }),
            "runner w1 is in quarantine for 2 s more: 3 failures in a row with different commits, the last: disk full",
        ),
        (
            Box::new(Notice::RunnerStarting { pool }),
            "work waits and no runner that fits is connected: starting one on this machine",
        ),
        (
            Box::new(Notice::RunnerNotStarted { pool, why: "no memory".into() }),
            "could not start a runner on this machine: no memory",
        ),
        (Box::new(Notice::RunnerEndedEarly { pool }), "a runner that was started here ended before it joined"),
        (
            Box::new(Notice::HeldUp { gap_ms: 5 }),
            "the dispatcher was held up for 5 ms: every lease is extended by as much",
        ),
    ];
    for (said, text) in texts {
        assert_eq!(said.to_string(), text);
    }
}

#[test]
fn an_order_about_a_task_or_a_matrix_is_answered_with_its_name() {
    let build = BuildId(12);
    let one = || Some(NamedJobs { task: task(), jobs: vec![JobId(1)], is_matrix: false });
    let cells = || Some(NamedJobs { task: task(), jobs: [1, 2, 3].map(JobId).into(), is_matrix: true });
    let texts = [
        (OrderDone::Cancelled { build, of: one(), jobs: 1 }, "test cancelled"),
        (OrderDone::Cancelled { build, of: cells(), jobs: 3 }, "3 cells of test cancelled"),
        (OrderDone::Cancelled { build, of: cells(), jobs: 2 }, "2 cells of test cancelled; 1 was finished already"),
        (OrderDone::Cancelled { build, of: cells(), jobs: 1 }, "1 cell of test cancelled; 2 were finished already"),
        (OrderDone::NothingToCancel { build, of: one() }, "test is finished already, nothing was cancelled"),
        (
            OrderDone::NothingToCancel { build, of: cells() },
            "all cells of test are finished already, nothing was cancelled",
        ),
        (OrderDone::Rerun { build, of: one(), jobs: 1, named: 1 }, "test will run again"),
        (OrderDone::Rerun { build, of: one(), jobs: 2, named: 1 }, "test will run again, and 1 job that depends on it"),
        (OrderDone::Rerun { build, of: cells(), jobs: 3, named: 3 }, "3 cells of test will run again"),
        (
            OrderDone::Rerun { build, of: cells(), jobs: 4, named: 2 },
            "2 cells of test will run again, and 2 jobs that depend on them",
        ),
    ];
    for (done, text) in texts {
        assert_eq!(done.to_string(), format!("build b12: {text}"));
    }
    let group = || Some(GroupName::new("staging").unwrap());
    let texts = [
        (RefusalReason::AllPassed { build, of: one() }, "test of build b12 passed: nothing to run again"),
        (
            RefusalReason::AllPassed { build, of: cells() },
            "all cells of test of build b12 passed: nothing to run again",
        ),
        (
            RefusalReason::StillEnding { build, task: task(), group: group(), number: 2, runner: runner() },
            "build b12: attempt 2 of test, which is in group staging, is still being ended on w1",
        ),
        (
            RefusalReason::MayStillRun { build, task: task(), group: group(), wait_ms: 1_001 },
            "build b12: test is in group staging and may not have ended before the dispatcher started: try again in 2 s",
        ),
    ];
    for (reason, text) in texts {
        assert_eq!(reason.to_string(), text);
    }
}
