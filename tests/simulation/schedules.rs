//! The thread that tells of schedules that have come due, as `src/dispatcher/schedules.rs` does. In a world with
//! schedules the wall clock runs with the time of the world, and is sometimes set forward or back.

use surveil::model::{
    BuildSource, CommitId, Plan, PlannedSchedule, Schedule, ScheduleRule, Trigger, TriggerKind, Trust, WallTime,
};
use surveil::scheduler::Event;

use crate::dice::Dice;
use crate::dispatcher::Input;
use crate::world::{Happening, World};

/// Interval between two looks at the wall clock.
pub(crate) const CHECK_MS: u64 = 500;
/// Share of the worlds that have schedules, in percent.
const SCHEDULED: u64 = 20;

/// A wall clock that runs.
#[derive(Debug)]
pub(crate) struct Calendar {
    dice: Dice,
    /// The time by which it was set forward since the world began.
    set_forward: i64,
}

impl Calendar {
    /// The wall clock of a world that has schedules.
    pub(crate) fn of(seed: u64) -> Option<Self> {
        let mut dice = Dice::new(seed ^ 0xca1);
        dice.percent(SCHEDULED).then_some(Self { dice, set_forward: 0 })
    }

    pub(crate) fn at(&self, now: u64) -> WallTime {
        WallTime(1_700_000_000_000 + now.cast_signed() + self.set_forward)
    }
}

/// Adds schedules to the plan of a commit. Their cron line is a period in milliseconds.
pub(crate) fn add_schedules(plan: &mut Plan, commit: CommitId) {
    let byte = commit.as_bytes()[2];
    let rule = |period: &str| ScheduleRule { cron: period.into(), timezone: "UTC".into() };
    let planned = |name: &str, period| PlannedSchedule { name: name.into(), rule: rule(period), names_tasks: false };
    if !byte.is_multiple_of(5) {
        plan.schedules.push(planned("nightly", if byte.is_multiple_of(2) { "3000" } else { "7000" }));
    }
    if byte.is_multiple_of(3) {
        plan.schedules.push(planned("weekly", "20000"));
    }
}

impl World {
    pub(crate) fn check_schedules(&mut self, start: u64) {
        let Some(calendar) = &mut self.calendar else { return };
        if start != self.dispatcher.start || self.is_calm {
            return;
        }
        if calendar.dice.percent(4) {
            calendar.set_forward += calendar.dice.ms(0, 80_000).cast_signed() - 40_000;
        }
        let wall = calendar.at(self.now);
        self.plan(self.now + CHECK_MS, Happening::Schedules(start));
        let Some(scheduler) = &self.dispatcher.scheduler else { return };
        for schedule in scheduler.schedules() {
            let head = self.dispatcher.scheduler.as_ref().and_then(|it| it.head(&schedule.repo, &schedule.reference));
            if let Some(event) = head.and_then(|head| self.due(&schedule, head, wall)) {
                self.enqueue(Input::Event(event));
            }
        }
    }

    /// The event of a schedule that is due: of several missed times the newest.
    fn due(&self, schedule: &Schedule, head: CommitId, wall: WallTime) -> Option<Event> {
        let Schedule { repo, reference, name, rule, last_due } = schedule;
        let period: i64 = rule.as_ref()?.cron.parse().ok()?;
        let due = WallTime(wall.0 / period * period);
        if due <= *last_due {
            return None;
        }
        let plan = self.repos.iter().find(|it| it.name == *repo)?.plans.get(&head)?.clone();
        let kind = TriggerKind::Schedule { name: name.clone(), due, timezone: "UTC".into() };
        let trigger = Trigger { kind, reference: reference.clone(), trust: Trust::Trusted };
        let (subject, author) = (String::new(), String::new());
        let source = BuildSource { repo: repo.clone(), commit: head, trigger, subject, author };
        Some(Event::ScheduleDue { source: Box::new(source), plan })
    }
}
