//! The real store beside the fold, in a directory of its own. It gets the same batches and must give the same state.

use surveil::model::Record;
use surveil::store::{Store, sqlite};
use tempfile::TempDir;

use crate::fold::Fold;

#[derive(Debug)]
pub(crate) struct RealStore {
    store: Option<Box<dyn Store>>,
    directory: TempDir,
}

impl RealStore {
    pub(crate) fn new() -> Result<Self, String> {
        // A file in memory is enough: power cuts are tried elsewhere.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let mut real = Self { store: None, directory: directory.map_err(|error| error.to_string())? };
        real.reopen()?;
        Ok(real)
    }

    /// Opens the store as a dispatcher does after a crash.
    pub(crate) fn reopen(&mut self) -> Result<(), String> {
        self.store = None;
        let opened = sqlite::open(&self.directory.path().join("surveil.db"));
        self.store = Some(opened.map_err(|error| error.to_string())?);
        Ok(())
    }

    pub(crate) fn commit(&mut self, records: &[Record]) -> Result<(), String> {
        let Some(store) = &mut self.store else { return Ok(()) };
        store.commit(records).map_err(|error| format!("{error:?}"))
    }

    /// Whether the store and the fold agree.
    pub(crate) fn compare(&self, fold: &Fold) -> Result<(), String> {
        let Some(store) = &self.store else { return Ok(()) };
        let mut real = store.snapshot().map_err(|error| error.to_string())?;
        let expected = fold.snapshot();
        real.heads.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        real.runners.sort_by_key(|runner| runner.id);
        if real != expected {
            return Err(format!("the store remembers {real:?}\nbut the fold {expected:?}"));
        }
        Ok(())
    }
}
