//! Reads beside the writer, each reader on a connection of its own: it sees what has been committed, never waits for
//! the writer and is never waited for. Cannot write: the connection is read-only. Called by whatever answers people.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{StoreError, WholeBuild, check, queries, rows, schema};
use crate::model::{Attempt, AttemptId, Build, BuildId, Decision, Job, Outcome, Runner, WallTime};

/// Only a writer that recovers the log after a crash is ever waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept; there are some fifteen.
const STATEMENTS_MAX: usize = 32;

/// Reads beside the writer, on a connection of its own.
#[derive(Debug)]
pub struct Reader {
    pub(super) conn: Connection,
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
        let opened = connect(path).and_then(|conn| schema::version(&conn).map(|found| (conn, found)));
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
        let newest = |query: &str, params: &[&dyn rusqlite::ToSql]| {
            self.conn.prepare_cached(query)?.query_row(params, |row| row.get::<_, Option<i64>>(0))
        };
        let found = match name {
            BuildName::Number(id) => newest("SELECT max(id) FROM builds WHERE id = ?1", &[&rows::signed(*id)]),
            BuildName::Latest => newest("SELECT max(id) FROM builds", &[]),
            BuildName::Commit(digits) => match rows::prefix_bounds(digits) {
                Some((low, high)) => {
                    newest("SELECT max(id) FROM builds WHERE commit_id >= ?1 AND commit_id < ?2", &[&low, &high])
                }
                None => Ok(None),
            },
        };
        found.map(|id| id.map(|id| BuildId(id.cast_unsigned()))).map_err(self.failed("find a build in"))
    }

    /// Unfinished builds, oldest first.
    pub fn unfinished_builds(&self, repo: Option<&str>) -> Result<Vec<Build>, StoreError> {
        let found = match repo {
            Some(repo) => queries::builds(&self.conn, queries::BUILDS_UNFINISHED_OF, [repo]),
            None => queries::builds(&self.conn, queries::BUILDS_UNFINISHED, []),
        };
        found.map_err(self.failed("read builds from"))
    }

    /// The newest finished builds, newest first.
    pub fn finished_builds(&self, repo: Option<&str>, limit: u32) -> Result<Vec<Build>, StoreError> {
        let found = match repo {
            Some(repo) => queries::builds(&self.conn, queries::BUILDS_FINISHED_OF, (limit, repo)),
            None => queries::builds(&self.conn, queries::BUILDS_FINISHED, [limit]),
        };
        found.map_err(self.failed("read builds from"))
    }

    /// One build, without its jobs.
    pub fn build(&self, id: BuildId) -> Result<Option<Build>, StoreError> {
        queries::build(&self.conn, id).map_err(self.failed("read a build from"))
    }

    /// In the order of the task file.
    pub fn jobs(&self, build: BuildId) -> Result<Vec<Job>, StoreError> {
        queries::jobs(&self.conn, build, &mut queries::Specs::new()).map_err(self.failed("read jobs from"))
    }

    /// Oldest first.
    pub fn attempts(&self, build: BuildId) -> Result<Vec<Attempt>, StoreError> {
        queries::attempts(&self.conn, build).map_err(self.failed("read attempts from"))
    }

    /// Oldest first.
    pub fn decisions(&self, build: BuildId) -> Result<Vec<Decision>, StoreError> {
        queries::decisions(&self.conn, build).map_err(self.failed("read decisions from"))
    }

    /// Results that came for leases no longer held, oldest first.
    pub fn late_results(&self, build: BuildId) -> Result<Vec<(AttemptId, Outcome, WallTime)>, StoreError> {
        queries::late_results(&self.conn, build).map_err(self.failed("read late results from"))
    }

    /// In the order in which they were first seen.
    pub fn runners(&self) -> Result<Vec<Runner>, StoreError> {
        queries::runners(&self.conn).map_err(self.failed("read runners from"))
    }

    /// One attempt, of whatever build.
    pub fn attempt(&self, id: AttemptId) -> Result<Option<Attempt>, StoreError> {
        queries::attempt(&self.conn, id).map_err(self.failed("read an attempt from"))
    }

    /// Checks all of the store, however large: the structure of its pages, and each row against its checksum. Tells of
    /// each build meanwhile. Takes its time, and keeps nobody waiting.
    pub fn check(&self, mut each: impl FnMut(WholeBuild)) -> Result<(), StoreError> {
        check::check_pages(&self.conn, &self.path, None)?;
        let mut specs = queries::Specs::new();
        let mut last = BuildId(0);
        while let Some(whole) = self.build_after(last, &mut specs).map_err(self.failed("check"))? {
            last = whole.0.id;
            each(whole);
        }
        queries::heads(&self.conn).and_then(|_| queries::runners(&self.conn)).map_err(self.failed("check"))?;
        Ok(())
    }

    fn build_after(&self, last: BuildId, specs: &mut queries::Specs) -> rusqlite::Result<Option<WholeBuild>> {
        let next: Option<i64> = self
            .conn
            .prepare_cached("SELECT min(id) FROM builds WHERE id > ?1")?
            .query_row([rows::signed(last.0)], |row| row.get(0))?;
        let Some(id) = next.map(|id| BuildId(id.cast_unsigned())) else { return Ok(None) };
        let Some(build) = queries::build(&self.conn, id)? else { return Ok(None) };
        queries::decisions(&self.conn, id)?;
        Ok(Some((build, queries::jobs(&self.conn, id, specs)?, queries::attempts(&self.conn, id)?)))
    }

    pub(super) fn failed(&self, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError + use<'_> {
        move |e| StoreError::from_sqlite(doing, &self.path, e)
    }
}

pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    Ok(conn)
}
