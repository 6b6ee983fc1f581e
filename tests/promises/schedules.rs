//! The promise about triggers: each makes one build, and a schedule fires once for each time.

use std::collections::BTreeMap;

use surveil::model::{Build, BuildId, BuildSource, Record, RefName, RepoName, TriggerKind, WallTime};
use surveil::scheduler::{Effect, Event, Reply, RequestId};

use super::checkers::{demand, facts};
use super::history::{Entry, Fact};
use super::terms::Terms;

/// Whether a build is of a move of a ref, and not of a schedule or a person's request.
pub(super) fn is_of_move(build: &Build) -> bool {
    matches!(build.source.trigger.kind, TriggerKind::Push { .. } | TriggerKind::Tag { .. } | TriggerKind::Ref { .. })
}

/// One trigger, named by its kind, its ref and its key, makes one build, however often it is announced. The answer to a
/// request names the build of that request.
pub(super) fn s34_keys(story: &[Entry], _: &Terms) -> Result<(), String> {
    let key = |source: &BuildSource| {
        let trigger = &source.trigger;
        (source.repo.clone(), trigger.reference.clone(), trigger.kind.word(), trigger.key())
    };
    let mut builds = BTreeMap::new();
    let mut asked: BTreeMap<RequestId, &BuildSource> = BTreeMap::new();
    let mut made: BTreeMap<BuildId, BuildSource> = BTreeMap::new();
    for fact in facts(story) {
        match fact {
            Fact::Arrived(Event::BuildAsked { request, source, .. }) => drop(asked.insert(*request, source)),
            Fact::Committed(Record::BuildAdded { build, .. }) => {
                let earlier = builds.insert(key(&build.source), build.id);
                demand(earlier.is_none(), || format!("{earlier:?} and {} are of one trigger", build.id))?;
                made.insert(build.id, build.source.clone());
            }
            Fact::Released(Effect::Reply { request, reply: Reply::Accepted { build: Some(build), .. } }) => {
                let Some(source) = asked.remove(request) else { continue };
                let is_it = made.get(build) == Some(source);
                demand(is_it, || format!("{build} is named as the build of {source:?}, and is {:?}", made.get(build)))?;
            }
            _ => {}
        }
    }
    Ok(())
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
