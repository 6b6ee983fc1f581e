//! E1 and E2 through everything: attempts that are killed, cancelled and finished at the same moment, and how a task's
//! end is reported.

use std::fs;

use surveil::protocol::operator::{AttemptReport, BuildReport};

use crate::harness::{Process, World, job, text, until};

/// S6: every attempt has an outcome, one attempt decides the job, and at most that one passed.
fn check_outcomes(build: &BuildReport) {
    let attempts = &job(build, "test").attempts;
    let ends = |word: &str| attempts.iter().filter(|attempt| attempt.outcome.as_deref() == Some(word)).count();
    assert!(attempts.iter().all(|attempt| attempt.outcome.is_some()), "{attempts:#?}");
    assert_eq!(ends("passed"), usize::from(build.state == "passed"), "{build:#?}");
    let mut numbers: Vec<u32> = attempts.iter().map(|attempt| attempt.number).collect();
    numbers.dedup();
    assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
}

/// S6, S13, S19, S22: whatever the runner is doing for an attempt when it is killed, the job ends with one verdict, and
/// no process of the attempt goes on. Sabotage tried: the runner's next start reports running attempts as passed.
#[test]
fn a_runner_killed_at_any_step_of_an_attempt_leaves_one_outcome_and_nothing_running() {
    let world = World::new();
    let repository = world.repository("app");
    let _dispatcher = world.dispatcher(&["--max-losses=100"]);
    let _observer = world.observer(&[&repository], &[]);
    let work = world.path("work-w1");
    let (begun, go) = (world.tally("begun"), world.path("go"));
    let script = format!(
        "{}\nsetsid sleep 1000 &\nseq 1 10000\nuntil [ -e {} ]; do sleep 0.02; done",
        begun.add("$SURVEIL_COMMIT"),
        text(&go)
    );
    let journal_has = |word: &str| {
        let journal = fs::read_to_string(work.join("journal")).unwrap_or_default();
        journal.lines().any(|line| line.starts_with(word))
    };
    let is_any = |directory: &str| fs::read_dir(work.join(directory)).is_ok_and(|mut found| found.next().is_some());
    // The sign that the runner has reached the step, and whether the task may have ended by then.
    let steps: [(&str, &dyn Fn() -> bool, bool); 5] = [
        ("the lease is in its journal", &|| journal_has("held"), false),
        ("the tree is made", &|| is_any("trees"), false),
        ("output is spooled", &|| is_any("spool"), false),
        ("the task has begun", &|| !begun.lines().is_empty(), false),
        ("the end is in its journal", &|| journal_has("ended"), true),
    ];
    for (step, is_reached, may_end) in steps {
        fs::remove_dir_all(&work).ok();
        fs::remove_file(world.path("begun")).ok();
        fs::remove_file(&go).ok();
        if may_end {
            fs::write(&go, "").unwrap();
        }
        let commit = repository.commit_script(&format!("# {step}\n{script}"));
        let runner = world.runner("w1", &[]);
        until(step, is_reached);
        runner.kill();
        until("nothing of it goes on", || world.processes(&["SURVEIL_RUNNER=w1"]).is_empty());
        fs::write(&go, "").unwrap();
        let again = world.runner("w1", &[]);
        let build = world.expect(&commit, "passed");
        check_outcomes(&build);
        assert!(world.log_of(&build, "test").contains("9999\n10000\n"), "{step}");
        again.kill();
    }
}

/// S6, S10, S20: a task's own end, a cancel and the loss of its runner at the same moment make one outcome, which is
/// the same when it is asked for again, and after a restart. Sabotage tried: the report of an attempt that was
/// cancelled is taken for its outcome, and the dispatcher ends.
#[test]
fn a_cancel_that_races_an_end_and_a_loss_makes_one_outcome() {
    let world = World::new();
    let repository = world.repository("app");
    let dispatcher = world.dispatcher(&["--reconnect-window=100ms"]);
    let observer = world.observer(&[&repository], &[]);
    let mut commits = Vec::new();
    for round in 0..8 {
        let (begun, go) = (world.tally(&format!("begun{round}")), world.path(&format!("go{round}")));
        let script = format!(
            "trap '' TERM\n{}\nuntil [ -e {} ]; do sleep 0.01; done\nexit {}",
            begun.add("$SURVEIL_COMMIT"),
            text(&go),
            round % 2
        );
        let commit = repository.commit_script(&script);
        let runner = world.runner("w1", &["--grace=200ms"]);
        begun.reaches(1);
        let cancel = |world: &World| world.start("cancel", &["cancel", &commit[..10]]);
        let finish = || fs::write(&go, "").unwrap();
        // Each of the three events comes first in some round.
        let (canceller, runner): (Process, Option<Process>) = match round % 4 {
            0 => (cancel(&world), (finish(), Some(runner)).1),
            1 => (finish(), (cancel(&world), Some(runner))).1,
            2 => (cancel(&world), (finish(), (runner.kill(), None).1).1),
            _ => {
                runner.kill();
                finish();
                (cancel(&world), None)
            }
        };
        // The cancel was in time, or its answer was that there is nothing to cancel.
        let (code, said) = canceller.finish();
        assert!(code == 0 || !said.stderr.is_empty(), "{code}");
        // A job that was lost and not cancelled needs another runner.
        let _next = runner.unwrap_or_else(|| world.runner("w1", &["--grace=200ms"]));
        let build = world.finished(&commit);
        assert!(["passed", "failed", "cancelled"].contains(&&*build.state), "{build:#?}");
        let build = world.build_that("whose attempts have ended", |build| {
            build.commit == commit && job(build, "test").attempts.iter().all(|attempt| attempt.outcome.is_some())
        });
        until("nothing of it goes on", || world.processes(&["SURVEIL_RUNNER=w1"]).is_empty());
        commits.push(build);
    }
    drop(observer);
    dispatcher.kill();
    let _dispatcher = world.dispatcher(&[]);
    for build in commits {
        let now = world.builds().into_iter().find(|other| other.build == build.build).unwrap();
        assert_eq!((&now.state, outcomes(&now)), (&build.state, outcomes(&build)));
        assert_eq!(now.finished_ms, build.finished_ms, "final is final");
    }
}

