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
