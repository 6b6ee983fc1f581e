//! The promise about schedules.

use std::collections::BTreeMap;

use surveil::model::{Build, Record, RefName, RepoName, TriggerKind, WallTime};

use super::checkers::{demand, facts};
use super::history::{Entry, Fact};
use super::terms::Terms;

pub(super) fn is_of_schedule(build: &Build) -> bool {
    matches!(build.source.trigger.kind, TriggerKind::Schedule { .. })
}

/// A schedule fires once for each due time, never an earlier one after a later, and the time is recorded with the
/// build.
pub(super) fn s34(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut fired: BTreeMap<(RepoName, RefName, String), WallTime> = BTreeMap::new();
    let mut saved = None;
    for fact in facts(story) {
        match fact {
            Fact::Committed(Record::ScheduleSaved(schedule)) => saved = Some(schedule),
            Fact::Committed(Record::BuildAdded { build, .. }) => {
                let trigger = &build.source.trigger;
                if let TriggerKind::Schedule { name, due, .. } = &trigger.kind {
                    let is_saved = saved.is_some_and(|saved| saved.name == *name && saved.last_due == *due);
                    demand(is_saved, || format!("{} is of a time that was not recorded with it", build.id))?;
                    let key = (build.source.repo.clone(), trigger.reference.clone(), name.to_string());
                    let last = fired.insert(key, *due);
                    demand(last.is_none_or(|last| last < *due), || {
                        format!("{} is of the time {due:?} of {name}, after {last:?}", build.id)
                    })?;
                }
                saved = None;
            }
            // Records of one batch follow one another.
            Fact::Committed(_) => {}
            _ => saved = None,
        }
    }
    Ok(())
}
