//! The error of a store. Callers branch on variants and show the text; the words of the database stay in the
//! source. Any implementation can make these errors: `store` is the store's name as people know it, such as the path of
//! a file.

use std::error::Error;

/// The error of the database or of the operating system.
pub type Cause = Box<dyn Error + Send + Sync>;

/// The error of a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing of the batch was stored, and the store is as usable as before: wait, then try the same batch again.
    #[error("no room is left on the disk of {store}")]
    Full { store: String, source: Cause },
    /// Another program holds the store locked, such as a shell in the midst of a transaction. Nothing was stored.
    #[error("{store} is held locked by another program")]
    Busy { store: String, source: Cause },
    /// Another process is the writer. `place` is what both want, such as "the data directory /srv/ci"; `holder` is the
    /// other process, such as "process 17", if that is known.
    #[error("another dispatcher{} uses {place}", holder.as_ref().map(|holder| format!(" ({holder})")).unwrap_or_default())]
    InUse { place: String, holder: Option<String> },
    /// A later version of the program wrote it.
    #[error(
        "{store} has schema version {found}, and this surveil knows versions up to {known}: start the newer surveil, or \
         restore a backup from before it was upgraded"
    )]
    Newer { store: String, found: i64, known: i64 },
    /// It was a store once, and is damaged now.
    #[error("{store} is damaged, {what}: {remedy}")]
    Corrupt { store: String, what: String, remedy: &'static str, source: Option<Cause> },
    /// There is something of that name that never was a store.
    #[error("{store} is not a store of surveil, {why}: name another data directory, or restore it from a backup")]
    Foreign { store: String, why: &'static str },
    /// It is a backup, and numbers given out since it was made would be given out again.
    #[error("{store} is a backup, not a store to go on with: bring it into use with `surveil restore`")]
    IsBackup { store: String },
    /// The store is gone while other parts of its data directory are there.
    #[error(
        "{store} is missing although {remains} remains: restore it from a backup, or move what remains away to begin \
         anew"
    )]
    Missing { store: String, remains: String },
    /// The caller's view and the store's disagree. Nothing of the batch was stored; going on would spread the error.
    #[error("{record} contradicts the store, {why}")]
    Contradiction { record: String, why: String },
    /// The database or the operating system failed, such as by an error from sync. It is unknown which bytes reached
    /// the disk: end the process.
    #[error("could not {doing} {store}")]
    Failed { doing: &'static str, store: String, source: Cause },
}

impl StoreError {
    /// Whether the same call may succeed later without anyone mending the store: the caller waits and tries again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Busy { .. })
    }
}
