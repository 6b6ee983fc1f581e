//! Stories of builds: announced, executed in the order of their needs, tried again, cancelled, run again.

use super::*;
use crate::model::reason::TimeoutReason;

#[test]
fn a_commit_goes_from_observed_to_passed() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    assert_eq!(
        story.observe("app", None, 1, vec![task("lint")]),
        ["build b1 added with 1 jobs", "> accepted as b1", "j1 leased to r1 as a1 (number 1)", "> s1 lease a1"]
    );
    assert_eq!(story.finish(1, 1, Outcome::Passed), ["a1 passed", "j1 passed", "b1 passed", "> s1 recorded a1"]);
    assert_eq!(story.finish(1, 1, Outcome::Passed), ["> s1 recorded a1"]);
}

#[test]
fn every_promise_comes_after_its_record() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    let lines = story.observe("app", None, 1, vec![task("lint")]);
    let at = |text: &str| lines.iter().position(|line| line.contains(text)).unwrap();
    assert!(at("added") < at("accepted"));
    assert!(at("leased") < at("> s1 lease"));
}

#[test]
fn an_announcement_that_is_repeated_makes_one_build() {
    let mut story = Story::new();
    story.observe("app", None, 1, vec![task("lint")]);
    assert_eq!(story.observe("app", None, 1, vec![task("lint")]), ["> accepted as b1"]);
    story.observe("app", Some(1), 2, vec![task("lint")]);
    assert_eq!(story.observe("app", None, 1, vec![task("lint")]), [format!("> stale, head is Some({:?})", commit(2))]);
}

#[test]
fn a_request_that_comes_again_makes_no_second_build_and_moves_no_head() {
    let mut story = Story::new();
    story.observe("app", None, 1, vec![task("lint")]);
    let mut ask = |earlier: Option<u64>| {
        let kind = TriggerKind::Manual { id: TriggerId([7; 16]), by: None };
        let trigger = Trigger { kind, reference: RefName::new("refs/heads/main"), trust: Trust::Trusted };
        let source = Box::new(BuildSource { trigger, ..source("app", None, 2) });
        let (request, plan) = (RequestId(8), Ok(Plan::of(vec![task("lint")])));
        story.tell(Event::BuildAsked { request, source, plan, earlier: earlier.map(BuildId) })
    };
    assert_eq!(ask(None), ["build b2 added with 1 jobs", "> accepted as b2"]);
    assert_eq!(ask(Some(2)), ["> accepted as b2"]);
    assert_eq!(story.scheduler.heads(&RepoName::new("app").unwrap())[0].1.commit, commit(1));
    assert_eq!(announce(&mut story, Some(1), 2, Some(1)), made(3), "the branch moves to the same commit");
}

/// Announces a commit of the main branch, as an observer that knows of this many moves.
fn announce(story: &mut Story, before: Option<u8>, at: u8, seen: Option<u64>) -> Vec<String> {
    let source = Box::new(source("app", before, at));
    story.tell(Event::CommitObserved { request: RequestId(9), source, plan: Err("no tasks".into()), seen })
}

fn end_branch(story: &mut Story, before: u8, seen: Option<u64>) -> Vec<String> {
    let (request, repo, reference) = (RequestId(9), RepoName::new("app").unwrap(), RefName::of_branch("main"));
    story.tell(Event::RefGone { request, repo, reference, before: commit(before), seen })
}

fn made(build: u64) -> Vec<String> {
    vec![format!("build b{build} added with 0 jobs"), format!("b{build} errored"), format!("> accepted as b{build}")]
}

