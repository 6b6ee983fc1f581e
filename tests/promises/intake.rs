//! The promises about announcements: S1 to S3.

use std::collections::{BTreeMap, BTreeSet};

use surveil::model::{BuildId, Record, RefName, RepoName};
use surveil::scheduler::{Effect, Reply};

use super::checkers::{demand, facts};
use super::history::{Announcement, Entry, Fact};
use super::schedules;
use super::terms::Terms;

/// A commit that was acknowledged is durable, before the acknowledgement leaves.
pub(super) fn s1(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut builds: BTreeMap<BuildId, Announcement> = BTreeMap::new();
    let mut acknowledged = BTreeSet::new();
    for fact in facts(story) {
        match fact {
            Fact::Committed(Record::BuildAdded { build, .. }) => {
                builds.insert(build.id, Announcement::of(&build.source));
            }
            Fact::Released(Effect::Reply { reply: Reply::Accepted { build: Some(build), .. }, .. }) => {
                demand(builds.contains_key(build), || format!("{build} is acknowledged and not durable"))?;
            }
            Fact::Acknowledged { announcement, build } => {
                // Another observer may have announced the same head from an earlier one.
                let of = |it: &Announcement| (it.repo.clone(), it.reference.clone(), it.after);
                let same = builds.get(build).map(of) == Some(of(announcement));
                demand(same, || format!("{announcement:?} was acknowledged as {build}, which is another or lost"))?;
                acknowledged.insert(*build);
            }
            Fact::Kept { builds } => {
                let lost: Vec<_> = acknowledged.difference(builds).collect();
                demand(lost.is_empty(), || format!("{lost:?} were acknowledged and are not there any more"))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Each move of a branch makes one build, and a repetition of the announcement makes none. An observer that knows of
/// the last move has announced the next one after it. (Where the announcements cannot be seen, the rest is checked.)
pub(super) fn s2(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut builds: BTreeMap<(RepoName, u64), BuildId> = BTreeMap::new();
    let mut last: BTreeMap<(RepoName, RefName), usize> = BTreeMap::new();
    let mut announced: BTreeMap<Announcement, usize> = BTreeMap::new();
    let (mut moved, mut unbuilt) = (None, None);
    for (at, fact) in facts(story).enumerate() {
        match fact {
            Fact::Announced(announcement) => drop(announced.insert(announcement.clone(), at)),
            Fact::Decided(Effect::Persist(Record::HeadMoved { repo, reference, .. })) => {
                moved = last.insert((repo.clone(), reference.clone()), at);
            }
            // A build that a schedule or a person asked for follows no announcement, and is no move.
            Fact::Decided(Effect::Persist(Record::BuildAdded { build, .. }))
            | Fact::Committed(Record::BuildAdded { build, .. })
                if !schedules::is_of_move(build) => {}
            Fact::Decided(Effect::Persist(Record::BuildAdded { build, .. })) if !announced.is_empty() => {
                let announced = announced.get(&Announcement::of(&build.source)).copied();
                let is_new = announced.is_some_and(|announced| moved.is_none_or(|moved| moved < announced));
                demand(is_new, || format!("{} is of an announcement from before the branch's last move", build.id))?;
            }
            Fact::Committed(Record::HeadMoved { repo, head, number, .. }) => {
                demand(unbuilt.is_none(), || format!("the move {unbuilt:?} has no build"))?;
                unbuilt = head.filter(|_| *number > 0).map(|_| (repo.clone(), *number));
            }
            Fact::Committed(Record::BuildAdded { build, .. }) => {
                let key = (build.source.repo.clone(), build.source.trigger.number());
                if unbuilt.as_ref() == Some(&key) {
                    unbuilt = None;
                }
                let earlier = builds.insert(key, build.id);
                demand(earlier.is_none(), || format!("{} and {earlier:?} are of one move", build.id))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// In the end the accepted heads are the repositories' heads, and each has a build, except for those that were there at
/// the first look. There is one first look at each pattern.
pub(super) fn s3(story: &[Entry], _: &Terms) -> Result<(), String> {
    let mut accepted = BTreeMap::new();
    let (mut built, mut looked, mut noted) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for fact in facts(story) {
        match fact {
            Fact::Committed(Record::RefsNoted { repo, refs, patterns, .. }) => {
                for pattern in patterns {
                    let is_first = looked.insert((repo.clone(), pattern.clone()));
                    demand(is_first, || format!("{pattern} of {repo} has a second first look"))?;
                }
                for (reference, head) in refs {
                    accepted.insert((repo.clone(), reference.clone()), *head);
                    noted.insert((repo.clone(), reference.clone()));
                }
            }
            Fact::Committed(Record::HeadMoved { repo, reference, head, .. }) => {
                let key = (repo.clone(), reference.clone());
                noted.remove(&key);
                match head {
                    Some(head) => accepted.insert(key, *head),
                    None => accepted.remove(&key),
                };
            }
            Fact::Committed(Record::BuildAdded { build, .. }) if schedules::is_of_move(build) => {
                let source = &build.source;
                built.insert((source.repo.clone(), source.trigger.reference.clone(), source.commit));
            }
            Fact::Ended { heads } => {
                for head in heads {
                    let is_noted = noted.contains(&(head.0.clone(), head.1.clone()));
                    demand(built.contains(head) || is_noted, || format!("{head:?} was never built"))?;
                }
                let real: BTreeMap<_, _> = heads.iter().map(|(r, b, head)| ((r.clone(), b.clone()), *head)).collect();
                demand(accepted == real, || format!("accepted heads are {accepted:?}, the real ones {real:?}"))?;
            }
            _ => {}
        }
    }
    Ok(())
}
