//! Stories of plans: tasks that are left out, and tasks that are held.

use super::*;

fn plan(tasks: Vec<PlannedTask>) -> Plan {
    Plan { tasks, ..Plan::default() }
}

fn left_out(spec: TaskSpec) -> PlannedTask {
    PlannedTask { left_out: Some(LeftOutReason::NotOnRef { what: "branch main".into() }), ..PlannedTask::of(spec) }
}

fn held(spec: TaskSpec) -> PlannedTask {
    PlannedTask { held: true, ..PlannedTask::of(spec) }
}

#[test]
fn a_task_that_is_left_out_counts_as_passed_for_those_that_need_it() {
    let mut story = Story::new();
    story.join(1, "w1", 2);
    // `test` is left out although `build` fails: it asks for nothing.
    let tasks = vec![
        PlannedTask::of(task("build")),
        left_out(needing("test", &["build"])),
        PlannedTask::of(needing("deploy", &["test"])),
    ];
    assert_eq!(
        story.observe_plan(None, 1, plan(tasks)),
        [
            "build b1 added with 3 jobs",
            "j3 queued",
            "> accepted as b1",
            "j1 leased to r1 as a1 (number 1)",
            "> s1 lease a1",
            "j3 leased to r1 as a2 (number 1)",
            "> s1 lease a2"
        ]
    );
    assert_eq!(story.finish(1, 1, Outcome::Failed(1)), ["a1 failed", "j1 failed", "> s1 recorded a1"]);
    assert_eq!(story.finish(1, 2, Outcome::Passed), ["a2 passed", "j3 passed", "b1 failed", "> s1 recorded a2"]);
}

#[test]
fn a_build_whose_tasks_are_all_left_out_has_passed() {
    let mut story = Story::new();
    let tasks = vec![left_out(task("build")), left_out(needing("test", &["build"]))];
    let lines = ["build b1 added with 2 jobs", "b1 passed", "> accepted as b1"];
    assert_eq!(story.observe_plan(None, 1, plan(tasks)), lines);
    assert!(story.scheduler.explain(story.now, BuildId(1)).is_empty(), "it is not in the state any more");
}

#[test]
fn a_held_task_and_what_needs_it_hold_up_no_verdict() {
    let mut story = Story::new();
    story.join(1, "w1", 2);
    let tasks = vec![
        PlannedTask::of(task("test")),
        held(needing("deploy", &["test"])),
        PlannedTask::of(needing("verify", &["deploy"])),
    ];
    story.observe_plan(None, 1, plan(tasks));
    let words = |story: &Story| {
        let statuses = story.scheduler.explain(story.now, BuildId(1)).into_iter();
        statuses.map(|(task, status)| format!("{task}: {status}")).collect::<Vec<_>>()
    };
    assert_eq!(
        words(&story)[1..],
        ["deploy: held until somebody starts it", "verify: held until somebody starts what it needs: deploy"]
    );
    assert_eq!(story.finish(1, 1, Outcome::Passed), ["a1 passed", "j1 passed", "b1 passed", "> s1 recorded a1"]);
}

#[test]
fn a_held_task_whose_need_fails_is_skipped_with_what_needs_it() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    let tasks = vec![
        PlannedTask::of(task("test")),
        held(needing("deploy", &["test"])),
        PlannedTask::of(needing("verify", &["deploy"])),
    ];
    story.observe_plan(None, 1, plan(tasks));
    assert_eq!(
        story.finish(1, 1, Outcome::Failed(1)),
        [
            "a1 failed",
            "j1 failed",
            "j2 skipped (need_not_passed)",
            "j3 skipped (need_not_passed)",
            "b1 failed",
            "> s1 recorded a1"
        ]
    );
}

#[test]
fn a_build_of_held_tasks_alone_has_passed_and_a_cancel_ends_them_while_it_runs() {
    let mut story = Story::new();
    let lines = ["build b1 added with 1 jobs", "b1 passed", "> accepted as b1"];
    assert_eq!(story.observe_plan(None, 1, plan(vec![held(task("deploy"))])), lines);
    story.observe_plan(Some(1), 2, plan(vec![held(exclusive("deploy")), PlannedTask::of(task("test"))]));
    assert_eq!(story.cancel(2), ["j2 cancelled", "j3 cancelled", "b2 cancelled", "> done"]);
}

/// A held deployment is in nobody's way.
#[test]
fn a_held_exclusive_task_does_not_stand_in_the_line_of_its_task() {
    let mut story = Story::new();
    story.join(1, "w1", 2);
    story.observe_plan(None, 1, plan(vec![held(exclusive("deploy")), PlannedTask::of(task("test"))]));
    assert_eq!(
        story.observe_plan(Some(1), 2, plan(vec![PlannedTask::of(exclusive("deploy"))])),
        ["build b2 added with 1 jobs", "> accepted as b2", "j3 leased to r1 as a2 (number 1)", "> s1 lease a2"]
    );
}
