//! What the dispatcher remembers: SQLite behind a small API in words of the model. One writer, owned by the dispatcher's
//! core; readers with connections of their own.

use std::path::Path;

use crate::model::{
    Attempt, AttemptId, BranchName, Build, BuildId, CommitId, Decision, Job, Outcome, Record, RepoName, Runner,
    WallTime,
};

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {}

/// The one writer.
pub struct Store {}

/// What the store knows of unfinished work, for a dispatcher that starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unfinished {
    /// Unfinished builds with their jobs and their unfinished attempts, oldest first.
    pub builds: Vec<(Build, Vec<Job>, Vec<Attempt>)>,
    pub heads: Vec<(RepoName, BranchName, CommitId)>,
    pub runners: Vec<Runner>,
    /// The highest numbers ever given out, 0 for none.
    pub last_build: u64,
    pub last_job: u64,
    pub last_attempt: u64,
    pub last_runner: u64,
}

impl Store {
    /// Opens the store at `path` (a file), or makes it; refuses one that fails its check, has a newer schema, or is in
    /// use. Migrates an older one.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        todo!()
    }

    /// Makes the records durable, all or none, in order. When it returns they have been synced.
    pub fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        todo!()
    }

    pub fn unfinished(&self) -> Result<Unfinished, StoreError> {
        todo!()
    }

    /// Where the repository of that name was last observed, for telling two of one name apart.
    pub fn repo_source(&self, repo: &RepoName) -> Result<Option<String>, StoreError> {
        todo!()
    }
}

/// Reads beside the writer, on a connection of its own.
pub struct Reader {}

/// Which build is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildName {
    Number(u64),
    /// At least four hexadecimal digits of the commit; the newest build that matches.
    Commit(String),
    Latest,
}

impl Reader {
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        todo!()
    }

    /// The build that is meant, if there is one.
    pub fn find(&self, name: &BuildName) -> Result<Option<BuildId>, StoreError> {
        todo!()
    }

    /// Unfinished builds, oldest first.
    pub fn unfinished_builds(&self, repo: Option<&str>) -> Result<Vec<Build>, StoreError> {
        todo!()
    }

    /// The newest finished builds, newest first.
    pub fn finished_builds(&self, repo: Option<&str>, limit: u32) -> Result<Vec<Build>, StoreError> {
        todo!()
    }

    pub fn build(&self, id: BuildId) -> Result<Option<Build>, StoreError> {
        todo!()
    }

    /// In the order of the task file.
    pub fn jobs(&self, build: BuildId) -> Result<Vec<Job>, StoreError> {
        todo!()
    }

    /// Oldest first.
    pub fn attempts(&self, build: BuildId) -> Result<Vec<Attempt>, StoreError> {
        todo!()
    }

    /// Oldest first.
    pub fn decisions(&self, build: BuildId) -> Result<Vec<Decision>, StoreError> {
        todo!()
    }

    /// Results that came for leases no longer held, oldest first.
    pub fn late_results(&self, build: BuildId) -> Result<Vec<(AttemptId, Outcome, WallTime)>, StoreError> {
        todo!()
    }

    pub fn runners(&self) -> Result<Vec<Runner>, StoreError> {
        todo!()
    }

    pub fn attempt(&self, id: AttemptId) -> Result<Option<Attempt>, StoreError> {
        todo!()
    }
}
