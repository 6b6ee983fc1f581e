//! Stories of plans: tasks that are left out, and tasks that are held.

use super::*;

pub(super) fn plan(tasks: Vec<PlannedTask>) -> Plan {
    Plan { tasks, ..Plan::default() }
}

pub(super) fn left_out(spec: TaskSpec) -> PlannedTask {
    PlannedTask { left_out: Some(LeftOutReason::NotOnRef { what: "branch main".into() }), ..PlannedTask::of(spec) }
}

pub(super) fn held(mut spec: TaskSpec) -> PlannedTask {
    spec.placement.manual = true;
    PlannedTask { held: true, ..PlannedTask::of(spec) }
}

pub(super) fn after(name: &str, needs: &[&str], condition: Condition) -> TaskSpec {
    let mut task = needing(name, needs);
    task.placement.needs.iter_mut().for_each(|need| need.condition = condition);
    task
}

impl Story {
    /// Asks to start a job of a build, which has these jobs in the store.
    pub(super) fn start(&mut self, build: Build, jobs: Vec<Job>, job: u64, force: bool) -> Vec<String> {
        self.start_with(build, jobs, (job, &[]), force)
    }

    /// Asks likewise, with values for inputs.
    fn start_with(
        &mut self,
        build: Build,
        jobs: Vec<Job>,
        (job, inputs): (u64, &[(&str, &str)]),
        force: bool,
    ) -> Vec<String> {
        let (request, job, by) = (RequestId(0), JobId(job), "ann@box".into());
        let build = Box::new(WholeBuild { build, jobs, attempts: vec![] });
        let inputs = inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.tell(Event::StartAsked { request, build, job, by, force, inputs })
    }

    pub(super) fn rerun(&mut self, build: Build, jobs: Vec<Job>, failed_only: bool, only: Option<u64>) -> Vec<String> {
        let (request, build) = (RequestId(0), Box::new(WholeBuild { build, jobs, attempts: vec![] }));
        self.tell(Event::RerunAsked { request, build, failed_only, only: only.map(|job| named("a", &[job])), by: None })
    }
}

/// A finished build as the store has it, the move `number` of the main branch.
pub(super) fn stored(id: u64, number: u64) -> Build {
    let source = source("app", None, id as u8);
    Build {
        source: BuildSource { trigger: source.trigger.clone().numbered(number), ..source },
        ..stored_build(id, Some(Verdict::Passed))
    }
}

pub(super) fn job(id: u64, build: u64, spec: TaskSpec, state: JobState) -> Job {
    let attempts = u32::from(matches!(state, JobState::Finished(Ending::Passed | Ending::Failed)));
    Job { id: JobId(id), build: BuildId(build), task: spec.into(), state, attempts, failures: 0, losses: 0 }
}

/// The jobs of a build whose deployment is held: `test` has passed.
fn deployment() -> Vec<Job> {
    vec![
        job(1, 1, task("test"), JobState::Finished(Ending::Passed)),
        job(2, 1, held(needing("deploy", &["test"])).spec, JobState::Held),
        job(3, 1, needing("verify", &["deploy"]), JobState::Held),
    ]
}

