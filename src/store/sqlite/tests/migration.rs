//! From an older version of the tables to this one: nothing is lost, and a kill in the midst changes nothing (S1, S4).

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use rusqlite::Connection;

use super::super::{schema, wal};
use super::*;

const CHILD_STORES: &str = "SURVEIL_TEST_STORES";
/// Stores that one child brings up to date, one after the other, until it is killed.
const STORES: usize = 16;
const ROUNDS: usize = 3;

/// A store as the first version of the program left it, with two builds in it.
fn old_store(place: &Place) {
    let mut store = place.store();
    store.commit(&passed_build(1)).unwrap();
    store.commit(&[added(2, [2])]).unwrap();
    drop(store);
    let conn = Connection::open(place.path()).unwrap();
    // The steps since, undone.
    conn.execute_batch("DROP TABLE forgotten; PRAGMA user_version = 1").unwrap();
}

fn is_whole(place: &Place) {
    let store = place.store();
    let unfinished = store.snapshot().unwrap();
    assert_eq!((unfinished.last_build, unfinished.builds.len()), (2, 1));
    let reader = place.reader();
    assert!(reader.attempt(AttemptId(1)).unwrap().unwrap().outcome.is_some());
    assert_eq!(reader.forgotten(BuildId(1)).unwrap(), None);
    reader.check(drop).unwrap();
}

#[test]
fn a_store_of_the_first_version_goes_on_as_one_of_this() {
    const { assert!(schema::VERSION == 2) };
    let place = Place::new();
    old_store(&place);
    assert!(
        matches!(Reader::open(&place.path()), Err(StoreError::Foreign { .. })),
        "nobody reads it before its writer"
    );
    is_whole(&place);
    is_whole(&place);
}

/// Not a test by itself: brings stores up to date in the process that another test starts and kills.
#[test]
fn a_child_that_migrates() {
    let Ok(directory) = std::env::var(CHILD_STORES) else { return };
    for number in 0..STORES {
        writeln!(std::io::stdout(), "begins {number}").unwrap();
        drop(Store::open(&std::path::Path::new(&directory).join(number.to_string()).join("surveil.db")).unwrap());
    }
}

/// S4: a migration is all or nothing, wherever it is cut off: each part of its log that can have reached the disk makes
/// a store that the next start takes. Sabotage tried: the version set in a transaction of its own; after the first one
/// nothing opens that store any more.
#[test]
fn whichever_part_of_a_migration_reached_the_disk_the_next_start_takes_it() {
    let old = Place::new();
    old_store(&old);
    let main = fs::read(old.path()).unwrap();
    let mut conn = Connection::open(old.path()).unwrap();
    schema::migrate(&mut conn, &old.path()).unwrap();
    let log = fs::read(wal::beside(&old.path(), "-wal")).unwrap();
    drop(conn);
    // After the log's header of 32 bytes come frames, each with 24 bytes before its page.
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    let frames = (log.len() - 32) / (24 + page);
    assert!(frames > 1, "there is something to cut");
    for cut in (0..=2 * frames).map(|halves| 32 + halves * (24 + page) / 2) {
        let place = Place::new();
        fs::write(place.path(), &main).unwrap();
        fs::write(wal::beside(&place.path(), "-wal"), &log[..cut]).unwrap();
        is_whole(&place);
    }
}

/// The kill falls where chance has it; the test before this one has every place.
#[test]
fn a_migration_that_is_killed_at_any_moment_leaves_a_store_that_the_next_start_takes() {
    let old = Place::new();
    old_store(&old);
    for round in 0..ROUNDS {
        let stores: Vec<Place> = (0..STORES).map(|_| Place::new()).collect();
        let names = tempfile::tempdir().unwrap();
        for (number, place) in stores.iter().enumerate() {
            fs::copy(old.path(), place.path()).unwrap();
            std::os::unix::fs::symlink(place.directory.path(), names.path().join(number.to_string())).unwrap();
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::sqlite::tests::migration::a_child_that_migrates", "--nocapture"])
            .env(CHILD_STORES, names.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let enough = format!("begins {}", 3 + round * 4);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !lines.next().unwrap().unwrap().ends_with(&enough) {}
        // Somewhere in this store's migration; where exactly differs from round to round.
        (0..round * 20_000).for_each(|n| _ = std::hint::black_box(n));
        child.kill().unwrap();
        child.wait().unwrap();
        stores.iter().for_each(is_whole);
    }
}
