//! Stories of tasks that take several slots of a runner.

use super::*;

fn large(name: &str, slots: u32) -> TaskSpec {
    TaskSpec { placement: Placement { slots: SlotCount(slots), ..Placement::default() }, ..task(name) }
}

fn statuses(story: &Story, build: u64) -> Vec<JobStatus> {
    story.scheduler.explain(story.now, BuildId(build)).into_iter().map(|(_, status)| status).collect()
}

fn w(n: u8) -> RunnerName {
    RunnerName::new(&format!("w{n}")).unwrap()
}

fn leases(lines: &[String]) -> Vec<&str> {
    lines.iter().filter(|line| line.contains(" leased to ")).map(String::as_str).collect()
}

/// Two small jobs run on a runner of two slots. Then a large job is queued, and behind it a small one.
fn behind_small_ones() -> Story {
    let mut story = Story::new();
    story.join(1, "w1", 2);
    story.observe("app", None, 1, vec![task("a"), task("b")]);
    story.observe("app", Some(1), 2, vec![large("big", 2)]);
    story.observe("app", Some(2), 3, vec![task("c")]);
    story
}

fn kept(free: u32) -> JobStatus {
    JobStatus::WaitsForSlots { waited_ms: 0, slots: 2, runner: w(1), free }
}

#[test]
fn a_job_of_several_slots_runs_beside_no_more_than_its_runner_has_room_for() {
    let mut story = Story::new();
    story.join(1, "w1", 3);
    let lines = story.observe("app", None, 1, vec![large("big", 2), task("a"), task("b")]);
    assert_eq!(leases(&lines).len(), 2, "{lines:?}");
    assert_eq!(statuses(&story, 1)[2].code(), "in_queue");
    let busy = |story: &Story| story.scheduler.runners(story.now)[0].busy;
    assert_eq!(busy(&story), 3);
    let lines = story.finish(1, 1, Outcome::Passed);
    assert_eq!(leases(&lines), ["j3 leased to r1 as a3 (number 1)"]);
    assert_eq!(busy(&story), 2);
}

#[test]
fn a_runner_is_kept_for_a_large_job_whose_turn_it_is_and_both_sides_say_so() {
    let mut story = behind_small_ones();
    assert_eq!(statuses(&story, 2)[0].code(), "in_queue", "no slot is free that could be kept");
    let lines = story.finish(1, 1, Outcome::Passed);
    assert_eq!(leases(&lines), [""; 0], "the small job would fit, and is not next");
    assert_eq!(statuses(&story, 2), [kept(1)]);
    let (build, task) = (BuildId(2), TaskName::new("big").unwrap());
    let for_big = JobStatus::SlotsKept { waited_ms: 0, runner: w(1), build, task, slots: 2 };
    assert_eq!(statuses(&story, 3), [for_big]);
    let lines = story.finish(1, 2, Outcome::Passed);
    assert_eq!(leases(&lines), ["j3 leased to r1 as a3 (number 1)"]);
    let lines = story.finish(1, 3, Outcome::Passed);
    assert_eq!(leases(&lines), ["j4 leased to r1 as a4 (number 1)"]);
}

#[test]
fn another_runner_that_has_room_gets_the_large_job_and_the_kept_one_gets_the_next() {
    let mut story = behind_small_ones();
    story.finish(1, 1, Outcome::Passed);
    let lines = story.join(2, "w2", 2);
    assert_eq!(leases(&lines), ["j3 leased to r2 as a3 (number 1)", "j4 leased to r1 as a4 (number 1)"]);
}

#[test]
fn a_runner_that_is_away_drained_or_lost_is_kept_for_nobody() {
    let mut story = behind_small_ones();
    story.finish(1, 1, Outcome::Passed);
    story.close(1);
    assert_eq!(statuses(&story, 2)[0].code(), "no_runner_fits");
    story.join_as(2, "w1", 1, 2, &[], &[2]);
    assert_eq!(statuses(&story, 2), [kept(1)], "it came back, and is kept again");
    story.drain(1);
    assert_eq!(statuses(&story, 2)[0].code(), "no_runner_fits");
    let lines = story.join(3, "w2", 1);
    assert_eq!(leases(&lines), ["j4 leased to r2 as a3 (number 1)"]);
}

#[test]
fn a_large_job_that_is_cancelled_lets_the_small_ones_go_on() {
    let mut story = behind_small_ones();
    story.finish(1, 1, Outcome::Passed);
    let lines = story.cancel(2);
    assert_eq!(leases(&lines), ["j4 leased to r1 as a3 (number 1)"]);
}

#[test]
fn small_jobs_that_are_first_in_line_are_not_held_up_by_a_large_one() {
    let mut story = Story::new();
    story.join(1, "w1", 2);
    story.observe("app", None, 1, vec![task("a"), task("b")]);
    story.observe("app", Some(1), 2, vec![task("c")]);
    story.observe("app", Some(2), 3, vec![large("big", 2)]);
    let lines = story.finish(1, 1, Outcome::Passed);
    assert_eq!(leases(&lines), ["j3 leased to r1 as a3 (number 1)"]);
}

#[test]
fn a_job_that_needs_more_slots_than_any_runner_has_says_so_and_is_errored_in_the_end() {
    let mut story = Story::new();
    story.join(1, "w1", 4);
    story.join(2, "w2", 2);
    story.observe("app", None, 1, vec![large("huge", 8)]);
    let fit = MissingFit::Slots { slots: 8, largest: 4 };
    assert_eq!(statuses(&story, 1), [JobStatus::NoRunnerFits { waited_ms: 0, fit: fit.clone() }]);
    let text = statuses(&story, 1)[0].to_string();
    assert_eq!(text, "queued for 0 s: no connected runner that fits has 8 slots, the largest has 4");
    story.join(3, "w3", 8);
    assert_eq!(story.scheduler.counts(), JobCounts { queued: 0, leased: 1 });
}