pub(super) fn refused(story: &mut Story, lines: &[String], code: &str) {
    assert_eq!(lines, ["> refused"], "{code}");
    assert_eq!(story.refused.take().map(|reason| reason.code()), Some(code));
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

/// A deployment is held between two tasks.
fn with_held_deployment() -> Plan {
    plan(vec![
        PlannedTask::of(task("test")),
        held(needing("deploy", &["test"])),
        PlannedTask::of(needing("verify", &["deploy"])),
    ])
}

#[test]
fn a_held_task_and_what_needs_it_hold_up_no_verdict() {
    let mut story = Story::new();
    story.join(1, "w1", 2);
    story.observe_plan(None, 1, with_held_deployment());
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
    story.observe_plan(None, 1, with_held_deployment());
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

#[test]
fn a_held_task_is_started_and_its_build_gets_a_new_verdict() {
    let mut story = Story::new();
    story.join(1, "w1", 2);
    story.observe_plan(None, 1, plan(vec![PlannedTask::of(task("test")), held(needing("deploy", &["test"]))]));
    story.finish(1, 1, Outcome::Passed);
    assert_eq!(
        story.start(stored(1, 1), deployment(), 2, false),
        ["b1 reopened", "j2 queued", "j3 waiting", "> done", "j2 leased to r1 as a2 (number 1)", "> s1 lease a2"]
    );
    let started = DecisionKind::Started { by: "ann@box".into(), inputs: BTreeMap::new(), newer: None, reopened: true };
    assert_eq!(story.decided, [started]);
    let lines = ["a2 failed", "j2 failed", "j3 skipped (need_not_passed)", "b1 failed", "> s1 recorded a2"];
    assert_eq!(story.finish(1, 2, Outcome::Failed(1)), lines);
}

#[test]
fn a_held_task_of_an_unfinished_build_waits_for_what_it_needs() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe_plan(None, 1, with_held_deployment());
    let lines = story.start(stored(1, 1), deployment(), 3, false);
    refused(&mut story, &lines, "needs_held");
    assert_eq!(story.start(stored(1, 1), deployment(), 2, false), ["j2 waiting", "j3 waiting", "> done"]);
    let lines = story.start(stored(1, 1), deployment(), 2, false);
    refused(&mut story, &lines, "not_held");
    let lines = story.start(stored(1, 1), deployment(), 1, false);
    refused(&mut story, &lines, "not_held");
    assert_eq!(story.finish(1, 1, Outcome::Passed), hands_on_to(2));
}

#[test]
fn a_task_that_needs_two_held_ones_waits_for_both() {
    let mut story = Story::new();
    story.join(1, "w1", 3);
    let tasks = vec![
        held(task("east")),
        held(task("west")),
        PlannedTask::of(needing("announce", &["east", "west"])),
        PlannedTask::of(task("test")),
    ];
    let jobs = |states: [JobState; 3]| {
        let [east, west, announce] = states;
        let both = needing("announce", &["east", "west"]);
        vec![
            job(1, 1, held(task("east")).spec, east),
            job(2, 1, held(task("west")).spec, west),
            job(3, 1, both, announce),
        ]
    };
    let all = || jobs([JobState::Held, JobState::Held, JobState::Held]);
    story.observe_plan(None, 1, plan(tasks));
    assert_eq!(
        story.start(stored(1, 1), all(), 1, false),
        ["j1 queued", "> done", "j1 leased to r1 as a2 (number 1)", "> s1 lease a2"]
    );
    assert_eq!(
        story.start(stored(1, 1), all(), 2, false),
        ["j2 queued", "j3 waiting", "> done", "j2 leased to r1 as a3 (number 1)", "> s1 lease a3"]
    );
}

#[test]
fn a_held_task_of_an_outdated_build_is_started_only_by_force() {
    let mut story = Story::new();
    story.observe_plan(None, 1, plan(vec![held(task("test"))]));
    story.observe_plan(Some(1), 2, plan(vec![held(task("test"))]));
    let lines = story.start(stored(1, 1), deployment(), 2, false);
    refused(&mut story, &lines, "newer_build");
    assert_eq!(story.start(stored(1, 1), deployment(), 2, true), ["b1 reopened", "j2 queued", "j3 waiting", "> done"]);
    let newer = Some(BuildId(2));
    assert_eq!(
        story.decided,
        [DecisionKind::Started { by: "ann@box".into(), inputs: BTreeMap::new(), newer, reopened: true }]
    );
}

#[test]
fn a_start_gives_values_to_the_inputs_of_all_tasks_that_start_with_it() {
    let input = |name: &str, default: Option<&str>| Input {
        name: name.into(),
        default: default.map(str::to_owned),
        description: String::new(),
        given: None,
    };
    let mut deploy = held(task("deploy")).spec;
    deploy.placement.inputs = vec![input("version", None), input("where", Some("staging"))];
    let mut verify = needing("verify", &["deploy"]);
    verify.placement.inputs = vec![input("version", None)];
    let jobs = || vec![job(1, 1, deploy.clone(), JobState::Held), job(2, 1, verify.clone(), JobState::Held)];
    let mut story = Story::new();
    story.observe_plan(None, 1, plan(vec![held(deploy.clone()), PlannedTask::of(verify.clone())]));

    let lines = story.start(stored(1, 1), jobs(), 1, false);
    refused(&mut story, &lines, "missing_input");
    let lines = story.start_with(stored(1, 1), jobs(), (1, &[("verson", "1")]), false);
    refused(&mut story, &lines, "unknown_input");
    assert!(story.decided.is_empty(), "nothing has started");

    let lines = story.start_with(stored(1, 1), jobs(), (1, &[("version", "1.4")]), false);
    assert_eq!(
        lines,
        ["b1 reopened", "j1 has version=1.4 where=staging", "j2 has version=1.4", "j1 queued", "j2 waiting", "> done"]
    );
    let inputs = [("version".to_owned(), "1.4".to_owned())].into();
    assert_eq!(story.decided, [DecisionKind::Started { by: "ann@box".into(), inputs, newer: None, reopened: true }]);
}

#[test]
fn a_value_that_was_given_stays_until_another_is_given() {
    let input = Input { name: "version".into(), default: None, description: String::new(), given: Some("1".into()) };
    let mut deploy = held(task("deploy")).spec;
    deploy.placement.inputs = vec![input];
    drop(deploy.set_inputs(&BTreeMap::new()));
    let mut story = Story::new();
    story.observe_plan(None, 1, plan(vec![held(deploy.clone())]));
    let jobs = vec![job(1, 1, deploy, JobState::Held)];
    assert_eq!(story.start(stored(1, 1), jobs.clone(), 1, false), ["b1 reopened", "j1 queued", "> done"]);
    story.cancel(1);
    let lines = story.start_with(stored(1, 1), jobs, (1, &[("version", "2")]), false);
    assert_eq!(lines, ["b1 reopened", "j1 has version=2", "j1 queued", "> done"]);
}

/// The cells of a matrix, a task that needs all of them, and one that needs none.
fn matrix() -> Vec<TaskSpec> {
    vec![task("test@a"), task("test@b"), task("test@c"), needing("report", &["test@a", "test@b", "test@c"]), task("x")]
}

#[test]
fn a_matrix_is_cancelled_as_a_whole() {
    let mut story = Story::new();
    story.join(1, "w1", 2);
    story.observe_plan(None, 1, plan(matrix().into_iter().map(PlannedTask::of).collect()));
    story.finish(1, 1, Outcome::Passed);
    let only = Some(named("test", &[1, 2, 3]));
    let (request, build) = (RequestId(0), BuildId(1));
    let lines = story.tell(Event::CancelAsked { request, build, only: only.clone(), by: None });
    for line in ["j2 cancelled", "j3 cancelled", "> done"] {
        assert!(lines.iter().any(|it| it == line), "{line} in {lines:?}");
    }
    assert!(!lines.iter().any(|it| it == "j1 cancelled" || it == "j5 cancelled"), "{lines:?}");
    assert_eq!(story.ordered.take(), Some(OrderDone::Cancelled { build, of: only.clone(), jobs: 2 }));
    story.tell(Event::CancelAsked { request, build, only: only.clone(), by: None });
    assert_eq!(story.ordered.take(), Some(OrderDone::NothingToCancel { build, of: only }));
}

#[test]
fn a_matrix_runs_again_as_a_whole_or_its_failed_cells() {
    let mut story = Story::new();
    let skipped = || {
        let (task, how) = (TaskName::new("test@b").unwrap(), EndingKind::Failed);
        Ending::Skipped(Box::new(SkipReason::NeedNotPassed { task, how }))
    };
    let jobs = || {
        let endings = [Ending::Passed, Ending::Failed, Ending::Passed, skipped(), Ending::Failed];
        let jobs = matrix().into_iter().zip(endings).zip(1..);
        jobs.map(|((task, ending), id)| job(id, 1, task, JobState::Finished(ending))).collect::<Vec<_>>()
    };
    let cells = || Some(named("test", &[1, 2, 3]));
    let rerun = |story: &mut Story, failed_only: bool, only: Option<NamedJobs>| {
        let build = Box::new(WholeBuild { build: stored(1, 1), jobs: jobs(), attempts: vec![] });
        let lines = story.tell(Event::RerunAsked { request: RequestId(0), build, failed_only, only, by: None });
        let done = story.ordered.take();
        story.cancel(1);
        (lines, done)
    };
    let build = BuildId(1);
    let (lines, done) = rerun(&mut story, false, cells());
    assert_eq!(lines, ["b1 reopened", "j1 queued", "j2 queued", "j3 queued", "j4 waiting", "> done"]);
    assert_eq!(done, Some(OrderDone::Rerun { build, of: cells(), jobs: 4, named: 3 }));
    let (lines, done) = rerun(&mut story, true, cells());
    assert_eq!(lines, ["b1 reopened", "j2 queued", "j4 waiting", "> done"]);
    assert_eq!(done, Some(OrderDone::Rerun { build, of: cells(), jobs: 2, named: 1 }));
    let one = || Some(named("test@a", &[1]));
    let (lines, done) = rerun(&mut story, false, one());
    assert_eq!(lines, ["b1 reopened", "j1 queued", "j4 waiting", "j4 skipped (need_not_passed)", "> done"]);
    assert_eq!(done, Some(OrderDone::Rerun { build, of: one(), jobs: 1, named: 1 }), "what is skipped does not run");
    let (lines, _) = rerun(&mut story, true, one());
    refused(&mut story, &lines, "all_passed");
}

#[test]
fn a_task_that_cleans_up_runs_after_a_failure_alone() {
    let tasks = || {
        let clean = after("clean", &["deploy"], Condition::Failed);
        let report = after("report", &["deploy", "clean"], Condition::Finished);
        [task("deploy"), clean, report].map(PlannedTask::of).to_vec()
    };
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe_plan(None, 1, plan(tasks()));
    let lines = story.finish(1, 1, Outcome::Failed(1));
    assert_eq!(lines[..3], ["a1 failed", "j1 failed", "j2 queued"]);
    assert_eq!(story.finish(1, 2, Outcome::Passed)[..3], ["a2 passed", "j2 passed", "j3 queued"]);
    assert_eq!(story.finish(1, 3, Outcome::Passed)[..3], ["a3 passed", "j3 passed", "b1 failed"]);
    story.observe_plan(Some(1), 2, plan(tasks()));
    let lines = story.finish(1, 4, Outcome::Passed);
    assert_eq!(lines[..4], ["a4 passed", "j4 passed", "j5 left_out (nothing_failed)", "j6 queued"]);
    assert_eq!(story.finish(1, 5, Outcome::Passed)[..3], ["a5 passed", "j6 passed", "b2 passed"]);
}

#[test]
fn a_cancelled_build_runs_nothing_more_not_even_what_cleans_up() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    let clean = after("clean", &["deploy"], Condition::Finished);
    story.observe_plan(None, 1, plan([task("deploy"), clean].map(PlannedTask::of).to_vec()));
    assert_eq!(
        story.cancel(1),
        ["a1 cancelled", "> s1 cancel a1", "j1 cancelled", "j2 queued", "j2 cancelled", "b1 cancelled", "> done"]
    );
}
