//! Backups and restorations of a store: what a copy holds, why it is refused, and from where its numbers go on.

use std::fs;

use super::super::{back_up, restore, wal};
use super::*;

/// Some second of the year 2026.
const NOW: WallTime = WallTime(1_780_000_000_000);

fn backup_of(place: &Place) -> Place {
    let copy = Place::new();
    back_up(&place.path(), &copy.path()).unwrap();
    copy
}

fn restored(copy: &Place, at: WallTime) -> Place {
    let place = Place::new();
    restore(&copy.path(), &place.path(), at).unwrap().put_in_place().unwrap();
    place
}

/// S4, S5: a copy of a store at work holds what was committed, and leaves nothing beside it.
#[test]
fn a_backup_is_a_state_that_was_committed_whether_a_writer_is_at_work_or_not() {
    let place = Place::new();
    let mut store = place.store();
    store.commit(&passed_build(1)).unwrap();
    let first = backup_of(&place);
    store.commit(&passed_build(2)).unwrap();
    drop(store);
    let second = backup_of(&place);
    for (copy, builds) in [(first, 1), (second, 2)] {
        let mut seen = 0;
        copy.reader()
            .check(&mut |WholeBuild { build, jobs, attempts }| {
                assert_eq!((jobs.len(), attempts.len()), (1, 1), "{build:?}");
                seen += 1;
            })
            .unwrap();
        assert_eq!(seen, builds);
        let names: Vec<_> = copy.directory.path().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["surveil.db"], "one file, nothing beside it");
        assert!(matches!(back_up(&place.path(), &copy.path()), Err(StoreError::Failed { .. })), "nothing is replaced");
    }
}

/// S6, S7. Sabotage: without the check of the mark, the last attempt's number is given out again.
#[test]
fn a_backup_is_no_store_to_go_on_with() {
    let place = Place::new();
    place.store().commit(&passed_build(1)).unwrap();
    let copy = backup_of(&place);
    let error = Writer::open(&copy.path()).unwrap_err();
    assert!(matches!(error, StoreError::IsBackup { .. }), "{error:?}");
    assert!(error.to_string().contains("surveil restore"), "{error}");
}

/// S6, S7. Sabotage: with numbers that go on where the backup ends, a build's number of the lost time comes back.
#[test]
fn numbers_go_on_beyond_all_that_was_given_out_since_the_backup_also_when_it_is_restored_again() {
    let place = Place::new();
    let mut store = place.store();
    store.commit(&passed_build(1)).unwrap();
    let copy = backup_of(&place);
    store.commit(&passed_build(2)).unwrap();
    let mut lost = store.snapshot().unwrap();
    for hours in 1..4 {
        let place = restored(&copy, WallTime(NOW.0 + hours * 3_600_000));
        let mut store = place.store();
        let now = store.snapshot().unwrap();
        assert_eq!(place.reader().build(BuildId(1)).unwrap().unwrap().id, BuildId(1), "what was there is there");
        assert_eq!(place.reader().build(BuildId(2)).unwrap(), None);
        assert!(
            now.last_build > lost.last_build && now.last_attempt > lost.last_attempt && now.last_job > lost.last_job
        );
        assert!(now.last_attempt < 1 << 53, "readers of JSON take it for an integer");
        // A restored store is used for a while before the same backup is needed again.
        let id = now.last_build + 3000;
        store
            .commit(&[
                added(id, [now.last_job + 90_000]),
                Record::AttemptLeased(attempt(now.last_attempt + 100_000, now.last_job + 90_000, id, 1)),
            ])
            .unwrap();
        lost = store.snapshot().unwrap();
    }
}

#[test]
fn a_copy_with_its_log_beside_it_is_restored_with_all_that_was_acknowledged() {
    let place = Place::new();
    let mut store = place.store();
    store.commit(&passed_build(1)).unwrap();
    let copy = Place::new();
    for suffix in ["", "-wal"] {
        fs::copy(wal::beside(&place.path(), suffix), wal::beside(&copy.path(), suffix)).unwrap();
    }
    let place = restored(&copy, NOW);
    assert!(
        {
            drop(place.store());
            place.reader()
        }
        .build(BuildId(1))
        .unwrap()
        .is_some()
    );
}

#[test]
fn a_damaged_store_makes_no_backup_and_a_damaged_backup_no_store() {
    let place = Place::new();
    let mut store = place.store();
    store.commit(&(1..=300).flat_map(passed_build).collect::<Vec<_>>()).unwrap();
    drop(store);
    let copy = backup_of(&place);
    for harmed in [&place, &copy] {
        let mut bytes = fs::read(harmed.path()).unwrap();
        let at = bytes.len() / 2 / 4096 * 4096;
        bytes[at..at + 64].fill(0xa5);
        fs::write(harmed.path(), bytes).unwrap();
    }
    let target = Place::new();
    let error = back_up(&place.path(), &target.path()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    let error = restore(&copy.path(), &target.path(), NOW).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(!target.path().exists());
}

#[test]
fn nothing_is_restored_over_a_store_or_beside_what_is_left_of_one() {
    let place = Place::new();
    let store = place.store();
    let copy = backup_of(&place);
    assert!(matches!(restore(&copy.path(), &place.path(), NOW), Err(StoreError::InUse { .. })));
    drop(store);
    assert!(restore(&copy.path(), &place.path(), NOW).is_err());
    let filled = Place::new();
    fs::create_dir_all(filled.directory.path().join("logs/app")).unwrap();
    assert!(matches!(restore(&copy.path(), &filled.path(), NOW), Err(StoreError::Missing { .. })));
}
