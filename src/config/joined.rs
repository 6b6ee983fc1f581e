//! The file in which a peer that joined keeps its credential: one `KEY VALUE` on each line, private to its owner. It is
//! written before the peer joins, with the secret that the peer has drawn, so that a join whose answer was lost can be
//! repeated with the same secret, and spends the token once.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::ConfigError;
use crate::model::{Address, Pin};

/// The most bytes of such a file.
const MAX_BYTES: usize = 16 * 1024;

/// A peer's credential, or the secret of one that it is about to get.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinedFile {
    /// The id of the join token.
    pub token: String,
    /// The secret of the credential.
    pub secret: String,
    /// The pins of the dispatcher.
    pub pins: Vec<Pin>,
    /// The addresses of the dispatcher.
    pub dispatch: Vec<Address>,
    /// The role of the credential. `None` until the dispatcher has answered.
    pub role: Option<String>,
    /// The id of the credential and the name of the peer. `None` until the dispatcher has answered.
    pub joined: Option<(String, String)>,
}

/// Returns the file of a peer of this role that joins the dispatcher at this address.
#[must_use]
pub fn joined_file(directory: &Path, role: &str, dispatch: &Address) -> PathBuf {
    let letter = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    let host: String = dispatch.host.chars().map(letter).collect();
    directory.join("joined").join(format!("{role}-{host}-{}", dispatch.port))
}

impl JoinedFile {
    /// Reads the file. `None` if there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, ConfigError> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?,
        };
        let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= MAX_BYTES);
        let value = |key: &str| {
            let line = text?.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            line.map(str::to_owned)
        };
        let pins = value("pins").unwrap_or_default().split_whitespace().map(str::parse).collect::<Result<_, _>>();
        let (Some(token), Some(secret), Ok(pins)) = (value("token"), value("secret"), pins) else {
            return Err(ConfigError::JoinedMalformed { path: path.to_owned() });
        };
        let dispatch = value("dispatch").unwrap_or_default();
        let Ok(dispatch) = dispatch.split_whitespace().map(str::parse).collect::<Result<_, _>>() else {
            return Err(ConfigError::JoinedMalformed { path: path.to_owned() });
        };
        Ok(Some(Self { token, secret, pins, dispatch, role: value("role"), joined: value("id").zip(value("name")) }))
    }

    /// Writes the file under another name, then renames it, so that a reader never sees a part of it.
    pub fn write(&self, path: &Path) -> Result<(), ConfigError> {
        write_private(path, &self.text()).map_err(|source| ConfigError::Write { path: path.to_owned(), source })
    }

    fn text(&self) -> String {
        let mut text = format!("token {}\nsecret {}\n", self.token, self.secret);
        if !self.pins.is_empty() {
            let pins: Vec<String> = self.pins.iter().map(Pin::to_string).collect();
            text.push_str(&format!("pins {}\n", pins.join(" ")));
        }
        if !self.dispatch.is_empty() {
            let dispatch: Vec<String> = self.dispatch.iter().map(Address::to_string).collect();
            text.push_str(&format!("dispatch {}\n", dispatch.join(" ")));
        }
        if let Some(role) = &self.role {
            text.push_str(&format!("role {role}\n"));
        }
        if let Some((id, name)) = &self.joined {
            text.push_str(&format!("id {id}\nname {name}\n"));
        }
        text
    }

    /// Returns the credential as `hello` carries it. `None` if the peer has not joined yet.
    #[must_use]
    pub fn credential(&self) -> Option<String> {
        self.joined.as_ref().map(|(id, _)| format!("svc1.{id}.{}", self.secret))
    }
}

/// Writes a file that only its owner may read, durably. A reader never sees a part of it: it is written under another
/// name, which is hidden, and then renamed.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!(".{name}.new-{}", std::process::id()));
    if let Err(error) = fs::remove_file(&unfinished)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_credential_reads_back_and_nobody_else_may_read_it() {
        let place = tempfile::tempdir().unwrap();
        let address = Address { host: "[::1]".into(), port: 9000 };
        let path = joined_file(place.path(), "runner", &address);
        assert_eq!(path, place.path().join("joined/runner-___1_-9000"));
        assert!(JoinedFile::read(&path).unwrap().is_none());
        let mut file = JoinedFile {
            token: "7f3k".into(),
            secret: "5e".repeat(32),
            pins: vec![Pin::new([0xab; 32])],
            dispatch: vec![address],
            role: None,
            joined: None,
        };
        file.write(&path).unwrap();
        assert!(JoinedFile::read(&path).unwrap() == Some(file.clone()) && file.credential().is_none());
        file.joined = Some(("2abc".into(), "ann at home".into()));
        file.role = Some("reader".into());
        file.write(&path).unwrap();
        assert!(JoinedFile::read(&path).unwrap() == Some(file.clone()));
        assert_eq!(file.credential().unwrap(), format!("svc1.2abc.{}", "5e".repeat(32)));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
        fs::write(&path, "half").unwrap();
        assert!(matches!(JoinedFile::read(&path), Err(ConfigError::JoinedMalformed { .. })));
    }
}
