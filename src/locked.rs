//! A locked file (flock(2)), whose lock ends exactly when its owner drops it.

use std::fs::File;

/// A file that its creator has locked. Dropping it unlocks the file explicitly, because closing is not enough: a
/// process that any thread forked meanwhile has the file open too, until it executes its program.
#[derive(Debug)]
pub(crate) struct Locked(File);

impl Locked {
    pub(crate) fn new(file: File) -> Self {
        Self(file)
    }

    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // An error is ignored: the file is closed next, which unlocks it unless another process has it open.
        drop(self.0.unlock());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_owner_also_where_the_file_is_still_open_elsewhere() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let locked = File::open(file.path()).unwrap();
        locked.try_lock().unwrap();
        let as_if_forked = locked.try_clone().unwrap();
        let locked = Locked::new(locked);
        let next = File::open(file.path()).unwrap();
        assert!(next.try_lock().is_err());
        drop(locked);
        next.try_lock().unwrap();
        drop(as_if_forked);
    }
}
