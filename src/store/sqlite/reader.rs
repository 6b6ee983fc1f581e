//! Readers, each with a connection of its own that is read-only. SQLite's write-ahead log lets a reader see what has
//! been committed without waiting for the writer, and the writer never waits for a reader.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::tables::specs::Tasks;
use super::tables::{attempts, builds, decisions, forgotten, heads, jobs, late_results, meta, runners};
use super::{check, connection, failure, schema};
use crate::model::{
    Attempt, AttemptId, Build, BuildId, CommitId, Decision, Job, RepoName, Runner, WallTime, WholeBuild,
};
use crate::store::{self, BuildName, LateResult, Readers, Rule, Sequence, StoreError, Surveyed};

/// Opens readers of the store in the file at `path`.
pub fn readers(path: &Path) -> Readers {
    let path = path.to_owned();
    Readers::new(move || Ok(Box::new(Reader::open(&path)?)))
}

/// A reader and its connection.
#[derive(Debug)]
struct Reader {
    conn: Connection,
    path: PathBuf,
}

impl Reader {
    fn open(path: &Path) -> Result<Self, StoreError> {
        check::check_header(path)?;
        let conn = connection::for_reading(path).map_err(|e| failure::failed("open", path, e))?;
        if schema::known_version(&conn, path)? < schema::VERSION {
            let why = "which has not been brought up to date by starting the dispatcher";
            return Err(failure::foreign(path, why));
        }
        Ok(Self { conn, path: path.to_owned() })
    }

    fn build_after(&self, last: BuildId, tasks: &mut Tasks) -> rusqlite::Result<Option<WholeBuild>> {
        let Some(build) = builds::after(&self.conn, last)? else { return Ok(None) };
        decisions::of_build(&self.conn, build.id)?;
        let jobs = jobs::of_build(&self.conn, build.id, tasks)?;
        let attempts = attempts::of_build(&self.conn, build.id)?;
        Ok(Some(WholeBuild { build, jobs, attempts }))
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError + use<'_> {
        move |e| failure::failed(doing, &self.path, e)
    }
}

impl store::Reader for Reader {
    fn find(&self, name: &BuildName) -> Result<Option<BuildId>, StoreError> {
        builds::find(&self.conn, name).map_err(self.failed("find a build in"))
    }

    fn unfinished_builds(&self, repo: Option<&str>) -> Result<Vec<Build>, StoreError> {
        builds::unfinished(&self.conn, repo).map_err(self.failed("read builds from"))
    }

    fn finished_builds(&self, repo: Option<&str>, limit: u32) -> Result<Vec<Build>, StoreError> {
        builds::finished(&self.conn, repo, limit).map_err(self.failed("read builds from"))
    }

    fn build(&self, id: BuildId) -> Result<Option<Build>, StoreError> {
        builds::read(&self.conn, id).map_err(self.failed("read a build from"))
    }

    fn jobs(&self, build: BuildId) -> Result<Vec<Job>, StoreError> {
        jobs::of_build(&self.conn, build, &mut Tasks::default()).map_err(self.failed("read jobs from"))
    }

    fn attempts(&self, build: BuildId) -> Result<Vec<Attempt>, StoreError> {
        attempts::of_build(&self.conn, build).map_err(self.failed("read attempts from"))
    }

    fn sequence(&self, build: BuildId) -> Result<Sequence, StoreError> {
        let ask = || {
            Ok(Sequence { end: builds::end_seq(&self.conn, build)?, attempts: attempts::sequence(&self.conn, build)? })
        };
        ask().map_err(self.failed("read the order of what happened from"))
    }

    fn decisions(&self, build: BuildId) -> Result<Vec<(Option<u64>, Decision)>, StoreError> {
        decisions::of_build(&self.conn, build).map_err(self.failed("read decisions from"))
    }

    fn late_results(&self, build: BuildId) -> Result<Vec<LateResult>, StoreError> {
        late_results::of_build(&self.conn, build).map_err(self.failed("read late results from"))
    }

    fn runners(&self) -> Result<Vec<Runner>, StoreError> {
        runners::all(&self.conn).map_err(self.failed("read runners from"))
    }

    fn attempt(&self, id: AttemptId) -> Result<Option<Attempt>, StoreError> {
        attempts::read(&self.conn, id).map_err(self.failed("read an attempt from"))
    }

    fn check(&self, each: &mut dyn FnMut(WholeBuild)) -> Result<(), StoreError> {
        check::check_pages(&self.conn, &self.path, None)?;
        let mut tasks = Tasks::default();
        let mut last = BuildId(0);
        while let Some(whole) = self.build_after(last, &mut tasks).map_err(self.failed("check"))? {
            last = whole.build.id;
            each(whole);
        }
        heads::all(&self.conn).and_then(|_| runners::all(&self.conn)).map_err(self.failed("check"))?;
        Ok(())
    }

    fn survey(&self, each: &mut dyn FnMut(Surveyed)) -> Result<(), StoreError> {
        builds::survey(&self.conn, each).map_err(self.failed("read builds from"))
    }

    fn forgotten(&self, build: BuildId) -> Result<Option<(Rule, WallTime)>, StoreError> {
        forgotten::read(&self.conn, build).map_err(self.failed("read removed builds from"))
    }

    fn commits(&self, repo: &RepoName) -> Result<Vec<CommitId>, StoreError> {
        builds::commits(&self.conn, repo).map_err(self.failed("read commits from"))
    }

    fn needed(&self) -> Result<Vec<(RepoName, CommitId)>, StoreError> {
        builds::needed_commits(&self.conn).map_err(self.failed("read commits from"))
    }

    fn last_build(&self) -> Result<BuildId, StoreError> {
        meta::last_id(&self.conn, "builds").map(BuildId).map_err(self.failed("read builds from"))
    }
}
