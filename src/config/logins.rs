//! Logins: the dispatchers to which the commands of this user speak, each with a name. One private file for each in the
//! user's configuration directory; `.default` beside them names the one that commands without `--dispatch` use.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::ConfigError;
use super::joined::{JoinedFile, write_private};
use super::location::config_dir;
use crate::model::Address;

/// The name that means the dispatcher of this machine, so that no login can have it.
pub const LOCAL_LOGIN: &str = "local";
/// The most letters of a login's name.
const MAX_NAME: usize = 100;
/// The file with the name of the default login.
const DEFAULT: &str = ".default";

/// A login at a dispatcher.
pub struct Login {
    /// The name that the user gave the dispatcher.
    pub name: String,
    /// The id of the credential.
    pub id: String,
    /// The name that the dispatcher knows the user by.
    pub user: String,
    /// The file with the credential.
    pub path: PathBuf,
    /// The credential, the pins and the addresses.
    pub file: JoinedFile,
}

/// The logins of a user.
pub struct Logins {
    directory: PathBuf,
}

impl Logins {
    /// The logins in the configuration directory of this user.
    #[must_use]
    pub fn of_user() -> Self {
        Self::of(&config_dir(env::var_os("XDG_CONFIG_HOME")))
    }

    fn of(config: &Path) -> Self {
        Self { directory: config.join("logins") }
    }

    /// Returns the file of the login of that name.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Returns the login of that name. `None` if there is none, or if it was never finished.
    pub fn find(&self, name: &str) -> Result<Option<Login>, ConfigError> {
        if !is_login_name(name) {
            return Ok(None);
        }
        let path = self.path(name);
        let Some(file) = JoinedFile::read(&path)? else { return Ok(None) };
        let Some((id, user)) = file.joined.clone() else { return Ok(None) };
        Ok(Some(Login { name: name.to_owned(), id, user, path, file }))
    }

    /// Returns all logins, in the order of their names.
    pub fn all(&self) -> Result<Vec<Login>, ConfigError> {
        let failed = |source| ConfigError::Read { path: self.directory.clone(), source };
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        names.sort_unstable();
        let logins = names.iter().map(|name| self.find(name));
        logins.filter_map(Result::transpose).collect()
    }

    /// Returns the login that commands use if nothing names another dispatcher.
    pub fn default(&self) -> Result<Option<Login>, ConfigError> {
        let path = self.directory.join(DEFAULT);
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ConfigError::Read { path, source }),
            Ok(name) => self.find(name.trim_end()),
        }
    }

    /// Returns the login at the first of these addresses. Of several the default one is taken.
    pub fn at(&self, dispatch: &[Address]) -> Result<Option<Login>, ConfigError> {
        let is_there =
            |login: &Login| dispatch.first().is_some_and(|first| login.file.dispatch.iter().any(|it| it == first));
        match self.default()?.filter(is_there) {
            Some(login) => Ok(Some(login)),
            None => Ok(self.all()?.into_iter().find(is_there)),
        }
    }

    /// Makes a login the default; `None` for the dispatcher of this machine.
    pub fn set_default(&self, name: Option<&str>) -> Result<(), ConfigError> {
        let path = self.directory.join(DEFAULT);
        let done = match name {
            Some(name) => write_private(&path, &format!("{name}\n")),
            None => remove(&path),
        };
        done.map_err(|source| ConfigError::Write { path, source })
    }

    /// Forgets a login. If it was the default, none is the default then.
    pub fn remove(&self, name: &str) -> Result<(), ConfigError> {
        let was_default = self.default()?.is_some_and(|login| login.name == name);
        let path = self.path(name);
        remove(&path).map_err(|source| ConfigError::Write { path, source })?;
        if was_default { self.set_default(None) } else { Ok(()) }
    }
}

/// Whether a login may have this name: 1 to 100 of `A-Z a-z 0-9 . _ -`, with a letter or digit first.
#[must_use]
pub fn is_login_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name != LOCAL_LOGIN
}

/// Returns the name of a login at this address if the user gives none: the host, and the port if it is not `usual`.
#[must_use]
pub fn default_login_name(address: &Address, usual: u16) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let host: String = address.host.chars().map(letter).collect();
    let host = host.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if address.port == usual { host.to_owned() } else { format!("{host}-{}", address.port) }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(logins: &Logins, name: &str, address: &str) {
        let file = JoinedFile {
            token: "7f3k".into(),
            secret: "5e".repeat(32),
            pins: vec![],
            dispatch: vec![address.parse().unwrap()],
            role: Some("reader".into()),
            joined: Some(("2abc".into(), "alice".into())),
        };
        file.write(&logins.path(name)).unwrap();
    }

    #[test]
    fn the_default_login_is_chosen_and_ends_with_the_login() {
        let place = tempfile::tempdir().unwrap();
        let logins = Logins::of(place.path());
        assert!(logins.default().unwrap().is_none() && logins.all().unwrap().is_empty());
        login(&logins, "ci", "h:1");
        login(&logins, "attic", "h:1");
        logins.set_default(Some("ci")).unwrap();
        let names: Vec<String> = logins.all().unwrap().into_iter().map(|login| login.name).collect();
        assert_eq!(names, ["attic", "ci"]);
        let found = logins.default().unwrap().unwrap();
        assert_eq!((found.name.as_str(), found.user.as_str(), found.id.as_str()), ("ci", "alice", "2abc"));
        let at = |address: &str| logins.at(&[address.parse().unwrap()]).unwrap().map(|login| login.name);
        assert_eq!((at("h:1").as_deref(), at("h:2")), (Some("ci"), None));
        logins.remove("attic").unwrap();
        assert_eq!(logins.default().unwrap().unwrap().name, "ci");
        logins.remove("ci").unwrap();
        assert!(logins.default().unwrap().is_none() && logins.all().unwrap().is_empty());
        login(&logins, "ci", "h:1");
        assert!(logins.default().unwrap().is_none(), "the name came back, not the choice");
    }

    #[test]
    fn a_login_whose_join_was_not_answered_is_none_yet() {
        let place = tempfile::tempdir().unwrap();
        let logins = Logins::of(place.path());
        login(&logins, "ci", "h:1");
        let file = JoinedFile { joined: None, ..logins.find("ci").unwrap().unwrap().file };
        file.write(&logins.path("ci")).unwrap();
        assert!(logins.find("ci").unwrap().is_none() && logins.all().unwrap().is_empty());
    }

    #[test]
    fn a_name_is_a_file_of_its_directory_and_never_an_address() {
        for name in ["ci", "ci.example.net", "10.0.0.1-9001", "A_b"] {
            assert!(is_login_name(name), "{name}");
        }
        for name in ["", ".", "..", ".default", "a/b", "h:1", "-x", "local", &"a".repeat(101)] {
            assert!(!is_login_name(name), "{name}");
        }
        let named = |address: &str| default_login_name(&address.parse().unwrap(), 9000);
        assert_eq!(named("ci.example.net:9000"), "ci.example.net");
        assert_eq!(named("localhost:9001"), "localhost-9001");
        assert_eq!(named("[fd00::1]:9000"), "fd00--1");
        assert_eq!(named("[::1]:9000"), "1");
    }
}
