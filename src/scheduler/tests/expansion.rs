//! Stories of tasks that a task wrote.

use super::*;

fn expanding(name: &str) -> TaskSpec {
    let mut task = task(name);
    task.recipe_mut().expand = true;
    task
}

impl Story {
    fn writes(&mut self, session: u64, attempt: u64, plan: Result<Plan, &str>) -> Vec<String> {
        let plan = Box::new(plan.map_err(str::to_owned));
        self.tell(Event::TasksWritten { session: SessionId(session), attempt: AttemptId(attempt), plan })
    }
}

fn two() -> Plan {
    Plan::of(vec![needing("plan/a", &["plan"]), needing("plan/b", &["plan", "plan/a"])])
}

#[test]
fn tasks_that_a_passed_task_wrote_join_its_build_with_its_result() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![expanding("plan"), needing("after", &["plan"])]);
    assert!(story.writes(1, 1, Ok(two())).is_empty(), "nothing counts before the result");
    let lines = story.finish(1, 1, Outcome::Passed);
    assert_eq!(
        lines,
        [
            "a1 passed",
            "b1 has j3 plan/a, j4 plan/b",
            "j1 passed",
            "j2 queued",
            "j3 queued",
            "> s1 recorded a1",
            "j2 leased to r1 as a2 (number 1)",
            "> s1 lease a2"
        ]
    );
    assert_eq!(story.decided, [DecisionKind::Expanded { tasks: 2 }]);
    story.finish(1, 2, Outcome::Passed);
    let lines = story.finish(1, 3, Outcome::Failed(1));
    assert!(lines.contains(&"j4 skipped (need_not_passed)".to_owned()), "{lines:?}");
    assert!(lines.contains(&"b1 failed".to_owned()), "{lines:?}");
}

#[test]
fn only_the_attempt_that_passes_adds_tasks_and_only_for_a_task_that_may() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    let mut plan = expanding("plan");
    plan.placement.retries = 1;
    story.observe("app", None, 1, vec![plan, task("other")]);
    story.writes(1, 1, Ok(two()));
    story.finish(1, 1, Outcome::Failed(1));
    story.writes(1, 2, Ok(Plan::of(vec![needing("plan/c", &["plan"])])));
    story.writes(2, 2, Ok(two()));
    story.writes(1, 1, Ok(two()));
    let lines = story.finish(1, 2, Outcome::Passed);
    assert!(lines.contains(&"b1 has j3 plan/c".to_owned()), "{lines:?}");
    story.writes(1, 3, Ok(two()));
    let lines = story.finish(1, 3, Outcome::Passed);
    assert_eq!(lines[..2], ["a3 passed", "j2 passed"], "it does not expand");
}

#[test]
fn a_mistake_in_what_a_task_wrote_and_too_many_tasks_make_it_errored() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![expanding("plan")]);
    story.writes(1, 1, Err("SURVEIL_TASKS:1:1: wrong"));
    let lines = story.finish(1, 1, Outcome::Passed);
    assert_eq!(lines, ["a1 passed", "j1 errored (broken_tasks)", "b1 errored", "> s1 recorded a1"]);
    let reason = ErrorReason::BrokenTasks { text: "SURVEIL_TASKS:1:1: wrong".into() };
    assert_eq!(story.decided, [DecisionKind::GaveUp { reason }]);

    story.observe("app", Some(1), 2, vec![expanding("plan")]);
    let many = (0..5_000).map(|n| needing(&format!("plan/t{n}"), &["plan"])).collect();
    story.writes(1, 2, Ok(Plan::of(many)));
    let lines = story.finish(1, 2, Outcome::Passed);
    assert_eq!(lines, ["a2 passed", "j2 errored (too_many_tasks)", "b2 errored", "> s1 recorded a2"]);
}

#[test]
fn a_file_without_tasks_adds_nothing_and_a_rerun_takes_no_second_file() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![expanding("plan")]);
    story.writes(1, 1, Ok(Plan::default()));
    assert_eq!(story.finish(1, 1, Outcome::Passed), ["a1 passed", "j1 passed", "b1 passed", "> s1 recorded a1"]);

    let passed = JobState::Finished(Ending::Passed);
    let job = |id, task| plans::job(id, 1, task, passed.clone());
    let build = stored_build(1, Some(Verdict::Passed));
    let jobs = vec![job(1, expanding("plan")), job(2, needing("plan/a", &["plan"]))];
    let build = Box::new(WholeBuild { build, jobs, attempts: vec![] });
    story.tell(Event::RerunAsked { request: RequestId(0), build, failed_only: false, only: None, by: None });
    story.writes(1, 2, Ok(Plan::of(vec![needing("plan/z", &["plan"])])));
    let lines = story.finish(1, 2, Outcome::Passed);
    assert_eq!(lines[..3], ["a2 passed", "j1 passed", "j2 queued"]);
}

#[test]
fn values_of_the_build_and_of_its_writer_are_for_the_tasks_that_it_wrote() {
    let input = |name: &str, given: Option<&str>| Input {
        name: name.into(),
        default: None,
        description: String::new(),
        given: given.map(str::to_owned),
    };
    let mut writer = expanding("plan");
    writer.placement.inputs = vec![input("place", Some("lab"))];
    let mut story = Story::new();
    story.join(1, "w1", 1);
    let mut plan = Plan::of(vec![writer]);
    plan.settings.for_written_mut().inputs =
        [("version", "1"), ("place", "moon"), ("other", "x")].map(|(name, value)| (name.into(), value.into())).into();
    story.observe_plan(None, 1, plan);
    let mut written = needing("plan/a", &["plan"]);
    written.placement.inputs = vec![input("version", None), input("place", None), input("missing", None)];
    story.writes(1, 1, Ok(Plan::of(vec![written])));
    story.finish(1, 1, Outcome::Passed);
    let env = &story.scheduler.jobs[&JobId(2)].task.recipe.env;
    assert_eq!(*env, [("version".to_owned(), "1".to_owned()), ("place".to_owned(), "lab".to_owned())]);
}

#[test]
fn a_cancelled_task_adds_nothing() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![expanding("plan")]);
    story.writes(1, 1, Ok(two()));
    story.cancel(1);
    assert_eq!(story.finish(1, 1, Outcome::Passed), ["> s1 recorded a1"]);
}
