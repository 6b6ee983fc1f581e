//! Reasons as SQLite keeps them: codes that are not known, and rows from before there were codes.

use rusqlite::Connection;

use super::*;
use crate::model::reason::{DecisionKind, PlacementReason, RecordedReason, StoredReason};

/// As a version without codes wrote it.
fn recorded(text: String) -> PlacementReason {
    RecordedReason { code: None, text }.into()
}

/// A store of a newer program, or one whose JSON makes no sense: the text stays, and no row is refused.
#[test]
fn a_code_that_is_not_known_leaves_the_text() {
    let place = Place::new();
    let mut store = place.store();
    store.commit(&passed_build(1)).unwrap();
    let decided = |kind| {
        let (at, build) = (WallTime(5), BuildId(1));
        Record::Decided(Decision { at, build, job: None, attempt: None, runner: None, kind })
    };
    store
        .commit(&[decided(DecisionKind::CancelAsked { by: None }), decided(DecisionKind::RerunAsked { by: None })])
        .unwrap();
    drop(store);
    let conn = Connection::open(place.path()).unwrap();
    conn.execute_batch(
        r#"UPDATE decisions SET text = 'it rained', reason = '{"code": "rain", "mm": 4}' WHERE id = 1;
           UPDATE decisions SET reason = 'torn' WHERE id = 2;
           UPDATE reasons SET reason = '{"code": "moon"}', seal = NULL;"#,
    )
    .unwrap();
    let reader = place.reader();
    let kinds: Vec<_> = reader.decisions(BuildId(1)).unwrap().into_iter().map(|(_, it)| it.kind).collect();
    assert_eq!((kinds[0].code(), &*kinds[0].to_string()), (Some("rain"), "it rained"));
    assert_eq!((kinds[1].code(), &*kinds[1].to_string()), (None, "run again by an operator"));
    let reason = reader.attempt(AttemptId(1)).unwrap().unwrap().reason;
    assert_eq!((reason.code(), &*reason.to_string()), (Some("moon"), "it had a free slot"));
}

/// One that an older program wrote has no code, until the same text is a reason again.
#[test]
fn a_reason_without_a_code_gets_it_when_it_comes_again() {
    let place = Place::new();
    let mut store = place.store();
    let lease = |id, reason| Record::AttemptLeased(Attempt { reason, ..attempt(id, id, 1, 1) });
    let old = recorded(PlacementReason::RepoWarm.to_string());
    store.commit(&[added(1, [1, 2]), lease(1, old.clone())]).unwrap();
    assert_eq!(place.reader().attempt(AttemptId(1)).unwrap().unwrap().reason, old);
    store.commit(&[lease(2, PlacementReason::RepoWarm)]).unwrap();
    let reader = place.reader();
    let reason = |id| reader.attempt(AttemptId(id)).unwrap().unwrap().reason;
    assert_eq!((reason(1), reason(2)), (PlacementReason::RepoWarm, PlacementReason::RepoWarm));
}
