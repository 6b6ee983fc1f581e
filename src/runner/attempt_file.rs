//! A file in which the task of an attempt tells its runner something. It lies beside the attempt's temporary directory,
//! and is gone with its owner. Its owner knows what the bytes mean.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file of one attempt.
#[derive(Debug)]
pub(super) struct AttemptFile {
    /// The variable in which the task gets the path, for errors.
    variable: &'static str,
    path: PathBuf,
}

impl AttemptFile {
    /// The file of an attempt with this temporary directory. It is not made.
    pub(super) fn beside(temporary: &Path, extension: &str, variable: &'static str) -> Self {
        Self { variable, path: temporary.with_added_extension(extension) }
    }

    /// The path that the task gets.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file, empty, in place of whatever is there.
    pub(super) fn make(&self) -> io::Result<()> {
        self.remove();
        File::options().write(true).create_new(true).open(&self.path).map(drop)
    }

    /// Makes the file with these bytes, in place of whatever is there. No link is followed.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.remove();
        File::options().write(true).create_new(true).open(&self.path)?.write_all(bytes)
    }

    /// Like [`Self::write`], for this user alone.
    pub(super) fn write_private(&self, bytes: &[u8]) -> io::Result<()> {
        self.remove();
        File::options().write(true).create_new(true).mode(0o600).open(&self.path)?.write_all(bytes)
    }

    /// Returns the bytes of the file, at most `limit` of them; `None` if it is not there. An error is for people.
    pub(super) fn read(&self, limit: u64) -> Result<Option<Vec<u8>>, String> {
        let failed = |error: io::Error| format!("{} cannot be read: {error}", self.variable);
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if metadata.is_file() => {}
            // Opening a pipe would wait for its writer.
            Ok(_) => return Err(format!("{} is not a regular file any more", self.variable)),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        let mut bytes = Vec::new();
        File::open(&self.path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Removes whatever is at the path.
    pub(super) fn remove(&self) {
        let removed = fs::remove_file(&self.path);
        if removed.is_err_and(|error| error.kind() != ErrorKind::NotFound) {
            // A directory in its place was made by the task.
            drop(fs::remove_dir_all(&self.path));
        }
    }
}

impl Drop for AttemptFile {
    fn drop(&mut self) {
        self.remove();
    }
}
