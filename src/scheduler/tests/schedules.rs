//! Stories of schedules: each time fires once, whatever is restarted.

use super::*;

fn planned(name: &str, cron: &str) -> PlannedSchedule {
    let rule = ScheduleRule { cron: cron.into(), timezone: "UTC".into() };
    PlannedSchedule { name: name.into(), rule, names_tasks: false }
}

fn plan(schedules: &[PlannedSchedule]) -> Plan {
    Plan { schedules: schedules.to_vec(), ..Plan::of(vec![task("a")]) }
}

impl Story {
    /// The schedule of main comes due at this time, and the plan was made of this commit.
    fn due(&mut self, name: &str, due: i64, at: u8) -> Vec<String> {
        let mut source = source("app", None, at);
        let (name, timezone) = (name.into(), "UTC".into());
        source.trigger.kind = TriggerKind::Schedule { name, due: WallTime(due), timezone };
        self.tell(Event::ScheduleDue { source: Box::new(source), plan: Ok(Plan::of(vec![task("a")])) })
    }

    fn restart(&mut self) {
        let schedules = self.scheduler.schedules();
        let heads = self.scheduler.heads(&RepoName::new("app").unwrap());
        let app = RepoName::new("app").unwrap();
        let heads = heads.into_iter().map(|(reference, head)| (app.clone(), reference, head)).collect();
        let restored = Snapshot { schedules, heads, last_build: 9, last_job: 9, ..Snapshot::default() };
        self.scheduler = Scheduler::restore(policy(), self.now, restored);
    }
}

#[test]
fn a_time_fires_once_over_restarts_and_is_recorded_with_its_build() {
    let mut story = Story::new();
    story.wall = 100;
    let accepted = ["schedule nightly 0 3 * * * after 100", "build b1 added with 1 jobs", "> accepted as b1"];
    assert_eq!(story.observe_plan(None, 1, plan(&[planned("nightly", "0 3 * * *")])), accepted);
    assert_eq!(story.due("nightly", 100, 1), [""; 0], "that time was over when the schedule came");
    let fired = ["schedule nightly 0 3 * * * after 200", "build b2 added with 1 jobs"];
    assert_eq!(story.due("nightly", 200, 1), fired);
    assert_eq!(story.due("nightly", 200, 1), [""; 0]);
    story.restart();
    for (wall, due) in [(250, 200), (50, 150)] {
        story.wall = wall;
        assert_eq!(story.due("nightly", due, 1), [""; 0], "the wall clock shows {wall}");
    }
    assert_eq!(story.due("nightly", 300, 1), ["schedule nightly 0 3 * * * after 300", "build b10 added with 1 jobs"]);
}

#[test]
fn a_schedule_moves_with_the_head_of_its_branch() {
    let mut story = Story::new();
    story.wall = 100;
    story.observe_plan(None, 1, plan(&[planned("nightly", "0 3 * * *"), planned("weekly", "0 3 * * 0")]));
    story.wall = 200;
    // One is unchanged, one changes: what came due before by the old line is over.
    let next = plan(&[planned("nightly", "0 4 * * *"), planned("weekly", "0 3 * * 0")]);
    assert_eq!(story.observe_plan(Some(1), 2, next)[0], "schedule nightly 0 4 * * * after 200");
    assert_eq!(story.due("nightly", 150, 2), [""; 0]);
    assert_eq!(story.due("nightly", 250, 1), [""; 0], "the plan is of an old head");
    assert_eq!(story.due("weekly", 150, 2).len(), 2);
    let lines = story.observe_plan(Some(2), 3, plan(&[planned("weekly", "0 3 * * 0")]));
    assert_eq!(lines[0], "schedule nightly ended");
    assert_eq!(story.due("nightly", 900, 3), [""; 0]);
    assert_eq!(story.scheduler.schedules().len(), 1);
}

#[test]
fn a_broken_task_file_and_the_end_of_the_branch_end_its_schedules() {
    let mut story = Story::new();
    story.observe_plan(None, 1, plan(&[planned("nightly", "0 3 * * *")]));
    let (request, source) = (RequestId(8), Box::new(source("app", Some(1), 2)));
    let lines = story.tell(Event::CommitObserved { request, source, plan: Err("line 1".into()), seen: None });
    assert_eq!(lines[0], "schedule nightly ended");
    story.observe_plan(Some(2), 3, plan(&[planned("nightly", "0 3 * * *")]));
    let (repo, reference) = (RepoName::new("app").unwrap(), RefName::of_branch("main"));
    let gone = Event::RefGone { request, repo, reference, before: commit(3), seen: None };
    let told = story.tell(gone);
    assert_eq!(told[..2], ["schedule nightly ended", "head dropped"], "{told:?}");
    assert_eq!(story.due("nightly", 900, 3), [""; 0]);
}

/// The clock was ahead by a day when the schedule fired. A time that fired then does not fire again, even if the
/// schedule went away in between.
#[test]
fn a_wall_clock_that_is_set_back_fires_no_time_again() {
    let mut story = Story::new();
    let nightly = || plan(&[planned("nightly", "0 3 * * *")]);
    story.observe_plan(None, 1, nightly());
    story.wall = 90_000;
    assert_eq!(story.due("nightly", 90_000, 1).len(), 2);
    story.wall = 1_000;
    story.observe_plan(Some(1), 2, plan(&[]));
    assert_eq!(story.observe_plan(Some(2), 1, nightly())[0], "schedule nightly 0 3 * * * after 90000");
    assert_eq!(story.due("nightly", 90_000, 1), [""; 0]);
}