/// S19: a runner that was killed and starts again says nothing of its attempts, and takes on nothing new, before
/// nothing of them is left. Sabotage tried: supervisors keep no lock (noticed in one run of three).
#[test]
fn a_runner_that_starts_again_waits_until_nothing_of_its_attempts_is_left() {
    let world = World::new();
    let repository = world.repository("app");
    let _dispatcher = world.dispatcher(&[]);
    let _observer = world.observer(&[&repository], &[]);
    let (begun, go) = (world.path("begun"), world.path("go"));
    // Enough processes that ending them takes longer than a start.
    let script = format!(
        "[ -e {go} ] && exit; i=0; while [ $i -lt 400 ]; do sleep 1000 & i=$((i+1)); done; : >{}; wait",
        text(&begun),
        go = text(&go)
    );
    let commit = repository.commit_script(&script);
    let runner = world.runner("w1", &[]);
    until("the task has begun", || begun.exists());
    fs::write(&go, "").unwrap();
    runner.kill();
    let again = world.runner("w1", &[]);
    again.says("was executing when this runner last ended: lost");
    let left = world.processes(&["SURVEIL_RUNNER=w1", "SURVEIL_ATTEMPT_ID=1"]);
    assert!(left.is_empty(), "{left:?}");
    check_outcomes(&world.expect(&commit, "passed"));
}

fn outcomes(build: &BuildReport) -> Vec<(u32, Option<String>)> {
    job(build, "test").attempts.iter().map(|attempt| (attempt.number, attempt.outcome.clone())).collect()
}

/// E2: each way in which a task can end or fail to start has its own outcome, in reports and for people.
/// Sabotage tried: a signal is an exit code of 128 and more.
#[test]
fn every_way_in_which_a_task_ends_is_told_as_it_was() {
    let world = World::new();
    let repository = world.repository("app");
    repository.write_executable("orphan", "#!/nowhere/python\n");
    repository.write("plain", "#!/bin/sh\n");
    repository.write_executable("garbage", "\u{1}\u{2}");
    let commit = repository.commit_tasks(
        "[task.passed]\nrun = 'true'\n[task.code]\nrun = 'exit 77'\n[task.signal]\nrun = 'kill -9 $$'\n\
         [task.slow]\nrun = 'sleep 1000'\ntimeout = '200ms'\n[task.shell]\nrun = 'no-such-command'\n\
         [task.missing]\nrun = ['no-such-program']\n[task.orphan]\nrun = ['./orphan']\n\
         [task.plain]\nrun = ['./plain']\n[task.garbage]\nrun = ['./garbage']\n",
    );
    let _roles = world.roles(&[&repository]);
    let build = world.expect(&commit, "failed");
    let shown = world.surveil(&["show", "latest"]).ok();
    let expected = [
        ("passed", "passed", "passed", ""),
        ("code", "failed", "failed", "77"),
        ("signal", "failed", "killed", "9"),
        ("slow", "failed", "timed_out", ""),
        ("shell", "failed", "failed", "127"),
        ("missing", "errored", "could_not_start", "there is no program no-such-program"),
        ("orphan", "errored", "could_not_start", "the interpreter /nowhere/python, which does not exist"),
        ("plain", "errored", "could_not_start", "./plain is not executable"),
        ("garbage", "errored", "could_not_start", "neither a program for this machine nor a script"),
    ];
    for (task, state, outcome, detail) in expected {
        let found = job(&build, task);
        let [AttemptReport { outcome: Some(ended), detail: why, .. }] = &found.attempts[..] else {
            panic!("{found:#?}")
        };
        assert_eq!((&*found.state, &**ended), (state, outcome), "{found:#?}");
        assert!(why.as_deref().unwrap_or_default().contains(detail), "{found:#?}");
        assert!(shown.contains(detail), "{detail} is not in {shown}");
    }
    // A command that is empty is a mistake that needs no runner.
    let empty = repository.commit_tasks("[task.test]\nrun = ' '\n");
    let problem = world.expect(&empty, "errored").problem.unwrap();
    assert!(problem.contains(".surveil.toml:2:"), "{problem}");
}

/// S19: a tree that nobody may enter any more is clean again for the next attempt. Sabotage tried: directories that a
/// task made stay where they are.
#[test]
fn a_task_that_closes_its_tree_to_everybody_does_not_spoil_the_next() {
    let world = World::new();
    let repository = world.repository("app");
    let first = repository.commit_script("mkdir -p deep/er && touch deep/er/file && chmod -R 000 deep . && exit 0");
    let _roles = world.roles(&[&repository]);
    world.expect(&first, "passed");
    let second = repository.commit_script("ls -A");
    let build = world.expect(&second, "passed");
    assert_eq!(world.log_of(&build, "test"), ".git\n.surveil.toml\n");
}
