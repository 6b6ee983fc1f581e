//! Which schedules fire: those of the task file at the accepted head of their branch, and each of them when it is due.

use std::collections::BTreeMap;

use surveil::model::{BuildSource, CommitId, Record, RefName, RepoName, ScheduleRule, TriggerKind, WallTime};
use surveil::scheduler::Event;

use super::{Book, Judge, Step, follow, of_ref, planned};
use crate::promises::checkers::demand;
use crate::promises::history::Entry;
use crate::promises::schedules::is_of_move;
use crate::promises::terms::Terms;

/// A schedule that comes due fires if the accepted head of its branch has it, once for each time, and no time before
/// the schedule was written or changed. No other build of a schedule is made (S34).
pub(in crate::promises) fn s34(story: &[Entry], terms: &Terms) -> Result<(), String> {
    follow::<Schedules>(story, terms)
}

type Ref = (RepoName, RefName);

#[derive(Default)]
struct Schedules {
    heads: BTreeMap<Ref, CommitId>,
    /// The schedules of each head, by name.
    rules: BTreeMap<Ref, BTreeMap<String, ScheduleRule>>,
    /// Times up to this one are over: the last that fired, or the one at which the schedule was written or changed.
    over: BTreeMap<(Ref, String), WallTime>,
    /// The schedule that fires in this step, with its time.
    due: Option<(Ref, String, WallTime)>,
}

impl Judge for Schedules {
    fn begin(&mut self, _: &Book, step: &Step<'_>) {
        self.due = if let Event::ScheduleDue { source, .. } = step.event { self.fires(source) } else { None };
    }

    fn record(&mut self, _: &Book, step: &Step<'_>, record: &Record) -> Result<(), String> {
        match record {
            Record::HeadMoved { repo, reference, head, .. } => {
                let key = (repo.clone(), reference.clone());
                match head {
                    Some(head) => drop(self.heads.insert(key, *head)),
                    None => {
                        self.heads.remove(&key);
                        self.rules.remove(&key);
                    }
                }
            }
            Record::BuildAdded { build, .. } if is_of_move(build) => {
                let key = of_ref(&build.source);
                let schedules = planned(step.event).map(|(_, plan)| plan.schedules.as_slice()).unwrap_or_default();
                let before = self.rules.remove(&key).unwrap_or_default();
                let mut rules = BTreeMap::new();
                for schedule in schedules {
                    let name = schedule.name.to_string();
                    if before.get(&name) != Some(&schedule.rule) {
                        let over = self.over.entry((key.clone(), name.clone())).or_insert(build.created_at);
                        *over = build.created_at.max(*over);
                    }
                    rules.insert(name, schedule.rule.clone());
                }
                self.rules.insert(key, rules);
            }
            Record::BuildAdded { build, .. } => {
                let TriggerKind::Schedule { name, due, .. } = &build.source.trigger.kind else { return Ok(()) };
                let expected = self.due.take();
                let is_it = expected.as_ref().is_some_and(|(_, of, at)| *of == **name && at == due);
                demand(is_it, || format!("{} fires {name} of {due:?}, which is not to fire", build.id))?;
                self.over.insert((of_ref(&build.source), name.to_string()), *due);
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, _: &Book, _: &Step<'_>) -> Result<(), String> {
        demand(self.due.is_none(), || format!("{:?} came due and does not fire", self.due))
    }
}

impl Schedules {
    /// Whether the time of a schedule is to fire.
    fn fires(&self, source: &BuildSource) -> Option<(Ref, String, WallTime)> {
        let TriggerKind::Schedule { name, due, .. } = &source.trigger.kind else { return None };
        let (key, name) = (of_ref(source), name.to_string());
        let is_there = self.rules.get(&key).is_some_and(|rules| rules.contains_key(&name));
        let is_head = self.heads.get(&key) == Some(&source.commit);
        let is_over = self.over.get(&(key.clone(), name.clone())).is_some_and(|over| due <= over);
        (is_there && is_head && !is_over).then_some((key, name, *due))
    }
}
