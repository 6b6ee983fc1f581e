//! Reads beside the writer, each reader on a connection of its own: it sees what has been committed, never waits for
//! the writer and is never waited for. Cannot write: the connection is read-only. Called by whatever answers people.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::tables::specs::Tasks;
use super::tables::{attempts, builds, decisions, forgotten, heads, jobs, late_results, meta, runners};
use super::{Rule, StoreError, Surveyed, check, connection, schema};
use crate::model::{
    Attempt, AttemptId, Build, BuildId, CommitId, Decision, Job, Outcome, RepoName, Runner, WallTime, WholeBuild,
};

/// Reads beside the writer, on a connection of its own.
#[derive(Debug)]
pub struct Reader {
    conn: Connection,
    path: PathBuf,
}

/// Which build is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildName {
    Number(u64),
    /// At least four hexadecimal digits of the commit; the newest build that matches.
    Commit(String),
    Latest,
}

impl Reader {
    /// Opens a store that a [`super::Store`] has opened before, so that its tables are of this version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        check::check_header(path)?;
        let opened = connection::for_reading(path).and_then(|conn| schema::version(&conn).map(|found| (conn, found)));
        let (conn, found) = opened.map_err(|e| StoreError::from_sqlite("open", path, e))?;
        if found > schema::VERSION {
            return Err(StoreError::Newer { path: path.to_owned(), found, known: schema::VERSION });
        }
        if found < schema::VERSION {
            let why = "which has not been brought up to date by starting the dispatcher";
            return Err(StoreError::Foreign { path: path.to_owned(), why });
        }
        Ok(Self { conn, path: path.to_owned() })
    }

    /// The build that is meant, if there is one.
    pub fn find(&self, name: &BuildName) -> Result<Option<BuildId>, StoreError> {
        builds::find(&self.conn, name).map_err(self.failed("find a build in"))
    }

    /// Unfinished builds, oldest first.
    pub fn unfinished_builds(&self, repo: Option<&str>) -> Result<Vec<Build>, StoreError> {
        builds::unfinished(&self.conn, repo).map_err(self.failed("read builds from"))
    }

    /// The newest finished builds, newest first.
    pub fn finished_builds(&self, repo: Option<&str>, limit: u32) -> Result<Vec<Build>, StoreError> {
        builds::finished(&self.conn, repo, limit).map_err(self.failed("read builds from"))
    }

    /// One build, without its jobs.
    pub fn build(&self, id: BuildId) -> Result<Option<Build>, StoreError> {
        builds::read(&self.conn, id).map_err(self.failed("read a build from"))
    }

    /// In the order of the task file.
    pub fn jobs(&self, build: BuildId) -> Result<Vec<Job>, StoreError> {
        jobs::of_build(&self.conn, build, &mut Tasks::default()).map_err(self.failed("read jobs from"))
    }

    /// Oldest first.
    pub fn attempts(&self, build: BuildId) -> Result<Vec<Attempt>, StoreError> {
        attempts::of_build(&self.conn, build).map_err(self.failed("read attempts from"))
    }

    /// Oldest first.
    pub fn decisions(&self, build: BuildId) -> Result<Vec<Decision>, StoreError> {
        decisions::of_build(&self.conn, build).map_err(self.failed("read decisions from"))
    }

    /// Results that came for leases no longer held, oldest first.
    pub fn late_results(&self, build: BuildId) -> Result<Vec<(AttemptId, Outcome, WallTime)>, StoreError> {
        late_results::of_build(&self.conn, build).map_err(self.failed("read late results from"))
    }

    /// In the order in which they were first seen.
    pub fn runners(&self) -> Result<Vec<Runner>, StoreError> {
        runners::read_all(&self.conn).map_err(self.failed("read runners from"))
    }

    /// One attempt, of whatever build.
    pub fn attempt(&self, id: AttemptId) -> Result<Option<Attempt>, StoreError> {
        attempts::read(&self.conn, id).map_err(self.failed("read an attempt from"))
    }

    /// Checks all of the store, however large: the structure of its pages, and each row against its checksum. Tells of
    /// each build meanwhile. Takes its time, and keeps nobody waiting.
    pub fn check(&self, mut each: impl FnMut(WholeBuild)) -> Result<(), StoreError> {
        check::check_pages(&self.conn, &self.path, None)?;
        let mut tasks = Tasks::default();
        let mut last = BuildId(0);
        while let Some(whole) = self.build_after(last, &mut tasks).map_err(self.failed("check"))? {
            last = whole.build.id;
            each(whole);
        }
        heads::read_all(&self.conn).and_then(|_| runners::read_all(&self.conn)).map_err(self.failed("check"))?;
        Ok(())
    }

    fn build_after(&self, last: BuildId, tasks: &mut Tasks) -> rusqlite::Result<Option<WholeBuild>> {
        let Some(build) = builds::after(&self.conn, last)? else { return Ok(None) };
        decisions::of_build(&self.conn, build.id)?;
        let jobs = jobs::of_build(&self.conn, build.id, tasks)?;
        let attempts = attempts::of_build(&self.conn, build.id)?;
        Ok(Some(WholeBuild { build, jobs, attempts }))
    }

    /// Tells of every build, newest first.
    pub fn survey(&self, each: impl FnMut(Surveyed)) -> Result<(), StoreError> {
        builds::survey(&self.conn, each).map_err(self.failed("read builds from"))
    }

    /// When and by which rule a build was removed, if that is remembered.
    pub fn forgotten(&self, build: BuildId) -> Result<Option<(Rule, WallTime)>, StoreError> {
        forgotten::read(&self.conn, build).map_err(self.failed("read removed builds from"))
    }

    /// The commits of a repository that builds or heads name, without doubles.
    pub fn commits(&self, repo: &RepoName) -> Result<Vec<CommitId>, StoreError> {
        builds::commits(&self.conn, repo).map_err(self.failed("read commits from"))
    }

    /// The commits whose source may be needed at any moment: of unfinished builds and of present heads.
    pub fn needed(&self) -> Result<Vec<(RepoName, CommitId)>, StoreError> {
        builds::needed_commits(&self.conn).map_err(self.failed("read commits from"))
    }

    /// The highest number that a build ever had.
    pub fn last_build(&self) -> Result<BuildId, StoreError> {
        meta::last_id(&self.conn, "builds").map(BuildId).map_err(self.failed("read builds from"))
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError + use<'_> {
        move |e| StoreError::from_sqlite(doing, &self.path, e)
    }
}
