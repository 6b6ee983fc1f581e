//! The secrets of the roles, one file each in the data directory.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::DispatcherError;
use super::data_dir::DataDir;
use crate::protocol::hello::Role;

/// The secrets of the roles.
pub(crate) struct Tokens {
    observer: String,
    runner: String,
    operator: String,
}

impl Tokens {
    /// Reads the secrets. A secret that does not exist yet is drawn at random and written.
    pub(crate) fn load(data: &DataDir) -> Result<Self, DispatcherError> {
        Ok(Self {
            observer: load(&data.tokens().join("observer"))?,
            runner: load(&runner_file(data))?,
            operator: load(&data.tokens().join("operator"))?,
        })
    }

    pub(crate) fn of(&self, role: Role) -> &str {
        match role {
            Role::Observer => &self.observer,
            Role::Runner => &self.runner,
            Role::Operator => &self.operator,
        }
    }
}

/// Returns the path of the runners' secret.
pub(crate) fn runner_file(data: &DataDir) -> PathBuf {
    data.tokens().join("runner")
}

fn load(path: &std::path::Path) -> Result<String, DispatcherError> {
    let fail = |source| DispatcherError::Token { path: path.to_owned(), source };
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        // A start that was cut short leaves an empty file.
        Ok(_) => fs::remove_file(path).map_err(fail)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(error)),
    }
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret).map_err(|error| fail(io::Error::other(error)))?;
    let token: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
    file.write_all(format!("{token}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
    Ok(token)
}