#[test]
fn a_branch_that_comes_back_to_a_commit_gets_another_build_of_it() {
    for numbers in [false, true] {
        let seen = |moves| numbers.then_some(moves);
        let mut story = Story::new();
        assert_eq!(announce(&mut story, None, 1, seen(0)), made(1));
        assert_eq!(announce(&mut story, Some(1), 2, seen(1)), made(2));
        assert_eq!(announce(&mut story, Some(2), 1, seen(2)), made(3));
        assert_eq!(announce(&mut story, Some(1), 2, seen(3)), made(4), "the second move from 1 to 2");
        assert_eq!(announce(&mut story, Some(1), 2, seen(3)), ["> accepted as b4"], "the same move again");
        assert_eq!(end_branch(&mut story, 2, seen(4)), ["head dropped", "> accepted"]);
        assert_eq!(announce(&mut story, None, 1, seen(5)), made(5), "a branch that is made again");
        assert_eq!(announce(&mut story, None, 1, seen(5)), ["> accepted as b5"]);
    }
}

/// The heads alone cannot tell: the branch has come back to the head that the late announcement starts from.
#[test]
fn an_announcement_from_before_the_last_move_is_stale_and_makes_no_build() {
    let mut story = Story::new();
    announce(&mut story, None, 1, Some(0));
    announce(&mut story, Some(1), 2, Some(1));
    announce(&mut story, Some(2), 1, Some(2));
    let stale = [format!("> stale, head is Some({:?})", commit(1))];
    assert_eq!(announce(&mut story, Some(1), 2, Some(1)), stale);
    assert_eq!(end_branch(&mut story, 1, Some(1)), stale, "the branch that ended was another");
    end_branch(&mut story, 1, Some(3));
    assert_eq!(announce(&mut story, None, 1, Some(0)), ["> stale, head is None"]);
    assert_eq!(announce(&mut story, None, 1, Some(4)), made(4));
}

#[test]
fn moves_are_numbered_on_after_a_restart() {
    let mut story = Story::new();
    announce(&mut story, None, 1, Some(0));
    announce(&mut story, Some(1), 2, Some(1));
    let app = RepoName::new("app").unwrap();
    let head = AcceptedHead { commit: commit(2), number: 2, build: Some(BuildId(2)), is_noted: false };
    let heads = vec![(app.clone(), RefName::of_branch("main"), head)];
    let snapshot = Snapshot { heads, ends: vec![(app.clone(), 7)], last_build: 2, ..Snapshot::default() };
    story.scheduler = Scheduler::restore(policy(), story.now, snapshot);
    assert_eq!(story.scheduler.moves(&app), 7, "the end of some branch was the last move");
    assert_eq!(announce(&mut story, Some(1), 2, Some(1)), ["> accepted as b2"], "an answer was lost");
    assert_eq!(announce(&mut story, Some(2), 1, Some(7)), made(3));
    assert_eq!(story.scheduler.moves(&app), 8);
    assert_eq!(announce(&mut story, Some(1), 2, Some(7)), [format!("> stale, head is Some({:?})", commit(1))]);
}

#[test]
fn a_commit_without_tasks_is_errored() {
    let mut story = Story::new();
    let plan = Err("no tasks".into());
    let event =
        Event::CommitObserved { request: RequestId(1), source: Box::new(source("app", None, 1)), plan, seen: None };
    assert_eq!(story.tell(event), ["build b1 added with 0 jobs", "b1 errored", "> accepted as b1"]);
}

#[test]
fn needs_are_a_graph_and_a_failure_skips_what_hangs_on_it() {
    let mut story = Story::new();
    story.join(1, "w1", 4);
    story.observe(
        "app",
        None,
        1,
        vec![task("a"), needing("b", &["a"]), needing("c", &["b"]), needing("d", &["b", "c"]), task("e")],
    );
    assert_eq!(story.finish(1, 1, Outcome::Passed), hands_on_to(3));
    assert_eq!(
        story.finish(1, 3, Outcome::Failed(1)),
        ["a3 failed", "j2 failed", "j4 skipped (need_not_passed)", "j3 skipped (need_not_passed)", "> s1 recorded a3"]
    );
    assert_eq!(story.finish(1, 2, Outcome::Passed), ["a2 passed", "j5 passed", "b1 failed", "> s1 recorded a2"]);
}

