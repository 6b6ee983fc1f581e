//! The one writer: opens the store after it has been checked, and makes batches of records durable. Owned by the
//! dispatcher's core; nothing else writes to the file while it lives.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use super::apply::{self, Batch};
use super::error::Fault;
use super::lock::Lock;
use super::names::Names;
use super::rows::before_bytes;
use super::{StoreError, Unfinished, backup, check, queries, schema, wal};
use crate::model::{BuildId, BuildSource, Record, RepoName};

/// How long another program's lock on the file is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages in the write-ahead log after which a commit also moves them to the main file: 16 MiB. SQLite's 1,000 would
/// have every busy batch wait for that; many more would make the wait long and the file beside the store large.
const CHECKPOINT_PAGES: i64 = 4000;
/// What the log shrinks to after something made it large.
const LOG_BYTES_MAX: i64 = 64 << 20;
/// SQLite's cache of pages, in KiB (which it counts as negative): the recent part of every table that is written.
const CACHE_KIB: i64 = -65536;
/// Prepared statements kept; there are some forty.
const STATEMENTS_MAX: usize = 64;

/// The one writer.
#[derive(Debug)]
pub struct Store {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
    pub(super) names: Names,
    /// Last, so that it is given up after the file is closed.
    _lock: Lock,
}

