//! Removal of builds: what goes, what stays, and what is still known of a removed build.

use super::MakePlace;
use super::values::{added, commit_id, passed_build};
use crate::model::{AttemptId, BuildId, Record, RefName, RepoName, WallTime};
use crate::store::{Rule, Surveyed};

const AT: WallTime = WallTime(1_700_000_009_000);

fn head(id: u64) -> Record {
    Record::HeadMoved {
        repo: RepoName::new("app").unwrap(),
        reference: RefName::of_branch("main"),
        head: Some(commit_id(id)),
        number: id,
    }
}

pub(super) fn forgotten_builds_leave_nothing_but_their_numbers_and_why_they_went(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    for id in 1..=4 {
        store.commit(&passed_build(id)).unwrap();
    }
    store.commit(&[head(2), added(5, [5])]).unwrap();
    let ids: Vec<BuildId> = (1..=5).map(BuildId).collect();
    // The build of the present head and the unfinished build stay, although they are asked for.
    assert_eq!(store.forget(&ids, Rule::Count, AT).unwrap(), [1, 3, 4].map(BuildId));
    assert_eq!(store.forget(&ids, Rule::Age, AT).unwrap(), []);
    let reader = place.reader();
    assert_eq!(reader.attempts(BuildId(1)).unwrap(), []);
    assert_eq!(reader.forgotten(BuildId(3)).unwrap(), Some((Rule::Count, AT)));
    assert_eq!(reader.forgotten(BuildId(2)).unwrap(), None);
    assert!(reader.attempt(AttemptId(2)).unwrap().is_some());
    reader.check(&mut drop).unwrap();
    drop(store);
    let unfinished = place.open().snapshot().unwrap();
    assert_eq!((unfinished.last_build, unfinished.last_job, unfinished.last_attempt), (5, 5, 4));
    assert_eq!(reader.last_build().unwrap(), BuildId(5));
}

pub(super) fn a_survey_tells_of_each_build_what_its_removal_depends_on(make: MakePlace) {
    let place = make();
    let mut store = place.open();
    store.commit(&passed_build(1)).unwrap();
    store.commit(&passed_build(2)).unwrap();
    store.commit(&[head(2), added(3, [3])]).unwrap();
    let mut seen = Vec::new();
    let mut note = |it: Surveyed| seen.push((it.id.0, it.lives, it.is_head, it.finished_at.is_some(), it.passed));
    place.reader().survey(&mut note).unwrap();
    let expected = [(3, true, false, false, false), (2, true, true, true, true), (1, true, false, true, true)];
    assert_eq!(seen, expected);
}
