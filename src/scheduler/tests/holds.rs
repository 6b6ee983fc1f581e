//! Stories of held tasks that end without a start, and of the tasks that were held because of them.

use super::plans::{after, held, job, left_out, plan, stored};
use super::*;

fn waits(spec: TaskSpec) -> PlannedTask {
    PlannedTask::of(spec)
}

/// A manual task that runs after a failure of `deploy`.
fn roll_back() -> PlannedTask {
    held(after("roll-back", &["deploy"], Condition::Failed))
}

#[test]
fn a_task_that_needs_only_a_manual_one_that_is_left_out_is_queued() {
    let mut story = Story::new();
    let tasks = vec![left_out(held(task("deploy")).spec), waits(needing("tell", &["deploy"]))];
    let lines = story.observe_plan(None, 1, plan(tasks));
    assert_eq!(lines, ["build b1 added with 2 jobs", "j2 queued", "> accepted as b1"]);
}

#[test]
fn a_held_task_that_can_never_start_ends_with_the_first_look_at_its_build_and_holds_nothing() {
    let mut story = Story::new();
    let tasks = vec![left_out(task("deploy")), roll_back(), waits(needing("tell", &["roll-back"]))];
    let lines = story.observe_plan(None, 1, plan(tasks));
    let left_out = "j2 left_out (nothing_failed)";
    assert_eq!(lines, ["build b1 added with 3 jobs", left_out, "j3 queued", "> accepted as b1"]);
}

#[test]
fn the_end_of_a_held_task_lets_go_what_was_held_because_of_it_alone() {
    let tasks = || {
        vec![
            waits(task("deploy")),
            waits(task("slow")),
            roll_back(),
            // In the middle of a chain, and it waits for another one, too.
            waits(needing("verify", &["roll-back", "slow"])),
            waits(needing("tell", &["verify"])),
            // Held because of two.
            held(task("publish")),
            waits(needing("report", &["publish", "roll-back"])),
        ]
    };
    let mut story = Story::new();
    story.join(1, "w1", 2);
    story.observe_plan(None, 1, plan(tasks()));
    let lines = story.finish(1, 1, Outcome::Passed);
    assert_eq!(lines[..5], ["a1 passed", "j1 passed", "j3 left_out (nothing_failed)", "j4 waiting", "j5 waiting"]);
    assert_eq!(story.scheduler.jobs[&JobId(7)].state, JobState::Held, "it needs publish");
    assert_eq!(story.finish(1, 2, Outcome::Passed)[..3], ["a2 passed", "j2 passed", "j4 queued"]);
    story.finish(1, 3, Outcome::Passed);
    let lines = story.finish(1, 4, Outcome::Passed);
    assert_eq!(lines[..3], ["a4 passed", "j5 passed", "b1 passed"], "the verdict waited for what was let go");
}

#[test]
fn a_task_that_runs_after_any_end_runs_after_a_held_one_that_is_skipped_or_cancelled() {
    let tasks = || {
        vec![
            waits(task("test")),
            held(needing("deploy", &["test"])),
            waits(after("tell", &["deploy"], Condition::Finished)),
        ]
    };
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe_plan(None, 1, plan(tasks()));
    let lines = story.finish(1, 1, Outcome::Failed(1));
    assert_eq!(lines[..4], ["a1 failed", "j1 failed", "j2 skipped (need_not_passed)", "j3 queued"]);
    story.finish(1, 2, Outcome::Passed);

    story.observe_plan(Some(1), 2, plan(tasks()));
    let only = Some(named("deploy", &[5]));
    let lines = story.tell(Event::CancelAsked { request: RequestId(0), build: BuildId(2), only, by: None });
    assert_eq!(lines, ["j5 cancelled", "j6 queued", "> done"]);
}

#[test]
fn what_a_task_wrote_is_held_and_let_go_likewise() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    let mut expanding = task("plan");
    expanding.recipe_mut().expand = true;
    story.observe("app", None, 1, vec![expanding]);
    let joined = vec![
        left_out(held(needing("plan/a", &["plan"])).spec),
        waits(needing("plan/b", &["plan", "plan/a"])),
        held(after("plan/c", &["plan"], Condition::Failed)),
        waits(needing("plan/d", &["plan", "plan/c"])),
    ];
    let plan = Box::new(Ok(plan(joined)));
    story.tell(Event::TasksWritten { session: SessionId(1), attempt: AttemptId(1), plan });
    let lines = story.finish(1, 1, Outcome::Passed);
    let queued: Vec<_> = lines.iter().filter(|line| line.ends_with("queued")).collect();
    assert_eq!(queued, ["j3 queued", "j5 queued"], "{lines:?}");
}

#[test]
fn a_rerun_holds_nothing_for_a_manual_task_that_can_never_start() {
    let ended = |ending: Ending| JobState::Finished(ending);
    let left_out = |reason| ended(Ending::LeftOut(Box::new(reason)));
    let jobs = || {
        vec![
            job(1, 1, task("deploy"), left_out(LeftOutReason::NotAsked)),
            job(2, 1, roll_back().spec, left_out(LeftOutReason::NothingFailed)),
            job(3, 1, needing("tell", &["roll-back"]), ended(Ending::Passed)),
        ]
    };
    let mut story = Story::new();
    let lines = story.rerun(stored(1, 1), jobs(), false, None);
    let expected = ["b1 reopened", "j2 held", "j3 waiting", "j2 left_out (nothing_failed)", "j3 queued", "> done"];
    assert_eq!(lines, expected);
}
