//! Remembers the lengths of a directory's packs. libgit2 maps packs into memory, and touching a part that a mapped file
//! has lost ends the process (SIGBUS). So before a handle is used again, its packs must be as long as they were when
//! they were first seen. A pack can still be cut between this check and the use; that window is as short as the
//! interval between checks.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, open, statat};
use rustix::io::Errno;

/// The lengths by file name. Cheap to clone, so that files are examined while nothing is locked.
#[derive(Default, Clone)]
pub(super) struct Lengths {
    /// Modification time of the directory when its entries were last read.
    changed: Option<(i64, i64)>,
    files: Arc<HashMap<OsString, u64>>,
}

impl Lengths {
    /// Returns the lengths with the files that have come since, and without those that are gone; `None` if the
    /// directory has not changed.
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

    /// Whether every file still has its length. A removed file counts as unchanged: a handle that has it open can go on
    /// reading it.
    pub(super) fn hold(&self, directory: &Path) -> bool {
        // Whole paths would be looked up once for each file.
        let opened = match open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(opened) => opened,
            Err(errno) => return errno == Errno::NOENT,
        };
        self.files.iter().all(|(name, len)| match statat(&opened, name.as_os_str(), AtFlags::empty()) {
            Ok(stat) => u64::try_from(stat.st_size) == Ok(*len),
            Err(errno) => errno == Errno::NOENT,
        })
    }
}
