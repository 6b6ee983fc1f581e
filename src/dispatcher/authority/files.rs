//! The files of the authority, in the data directory.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::dispatcher::data_dir::{DataDir, write_private};
use crate::dispatcher::{DispatcherError, pin};
use crate::model::{CredentialId, Pin};
use crate::transport::AuthorityKey;

/// The most bytes of the file with the ids.
const MAX_TAKEN_BYTES: u64 = 1 << 20;

pub(super) fn read(path: &Path) -> Result<Option<AuthorityKey>, DispatcherError> {
    let fail = |source| DispatcherError::Authority { path: path.to_owned(), source };
    let der = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(fail)?,
    };
    let mode = fs::metadata(path).map_err(fail)?.permissions().mode();
    if mode & 0o077 != 0 {
        log::warn!("{} can be read by others: chmod 600 it, for it makes certificates", path.display());
    }
    AuthorityKey::from_der(&der).map(Some).map_err(|error| fail(io::Error::new(ErrorKind::InvalidData, error)))
}

pub(super) fn write_pin(data: &DataDir, pin: Pin) -> io::Result<()> {
    write_private(&pin::file(data.root()), format!("{pin}\n").as_bytes())
}

/// Removes the files of a rotation that is over. A file that stays means nothing.
pub(super) fn remove_leftovers(data: &DataDir) {
    for path in [next_file(data), taken_file(data)] {
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != ErrorKind::NotFound
        {
            log::warn!("could not remove {}: {error}", path.display());
        }
    }
}

/// Reads the ids. A file that is missing or broken names nobody: its peers are noted again at their next sessions.
pub(super) fn read_taken(data: &DataDir) -> BTreeSet<CredentialId> {
    let path = taken_file(data);
    let is_small = fs::metadata(&path).is_ok_and(|metadata| metadata.len() <= MAX_TAKEN_BYTES);
    let text = if is_small { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
    text.lines().filter_map(CredentialId::new).collect()
}

pub(super) fn write_taken(data: &DataDir, taken: &BTreeSet<CredentialId>) -> io::Result<()> {
    let text: String = taken.iter().map(|id| format!("{id}\n")).collect();
    write_private(&taken_file(data), text.as_bytes())
}

pub(super) fn key_file(data: &DataDir) -> PathBuf {
    data.tls().join("authority.key")
}

pub(super) fn next_file(data: &DataDir) -> PathBuf {
    data.tls().join("next.key")
}

pub(super) fn taken_file(data: &DataDir) -> PathBuf {
    data.tls().join("taken")
}
