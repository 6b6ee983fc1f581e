//! Stores that are not opened or not written, and the reasons that are given (S4, S5).

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use rusqlite::Connection;

use super::super::{schema, wal};
use super::*;

/// Number of bits that one test flips, each in a store of its own.
const FLIPS: usize = 400;

fn refusal(place: &Place) -> StoreError {
    match Writer::open(&place.path()) {
        Err(error) => error,
        Ok(_) => panic!("the store was opened"),
    }
}

fn overwrite(path: &Path, at: SeekFrom, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(at).unwrap();
    file.write_all(bytes).unwrap();
}

/// The files of a store as a killed process leaves them, in another place: the writer still has them open.
fn as_if_killed(place: &Place) -> Place {
    let copy = Place::new();
    for entry in place.directory.path().read_dir().unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.directory.path().join(entry.file_name())).unwrap();
    }
    copy
}

#[test]
fn a_second_writer_is_refused_and_told_who_is_first() {
    let place = Place::new();
    let first = place.store();
    let error = refusal(&place);
    assert!(
        matches!(&error, StoreError::InUse { holder: Some(holder), .. } if *holder == format!("process {}", std::process::id())),
        "{error:?}"
    );
    assert!(error.to_string().contains(place.directory.path().to_str().unwrap()), "{error}");
    drop(first);
    place.store();
}

#[test]
fn a_newer_schema_is_refused_with_both_versions_and_left_alone() {
    let place = Place::new();
    drop(place.store());
    let conn = Connection::open(place.path()).unwrap();
    conn.pragma_update(None, "user_version", schema::VERSION + 3).unwrap();
    drop(conn);
    let error = refusal(&place);
    let expected = schema::VERSION + 3;
    assert!(matches!(error, StoreError::Newer { found, known: schema::VERSION, .. } if found == expected), "{error:?}");
    assert!(matches!(place.readers().open(), Err(StoreError::Newer { .. })));
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let place = Place::new();
    let other = Connection::open(place.directory.path().join("other")).unwrap();
    other.execute_batch("CREATE TABLE things (id INTEGER)").unwrap();
    drop(other);
    let foreign = fs::read(place.directory.path().join("other")).unwrap();
    for content in [b"".as_slice(), b"hello", &[b'x'; 5000], &foreign] {
        fs::write(place.path(), content).unwrap();
        let error = refusal(&place);
        assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
        assert_eq!(fs::read(place.path()).unwrap(), content);
    }
}

#[test]
fn no_empty_store_is_begun_where_another_was() {
    let place = Place::new();
    fs::create_dir_all(place.directory.path().join("mirrors")).unwrap();
    drop(place.store());
    fs::create_dir_all(place.directory.path().join("mirrors/app.git")).unwrap();
    fs::remove_file(place.path()).unwrap();
    let error = refusal(&place);
    assert!(matches!(&error, StoreError::Missing { remains, .. } if remains.ends_with("mirrors")), "{error:?}");
    assert!(!place.path().exists());
}

#[test]
fn a_start_cut_short_before_the_store_was_whole_is_begun_again() {
    let place = Place::new();
    fs::write(wal::beside(&place.path(), ".new"), b"half").unwrap();
    assert_eq!(place.store().snapshot().unwrap(), Snapshot::default());
}

#[test]
fn flipped_bytes_in_any_page_are_damage() {
    let place = Place::new();
    let mut store = place.store();
    store.commit(&(1..=300).flat_map(passed_build).collect::<Vec<_>>()).unwrap();
    drop(store);
    let whole = fs::read(place.path()).unwrap();
    let pages = whole.len() / 4096;
    assert!(pages > 20);
    for page in 1..pages {
        // Overwrites the head of each page, and some of its cells.
        for at in [0, 2048] {
            overwrite(&place.path(), SeekFrom::Start((page * 4096 + at) as u64), &[0xa5; 64]);
        }
        let error = refusal(&place);
        assert!(matches!(error, StoreError::Corrupt { .. }), "page {page}: {error:?}");
        assert!(error.to_string().contains("restore it from a backup"), "{error}");
        fs::write(place.path(), &whole).unwrap();
    }
    assert_eq!(place.store().snapshot().unwrap().last_build, 300);
}

/// Returns all rows that a start and the status of all builds read, leases and outcomes apart; or the damage.
fn all_rows(place: &Place) -> Result<BTreeSet<String>, StoreError> {
    let unfinished = Writer::open(&place.path())?.snapshot()?;
    let reader = place.reader();
    let mut rows = BTreeSet::new();
    let open = unfinished.builds.into_iter().map(|whole| whole.build);
    for build in reader.finished_builds(None, u32::MAX)?.into_iter().chain(open) {
        rows.insert(format!("{build:?}"));
        rows.extend(reader.jobs(build.id)?.iter().map(|job| format!("{job:?}")));
        for mut attempt in reader.attempts(build.id)? {
            let (outcome, log) = (attempt.outcome.take(), std::mem::take(&mut attempt.log));
            if let Some(outcome) = outcome {
                let (at, duration) = (attempt.finished_at.take(), attempt.duration_ms.take());
                rows.insert(format!("{:?} {outcome:?} {log:?} {at:?} {duration:?}", attempt.id));
            }
            rows.insert(format!("{attempt:?}"));
        }
    }
    Ok(rows)
}

