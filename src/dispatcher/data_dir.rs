//! The data directory: what lies where in it, and the roles' tokens.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::DispatcherError;
use crate::model::{BuildId, RepoName, TaskName};
use crate::protocol::hello::Role;

/// The data directory's layout.
#[derive(Debug, Clone)]
pub(crate) struct DataDir {
    root: PathBuf,
}

/// Which log file an attempt has: by names, so that people find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogPlace {
    pub(crate) repo: RepoName,
    pub(crate) build: BuildId,
    pub(crate) task: TaskName,
    pub(crate) number: u32,
}

impl DataDir {
    /// Makes what is missing of the directory.
    pub(crate) fn open(root: &Path) -> Result<Self, DispatcherError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| DispatcherError::DataDir { path, source }
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for path in [root.to_owned(), root.join("mirrors"), root.join("logs"), root.join("tokens")] {
            builder.create(&path).map_err(fail(&path))?;
        }
        let root = root.canonicalize().map_err(fail(root))?;
        Ok(Self { root })
    }

    /// The layout of a directory as it is.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("surveil.db")
    }

    pub(crate) fn mirror(&self, repo: &RepoName) -> PathBuf {
        self.root.join("mirrors").join(format!("{repo}.git"))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn log(&self, place: &LogPlace) -> PathBuf {
        let LogPlace { repo, build, task, number } = place;
        self.logs().join(repo.as_str()).join(build.to_string()).join(format!("{task}.{number}.log"))
    }

    pub(crate) fn token_file(&self, role: Role) -> PathBuf {
        self.root.join("tokens").join(match role {
            Role::Observer => "observer",
            Role::Runner => "runner",
            Role::Operator => "operator",
        })
    }

    /// The role's secret; drawn and written, readable by the owner alone, where there is none yet.
    pub(crate) fn token(&self, role: Role) -> Result<String, DispatcherError> {
        let path = self.token_file(role);
        let fail = |source| DispatcherError::Token { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Ok(_) => fs::remove_file(&path).map_err(fail)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(error)),
        }
        let mut secret = [0u8; 32];
        getrandom::fill(&mut secret).map_err(|error| fail(io::Error::other(error)))?;
        let token: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(fail)?;
        file.write_all(format!("{token}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
        Ok(token)
    }
}
