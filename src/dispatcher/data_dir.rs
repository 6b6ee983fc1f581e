//! The layout of the data directory.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::DispatcherError;
use crate::model::{Build, BuildId, Job, RepoName, TaskName};

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

impl LogPlace {
    /// The log of an attempt of this job.
    pub(crate) fn of(build: &Build, job: &Job, number: u32) -> Self {
        Self { repo: build.source.repo.clone(), build: build.id, task: job.task.name.clone(), number }
    }
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

    pub(crate) fn tokens(&self) -> PathBuf {
        self.root.join("tokens")
    }
}
