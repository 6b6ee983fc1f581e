//! The layout of the data directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::DispatcherError;
use crate::config::SERVER_FILE;
use crate::model::{Build, BuildId, Job, RepoName, StreamKind, TaskName};

/// The data directory's layout.
#[derive(Debug, Clone)]
pub(crate) struct DataDir(PathBuf);

/// The place of the file of an attempt's stream. It is made of names, so that people find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogPlace {
    pub(crate) repo: RepoName,
    pub(crate) build: BuildId,
    pub(crate) task: TaskName,
    pub(crate) number: u32,
    pub(crate) kind: StreamKind,
}

impl LogPlace {
    /// Returns the place of the log of attempt `number` of this job.
    pub(crate) fn of(build: &Build, job: &Job, number: u32) -> Self {
        let (repo, task, kind) = (build.source.repo.clone(), job.task.name.clone(), StreamKind::Log);
        Self { repo, build: build.id, task, number, kind }
    }

    /// Returns the path in the directory of logs.
    pub(crate) fn path(&self) -> String {
        let Self { repo, build, task, number, kind } = self;
        let extension = match kind {
            StreamKind::Log => "log".to_owned(),
            other => format!("{other}.log"),
        };
        format!("{repo}/{build}/{}.{number}.{extension}", task.file_stem())
    }
}

impl DataDir {
    /// Opens the directory, and creates the parts that are missing.
    pub(crate) fn open(root: &Path) -> Result<Self, DispatcherError> {
        for path in [root.to_owned(), root.join("mirrors"), root.join("logs"), root.join("tokens"), root.join("tls")] {
            create_private(&path).map_err(|source| DispatcherError::DataDir { path, source })?;
        }
        let found = root.canonicalize();
        Ok(Self(found.map_err(|source| DispatcherError::DataDir { path: root.to_owned(), source })?))
    }

    /// Returns the layout of a directory that is not touched.
    pub(crate) fn at(root: &Path) -> Self {
        Self(root.to_owned())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("surveil.db")
    }

    pub(crate) fn mirror(&self, repo: &RepoName) -> PathBuf {
        self.0.join("mirrors").join(format!("{repo}.git"))
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.0.join("blobs")
    }

    /// The files of the tool cache. They are in no backup.
    pub(crate) fn tool_cache(&self) -> PathBuf {
        self.0.join("tool-cache")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    pub(crate) fn log(&self, place: &LogPlace) -> PathBuf {
        self.logs().join(place.path())
    }

    /// The operator's file, which need not exist.
    pub(crate) fn settings(&self) -> PathBuf {
        self.0.join(SERVER_FILE)
    }

    pub(crate) fn tokens(&self) -> PathBuf {
        self.0.join("tokens")
    }

    /// The key with which secrets are sealed. It is in no backup.
    pub(crate) fn secrets_key(&self) -> PathBuf {
        self.0.join("secrets.key")
    }

    /// The directory of the certificate authority.
    pub(crate) fn tls(&self) -> PathBuf {
        self.0.join("tls")
    }
}

/// Creates a directory for its owner alone, with its parents. A directory that is there is left as it is.
pub(super) fn create_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Writes a file for its owner alone, under another name, then renames it: a reader that polls for the file never sees
/// a part of it. If that fails, for instance on a full disk, nothing is left. The directory's own sync is left to the
/// caller.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    // A start that was cut short may have left one. It is made anew, so that its mode is certain.
    if let Err(error) = fs::remove_file(&unfinished)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&unfinished, path));
    // A part of a secret is of no use to anybody who should have it.
    written.inspect_err(|_| drop(fs::remove_file(&unfinished)))
}

/// Makes the names in a directory outlast a power cut.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