#[test]
fn an_allowed_failure_stops_nothing() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    let lint = TaskSpec { placement: Placement { allow_failure: true, ..Placement::default() }, ..task("lint") };
    story.observe("app", None, 1, vec![lint, needing("test", &["lint"])]);
    story.finish(1, 1, Outcome::Failed(1));
    assert_eq!(story.finish(1, 2, Outcome::Passed), ["a2 passed", "j2 passed", "b1 passed", "> s1 recorded a2"]);
}

#[test]
fn a_failed_attempt_is_tried_again_as_often_as_the_task_says() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe(
        "app",
        None,
        1,
        vec![TaskSpec { placement: Placement { retries: 1, ..Placement::default() }, ..task("test") }],
    );
    assert_eq!(
        story.finish(1, 1, Outcome::TimedOut(TimeoutReason::Whole)),
        ["a1 timed_out", "j1 queued", "> s1 recorded a1", "j1 leased to r1 as a2 (number 2)", "> s1 lease a2"]
    );
    assert_eq!(story.finish(1, 2, Outcome::Failed(1)), ["a2 failed", "j1 failed", "b1 failed", "> s1 recorded a2"]);
}

#[test]
fn a_cancel_is_in_force_at_once_and_the_slot_stays_taken_until_the_runner_has_ended_it() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a"), needing("b", &["a"])]);
    assert_eq!(
        story.cancel(1),
        ["a1 cancelled", "> s1 cancel a1", "j1 cancelled", "j2 skipped (need_not_passed)", "b1 cancelled", "> done"]
    );
    story.observe("app", Some(1), 2, vec![task("a")]);
    assert_eq!(
        story.finish(1, 1, Outcome::Cancelled),
        ["> s1 recorded a1", "j3 leased to r1 as a2 (number 1)", "> s1 lease a2"]
    );
    assert_eq!(story.cancel(1), ["> done"], "it is over, and that was asked for");
}

#[test]
fn the_result_of_a_cancelled_attempt_gets_the_same_answer_also_when_its_runner_was_given_up() {
    let mut story = Story::new();
    story.join(1, "w1", 1);
    story.observe("app", None, 1, vec![task("a")]);
    story.cancel(1);
    story.close(1);
    assert!(story.tick_until(1_000).is_empty());
    assert_eq!(story.join_as(2, "w1", 1, 1, &[], &[1]), ["> s2 registered, holds [], gone [AttemptId1]"]);
    assert_eq!(story.finish(2, 1, Outcome::Cancelled), ["> s2 recorded a1"]);
}

#[test]
fn a_rerun_makes_new_attempts_beside_the_old_ones() {
    let mut story = Story::new();
    story.join(1, "w1", 2);
    story.observe("app", None, 1, vec![task("a"), task("b"), needing("c", &["b"])]);
    story.finish(1, 1, Outcome::Passed);
    story.finish(1, 2, Outcome::Failed(1));
    let build = stored_build(1, Some(crate::model::Verdict::Failed));
    let job = |id: u64, task: TaskSpec, ending: crate::model::Ending| crate::model::Job {
        id: JobId(id),
        build: BuildId(1),
        task: Arc::new(task),
        state: JobState::Finished(ending),
        attempts: 1,
        failures: 1,
        losses: 0,
    };
    let skipped = SkipReason::NeedNotPassed { task: TaskName::recorded("b"), how: EndingKind::Failed };
    let jobs = vec![
        job(1, task("a"), Ending::Passed),
        job(2, task("b"), Ending::Failed),
        job(3, needing("c", &["b"]), Ending::Skipped(Box::new(skipped))),
    ];
    let restored = WholeBuild { build, jobs, attempts: vec![] };
    assert_eq!(
        story.tell(Event::RerunAsked {
            request: RequestId(1),
            build: Box::new(restored),
            failed_only: true,
            only: None,
            by: None
        }),
        ["b1 reopened", "j2 queued", "j3 waiting", "> done", "j2 leased to r1 as a3 (number 2)", "> s1 lease a3"]
    );
    story.finish(1, 3, Outcome::Passed);
    assert_eq!(story.finish(1, 4, Outcome::Passed), ["a4 passed", "j3 passed", "b1 passed", "> s1 recorded a4"]);
}
