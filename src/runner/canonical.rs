//! Canonical paths of files that are asked for at each attempt. Looking up each part of a path takes a call of the
//! kernel; whether the same file is still there takes one.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::threads;

/// The paths that were found to be canonical, with device and inode of what was there. If a directory above has become
/// a link since, such a path may lead to the same file by way of a link.
#[derive(Debug, Default)]
pub(super) struct CanonicalPaths(Mutex<HashMap<PathBuf, (u64, u64)>>);

impl CanonicalPaths {
    /// Returns the path without links of what is at a path; `None` if nothing is.
    pub(super) fn of(&self, path: &Path) -> Option<PathBuf> {
        let found = fs::symlink_metadata(path).ok()?;
        let identity = (found.dev(), found.ino());
        if threads::lock(&self.0).get(path) == Some(&identity) {
            return Some(path.to_owned());
        }
        let canonical = path.canonicalize().ok()?;
        if canonical == path {
            threads::lock(&self.0).insert(canonical.clone(), identity);
        }
        Some(canonical)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_is_looked_up_again_when_something_else_is_there() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let (path, other, link) = (root.join("path"), root.join("other"), root.join("link"));
        symlink(&path, &link).unwrap();
        let paths = CanonicalPaths::default();
        assert_eq!((paths.of(&path), paths.of(&link)), (None, None));
        fs::create_dir(&path).unwrap();
        for _ in 0..2 {
            assert_eq!((paths.of(&path), paths.of(&link)), (Some(path.clone()), Some(path.clone())));
        }
        fs::rename(&path, &other).unwrap();
        assert_eq!(paths.of(&path), None);
        symlink(&other, &path).unwrap();
        for _ in 0..2 {
            assert_eq!((paths.of(&path), paths.of(&link)), (Some(other.clone()), Some(other.clone())));
        }
    }
}
