//! The connections of readers that were dropped, for the next readers. Opening a connection writes: SQLite makes sure
//! that the write-ahead log is there, and as root gives it the owner of the store. So a person who only asks would wait
//! for a disk that takes no writes at the moment.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

/// Connections that are kept, besides those in use. More readers at a time are rare.
const KEPT_MAX: usize = 4;

/// The connections that are kept. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct IdleReaders(Arc<Mutex<Vec<Connection>>>);

/// A reader's connection. It is kept when it is dropped, unless something failed over it.
#[derive(Debug)]
pub(super) struct ReaderConnection {
    /// `None` only while it is dropped.
    conn: Option<Connection>,
    idle: IdleReaders,
    has_failed: Cell<bool>,
}

impl IdleReaders {
    /// Takes a connection that is kept, if there is one.
    pub(super) fn take(&self) -> Option<ReaderConnection> {
        let conn = self.lock().pop();
        conn.map(|conn| self.lend(conn))
    }

    /// Makes a connection one that is kept later.
    pub(super) fn lend(&self, conn: Connection) -> ReaderConnection {
        ReaderConnection { conn: Some(conn), idle: self.clone(), has_failed: Cell::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReaderConnection {
    /// Notes that something failed over it.
    pub(super) fn note_failure(&self) {
        self.has_failed.set(true);
    }
}

impl Deref for ReaderConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.conn.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for ReaderConnection {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        // The pages that it holds are of this reader's questions, and would stay in memory.
        if self.has_failed.get() || !conn.is_autocommit() || conn.execute_batch("PRAGMA shrink_memory").is_err() {
            return;
        }
        let mut kept = self.idle.lock();
        if kept.len() < KEPT_MAX {
            kept.push(conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_kept_unless_something_failed_over_it() {
        let idle = IdleReaders::default();
        let open = || idle.lend(Connection::open_in_memory().unwrap());
        let failed = open();
        failed.note_failure();
        drop(failed);
        let in_transaction = open();
        in_transaction.execute_batch("BEGIN").unwrap();
        drop(in_transaction);
        assert!(idle.take().is_none());
        let many: Vec<_> = (0..2 * KEPT_MAX).map(|_| open()).collect();
        drop(many);
        let taken: Vec<_> = std::iter::from_fn(|| idle.take()).collect();
        assert_eq!(taken.len(), KEPT_MAX);
    }
}
