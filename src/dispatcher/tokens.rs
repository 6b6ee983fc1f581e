//! The secrets of the roles, one file each in the data directory. A dispatcher loads them before it listens: whoever
//! reaches the port finds the files, complete and durable.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::DispatcherError;
use super::data_dir::{DataDir, sync_directory, write_private};
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
        let directory = data.tokens();
        let mut is_any_drawn = false;
        let mut load = |path: PathBuf| load(&path, &mut is_any_drawn);
        let tokens = Self {
            observer: load(directory.join("observer"))?,
            runner: load(runner_file(data))?,
            operator: load(directory.join("operator"))?,
        };
        // A peer may use its copy of a new token from now on, so the names of the files must outlast a power cut, too.
        if is_any_drawn {
            for path in [&directory, data.root()] {
                sync_directory(path).map_err(|source| DispatcherError::Token { path: path.into(), source })?;
            }
        }
        Ok(tokens)
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

/// Reads a secret, or draws it and says so.
fn load(path: &Path, is_drawn: &mut bool) -> Result<String, DispatcherError> {
    let fail = |source| DispatcherError::Token { path: path.to_owned(), source };
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        // An empty file is replaced like one that is missing.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(error)),
    }
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret).map_err(|error| fail(io::Error::other(error)))?;
    let token: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(path, format!("{token}\n").as_bytes()).map_err(fail)?;
    *is_drawn = true;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn data() -> (tempfile::TempDir, DataDir) {
        let place = tempfile::tempdir().unwrap();
        let data = DataDir::open(&place.path().join("data")).unwrap();
        (place, data)
    }

    #[test]
    fn a_first_start_draws_three_tokens_and_later_ones_keep_them() {
        let (_place, data) = data();
        let first = Tokens::load(&data).unwrap();
        let all = [Role::Observer, Role::Runner, Role::Operator].map(|role| first.of(role).to_owned());
        assert!(all.iter().all(|token| token.len() == 64) && all[0] != all[1] && all[1] != all[2], "{all:?}");
        let mut names: Vec<_> = fs::read_dir(data.tokens()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["observer", "operator", "runner"], "nothing else is left");
        for name in names {
            let mode = fs::metadata(data.tokens().join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600);
        }
        assert_eq!(Tokens::load(&data).unwrap().of(Role::Runner), all[1]);
    }

    #[test]
    fn what_a_start_left_that_was_cut_short_is_no_obstacle() {
        let (_place, data) = data();
        fs::write(data.tokens().join("runner"), "").unwrap();
        fs::write(data.tokens().join("operator.new"), "half").unwrap();
        let tokens = Tokens::load(&data).unwrap();
        assert_eq!(tokens.of(Role::Operator).len(), 64);
        let written = fs::read_to_string(data.tokens().join("runner")).unwrap();
        assert_eq!(written.trim(), tokens.of(Role::Runner));
        assert!(!data.tokens().join("operator.new").exists());
    }
}
