//! Tests of SQLite's own matters: copies, kills, migrations, and files that are damaged, full, locked or not ours.

mod copies;
mod crash;
mod migration;
mod reasons;
mod refusals;

use std::path::PathBuf;

use tempfile::TempDir;

use super::writer::Writer;
use super::{open, readers};
use crate::model::*;
use crate::store::tests::Place as _;
use crate::store::tests::values::*;
use crate::store::{self, Readers, Rule, Store, StoreError};

/// A directory for one store.
pub(in crate::store) struct Place {
    directory: TempDir,
}

impl Place {
    pub(in crate::store) fn new() -> Self {
        Self { directory: TempDir::with_prefix("surveil-store-").unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("surveil.db")
    }

    fn store(&self) -> Writer {
        Writer::open(&self.path()).unwrap()
    }
}

impl store::tests::Place for Place {
    fn open(&self) -> Box<dyn Store> {
        open(&self.path()).unwrap()
    }

    fn readers(&self) -> Readers {
        readers(&self.path())
    }
}

/// A question must not wait for a disk that takes no writes, and opening a connection writes.
#[test]
fn a_reader_takes_the_connection_of_one_that_was_dropped() {
    let place = Place::new();
    let _store = place.store();
    let readers = place.readers();
    drop(readers.open().unwrap());
    // From here on nothing can be opened.
    std::fs::rename(place.path(), place.directory.path().join("elsewhere")).unwrap();
    let reader = readers.open().unwrap();
    assert_eq!(reader.repos().unwrap(), []);
    assert!(readers.open().is_err(), "it is in use");
    drop(reader);
    assert!(readers.open().is_ok());
    assert!(place.readers().open().is_err(), "another store's readers have their own");
}
