//! The certificate authority of this dispatcher: one private key in the data directory, drawn at the first start. All
//! else is made of it at each start. A dispatcher loads it before it listens.
//!
//! Beside the key stands its pin, for commands of the same user and for scripts, which need no key.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::data_dir::{DataDir, sync_directory, write_private};
use super::{DispatcherError, pin};
use crate::transport::AuthorityKey;

/// Reads the authority's key. A key that does not exist yet is drawn at random and written. A key that cannot be read
/// is never replaced: all peers would have to be told the new pin.
pub(super) fn load(data: &DataDir) -> Result<AuthorityKey, DispatcherError> {
    let path = key_file(data);
    let fail = |source| DispatcherError::Authority { path: path.clone(), source };
    let key = match read(&path)? {
        Some(key) => key,
        None => {
            let key = AuthorityKey::generate().map_err(|source| DispatcherError::Certificate { source })?;
            write_private(&path, key.to_der()).map_err(fail)?;
            log::info!("certificate authority made, with the key {}", path.display());
            key
        }
    };
    if pin::pin(data.root()) != Some(key.pin()) {
        write_private(&pin::file(data.root()), format!("{}\n", key.pin()).as_bytes()).map_err(fail)?;
        // Peers rely on the pin from now on, so the names must outlast a power cut, too.
        for directory in [&data.tls(), data.root()] {
            sync_directory(directory).map_err(fail)?;
        }
    }
    Ok(key)
}

fn read(path: &Path) -> Result<Option<AuthorityKey>, DispatcherError> {
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

fn key_file(data: &DataDir) -> PathBuf {
    data.tls().join("authority.key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_chain::chain;

    #[test]
    fn a_first_start_draws_the_authority_for_its_owner_alone_and_later_ones_keep_it() {
        let place = tempfile::tempdir().unwrap();
        let data = DataDir::open(place.path()).unwrap();
        assert_eq!(pin::pin(place.path()), None);
        let first = load(&data).unwrap().pin();
        assert_eq!(load(&data).unwrap().pin(), first);
        assert_eq!(pin::pin(place.path()), Some(first));
        let mut entries: Vec<_> = fs::read_dir(data.tls()).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        assert_eq!(entries, [key_file(&data), pin::file(data.root())], "nothing else is left");
        // The pin follows the key, whatever stands there.
        fs::write(pin::file(data.root()), "another").unwrap();
        load(&data).unwrap();
        assert_eq!(pin::pin(place.path()), Some(first));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data.tls()), mode(&entries[0])), (0o700, 0o600));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(load(&DataDir::open(other.path()).unwrap()).unwrap().pin(), first);
    }

    #[test]
    fn a_key_that_cannot_be_read_is_refused_and_stays_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let data = DataDir::open(place.path()).unwrap();
        for broken in [&b""[..], b"half a key"] {
            fs::write(key_file(&data), broken).unwrap();
            let text = chain(&load(&data).unwrap_err());
            assert!(text.contains("authority.key") && text.contains("backup"), "{text}");
            assert_eq!(fs::read(key_file(&data)).unwrap(), broken);
        }
    }
}