impl Store {
    /// Opens the store at `path` (a file), or makes it; refuses one that fails its check, has a newer schema, or is in
    /// use. Migrates an older one.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = Lock::take(path)?;
        if path.try_exists().map_err(StoreError::io("look for", path))? {
            check::check_header(path)?;
        } else {
            check::refuse_remains(path)?;
            schema::create(path)?;
        }
        if lock.same_boot {
            check::check_log(path)?;
        }
        wal::make_index_writable_in_place(path);
        backup::refuse_backup(path)?;
        let mut conn = connect(path).map_err(|e| StoreError::from_sqlite("open", path, e))?;
        schema::migrate(&mut conn, path)?;
        check::check_tables(&conn, path)?;
        // Until here a refused store keeps its log as it was found, as evidence.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map_err(|e| StoreError::from_sqlite("open", path, e))?;
        Ok(Self { conn, path: path.to_owned(), names: Names::default(), _lock: lock })
    }

    /// Makes the records durable, all or none, in order. When it returns they have been synced. After an error that
    /// [`StoreError::is_passing`] the same records may be tried again; after any other the process should end.
    pub fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        match self.try_commit(records) {
            Err(StoreError::Full { .. }) => {
                // The log may hold room that the main file needs not. If that fails too, the disk is just full.
                drop(self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
                self.try_commit(records)
            }
            other => other,
        }
    }

    /// Unfinished builds with what belongs to them, and what else a dispatcher starts from.
    pub fn unfinished(&self) -> Result<Unfinished, StoreError> {
        self.read_unfinished().map_err(self.failed("read unfinished work from"))
    }

    /// The build that was made for this submission, so that a repeated one is answered with it (S2). Only repository,
    /// branch, `before` and commit count.
    pub fn build_of(&self, source: &BuildSource) -> Result<Option<BuildId>, StoreError> {
        let found = self.conn.prepare_cached(
            "SELECT id FROM builds WHERE commit_id = ?1 AND repo = (SELECT id FROM repos WHERE name = ?2)
             AND branch = ?3 AND before = ?4",
        );
        found
            .and_then(|mut statement| {
                let before = before_bytes(source.before.as_ref());
                let key = params![source.commit.as_bytes(), source.repo.as_str(), source.branch.as_str(), before];
                statement.query_row(key, |row| row.get::<_, i64>(0)).optional()
            })
            .map(|id| id.map(|id| BuildId(id.cast_unsigned())))
            .map_err(self.failed("find a build in"))
    }

    /// Where the repository of that name was last observed, for telling two of one name apart.
    pub fn repo_source(&self, repo: &RepoName) -> Result<Option<String>, StoreError> {
        self.conn
            .prepare_cached("SELECT source FROM repos WHERE name = ?1")
            .and_then(|mut statement| statement.query_row([repo.as_str()], |row| row.get(0)).optional())
            .map(Option::flatten)
            .map_err(self.failed("read a repository's source from"))
    }

    /// Remembers where the repository of that name is observed. Durable on return.
    pub fn set_repo_source(&mut self, repo: &RepoName, source: &str) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO repos (name, source) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET source = excluded.source",
            )
            .and_then(|mut statement| statement.execute([repo.as_str(), source]))
            .map(drop)
            .map_err(self.failed("write a repository's source to"))
    }

    pub(super) fn failed(&self, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError + use<'_> {
        move |e| StoreError::from_sqlite(doing, &self.path, e)
    }

    /// A transaction for writing, which is undone unless committed.
    pub(super) fn begin(conn: &Connection) -> rusqlite::Result<Transaction<'_>> {
        Transaction::new_unchecked(conn, TransactionBehavior::Immediate)
    }

    fn try_commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let written = self.write(records);
        if written.is_err() {
            // Rows that the names stand for may have been undone.
            self.names = Names::default();
        }
        written.map_err(|error| self.explained(error))
    }

    /// SQLite tells a full disk from other failures to write, but not a quota that is used up, which heals as well.
    fn explained(&self, error: StoreError) -> StoreError {
        if !error.is_unexplained_write() || !is_out_of_quota(&self.path) {
            return error;
        }
        if let StoreError::Failed { path, source, .. } = error { StoreError::Full { path, source } } else { error }
    }

    fn write(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let failed = |e| StoreError::from_sqlite("write to", &self.path, e);
        let tx = Self::begin(&self.conn).map_err(failed)?;
        let mut batch = Batch::new(&tx, &mut self.names).map_err(failed)?;
        for record in records {
            batch.apply(record).map_err(|fault| match apply::judge(fault) {
                Fault::Sqlite(e) => failed(e),
                Fault::Contradiction(why) => StoreError::Contradiction { record: apply::describe(record), why },
            })?;
        }
        drop(batch);
        tx.commit().map_err(failed)
    }

    fn read_unfinished(&self) -> rusqlite::Result<Unfinished> {
        let conn = &self.conn;
        let mut specs = queries::Specs::new();
        let mut builds = Vec::new();
        for build in queries::builds(conn, queries::BUILDS_UNFINISHED, [])? {
            let jobs = queries::jobs(conn, build.id, &mut specs)?;
            let attempts = queries::unfinished_attempts(conn, build.id)?;
            builds.push((build, jobs, attempts));
        }
        Ok(Unfinished {
            builds,
            heads: queries::heads(conn)?,
            runners: queries::runners(conn)?,
            last_build: last_id(conn, "builds")?,
            last_job: last_id(conn, "jobs")?,
            last_attempt: last_id(conn, "attempts")?,
            last_runner: last_id(conn, "runners")?,
        })
    }
}

/// Whether as much as a page more would be refused beside this file.
fn is_out_of_quota(path: &Path) -> bool {
    let probe = wal::beside(path, ".probe");
    let written = std::fs::write(&probe, [0; 64 * 1024]);
    drop(std::fs::remove_file(&probe));
    written.is_err_and(|error| matches!(error.kind(), ErrorKind::QuotaExceeded | ErrorKind::StorageFull))
}

/// The highest number ever given out in that table, also if its row was forgotten since.
pub(super) fn last_id(conn: &Connection, table: &str) -> rusqlite::Result<u64> {
    let query = format!(
        "SELECT max(coalesce((SELECT max(id) FROM {table}), 0),
           coalesce((SELECT value FROM meta WHERE name = ?1), 0))"
    );
    let id: i64 = conn.prepare_cached(&query)?.query_row([table], |row| row.get(0))?;
    Ok(id.cast_unsigned())
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // An answer to every commit is a promise, so every commit is synced.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    // A page is looked at when it is read, not only when it breaks something.
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "cache_size", CACHE_KIB)?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    conn.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_MAX, |_| Ok(()))?;
    // It is so since it was made; whoever switched it off with another program is overruled.
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    Ok(conn)
}