#[test]
fn a_flipped_bit_never_makes_a_false_value() {
    let place = Place::new();
    let mut store = place.store();
    store.commit(&(1..=60).flat_map(passed_build).collect::<Vec<_>>()).unwrap();
    store.commit(&[added(61, 61..=65), Record::AttemptLeased(attempt(61, 63, 61, 1))]).unwrap();
    drop(store);
    let good = all_rows(&place).unwrap();
    let whole = fs::read(place.path()).unwrap();
    // The flipped bits are spread evenly over the bytes that are not 0.
    let used: Vec<usize> = (100..whole.len()).filter(|at| whole[*at] != 0).collect();
    let mut noticed = 0;
    for round in 0..FLIPS {
        let (at, bit) = (used[round * used.len() / FLIPS], round % 8);
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << bit;
        fs::write(place.path(), &flipped).unwrap();
        match all_rows(&place) {
            // A row can be lost if its number changes in the index of pages; no row can have another value.
            Ok(rows) => assert_eq!(rows.difference(&good).next(), None, "bit {bit} of byte {at}"),
            Err(error) => {
                assert!(matches!(error, StoreError::Corrupt { .. }), "bit {bit} of byte {at}: {error:?}");
                noticed += 1;
            }
        }
        for suffix in ["-wal", "-shm"] {
            drop(fs::remove_file(wal::beside(&place.path(), suffix)));
        }
    }
    assert!(noticed > FLIPS / 2, "{noticed}");
}

#[test]
fn a_store_cut_short_is_damage() {
    let place = Place::new();
    let mut store = place.store();
    store.commit(&(1..=300).flat_map(passed_build).collect::<Vec<_>>()).unwrap();
    drop(store);
    let len = fs::metadata(place.path()).unwrap().len();
    OpenOptions::new().write(true).open(place.path()).unwrap().set_len(len / 2).unwrap();
    assert!(matches!(refusal(&place), StoreError::Corrupt { .. }));
}

#[test]
fn a_log_that_lost_acknowledged_commits_is_damage() {
    let place = Place::new();
    let mut store = place.store();
    for id in 1..=5 {
        store.commit(&passed_build(id)).unwrap();
    }
    assert_eq!(as_if_killed(&place).store().snapshot().unwrap().last_build, 5);
    let log_len = fs::metadata(wal::beside(&place.path(), "-wal")).unwrap().len();

    let cut = as_if_killed(&place);
    OpenOptions::new().write(true).open(wal::beside(&cut.path(), "-wal")).unwrap().set_len(log_len / 2).unwrap();
    let gone = as_if_killed(&place);
    fs::remove_file(wal::beside(&gone.path(), "-wal")).unwrap();
    let empty = as_if_killed(&place);
    fs::write(wal::beside(&empty.path(), "-wal"), b"").unwrap();
    let flipped = as_if_killed(&place);
    overwrite(&wal::beside(&flipped.path(), "-wal"), SeekFrom::Start(log_len / 2), &[0xa5; 8]);
    for harmed in [cut, gone, empty, flipped] {
        // Opened twice: a refusal must not remove what it refused for.
        for _ in 0..2 {
            let error = refusal(&harmed);
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
            assert!(error.to_string().contains("acknowledged commits"), "{error}");
        }
    }
}

#[test]
fn a_commit_that_a_power_loss_cut_short_is_not_damage() {
    let place = Place::new();
    let mut store = place.store();
    store.commit(&passed_build(1)).unwrap();
    let before = as_if_killed(&place);
    store.commit(&passed_build(2)).unwrap();
    // The index is the one before the second commit, and the log ends inside that commit.
    let mut log = Vec::new();
    fs::File::open(wal::beside(&place.path(), "-wal")).unwrap().read_to_end(&mut log).unwrap();
    fs::write(wal::beside(&before.path(), "-wal"), &log[..log.len() - 1000]).unwrap();
    assert_eq!(before.store().snapshot().unwrap().last_build, 1);
}

#[test]
fn a_missing_table_is_damage() {
    let place = Place::new();
    drop(place.store());
    let conn = Connection::open(place.path()).unwrap();
    conn.execute_batch("DROP TABLE outcomes").unwrap();
    drop(conn);
    assert!(refusal(&place).to_string().contains("outcomes"));
}

#[test]
fn a_full_disk_stores_nothing_and_heals() {
    let place = Place::new();
    let mut store = place.store();
    store.commit(&passed_build(1)).unwrap();
    let limit = |store: &Writer, pages: i64| {
        store.conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    };
    limit(&store, 1);
    let mut next = 2;
    let error = loop {
        match store.commit(&passed_build(next)) {
            Ok(()) => next += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.is_transient());
    // Nothing of the refused batch is there, reads work, and the batch stays refused.
    assert_eq!(store.snapshot().unwrap().last_build, next - 1);
    assert_eq!(place.reader().build(BuildId(next)).unwrap(), None);
    assert!(matches!(store.commit(&passed_build(next)), Err(StoreError::Full { .. })));
    limit(&store, 1_000_000);
    store.commit(&passed_build(next)).unwrap();
    drop(store);
    assert_eq!(place.store().snapshot().unwrap().last_build, next);
}

#[test]
fn a_program_that_holds_the_file_locked_is_waited_for_and_then_named_as_the_cause() {
    let place = Place::new();
    let mut store = place.store();
    store.conn.busy_timeout(std::time::Duration::ZERO).unwrap();
    let shell = Connection::open(place.path()).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.commit(&passed_build(1)).unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
    shell.execute_batch("ROLLBACK").unwrap();
    store.commit(&passed_build(1)).unwrap();
}
