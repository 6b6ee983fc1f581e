//! How long the packs of a directory were when they were seen first. libgit2 maps them into memory, and touching what a
//! mapped file has lost ends the process (SIGBUS); so before a database is used again, its packs must be as long as
//! they were. Between the look and the use remains a moment in which one can be cut, as short as looks are apart.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// Cheap to copy, so that files are looked at while nothing is locked.
#[derive(Default, Clone)]
pub(super) struct Lengths {
    /// When the directory last changed, as of the last look at its entries.
    changed: Option<(i64, i64)>,
    files: Arc<HashMap<OsString, u64>>,
}

impl Lengths {
    /// These, with the packs and indexes that have come since, and without those that are gone; `None` if there are
    /// none such.
    pub(super) fn learn(&self, directory: &Path) -> Option<Self> {
        let changed = fs::metadata(directory).ok().map(|meta| (meta.mtime(), meta.mtime_nsec()));
        if changed == self.changed {
            return None;
        }
        let mut files = HashMap::new();
        for entry in fs::read_dir(directory).ok()?.flatten() {
            let name = entry.file_name();
            let known = self.files.get(&name).copied();
            if let Some(len) = known.or_else(|| entry.metadata().ok().map(|meta| meta.len())) {
                files.insert(name, len);
            }
        }
        Some(Self { changed, files: Arc::new(files) })
    }

    /// Whether none of them has another length now. One that was removed is there for whoever has it open.
    pub(super) fn hold(&self, directory: &Path) -> bool {
        self.files.iter().all(|(name, len)| match fs::metadata(directory.join(name)) {
            Ok(meta) => meta.len() == *len,
            Err(error) => error.kind() == ErrorKind::NotFound,
        })
    }
}
