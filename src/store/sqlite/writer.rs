//! The one writer. It opens the store after the checks, and makes batches of records durable. The dispatcher's core
//! owns it; nothing else writes to the file while it lives.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::apply::{self, Batch};
use super::failure::Fault;
use super::lock::Lock;
use super::tables::specs::Tasks;
use super::tables::{
    Interned, attempts, builds, caches, credentials, ends, heads, jobs, meta, outcomes, patterns, repos, runners,
    schedules, secrets, short_logs, tool_entries,
};
use super::{check, connection, failure, reader, retention, schema, wal};
use crate::model::{
    ArtifactRemoval, AttemptId, BuildId, CacheEntry, CacheKey, Credential, CredentialId, ObservedRefs, Record,
    RepoName, Secret, SecretUse, ShortLog, Snapshot, ToolEntry, WallTime, WholeBuild,
};
use crate::store::{Readers, Rule, Store, StoreError};

/// The most short logs that are read or removed at once, between other work.
const SHORT_LOGS_AT_A_TIME: u32 = 1_000;

/// Opens the store in the file at `path`, or makes it; refuses one that fails its check, has a newer schema, or is in
/// use. Migrates an older one.
pub fn open(path: &Path) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(Writer::open(path)?))
}

/// The one writer.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) conn: Connection,
    path: PathBuf,
    interned: Interned,
    /// The number of the newest short log. No number is used again while this lives, also if the newest are forgotten.
    last_short_log: i64,
    /// The last field, so that the lock is released after the file is closed.
    lock: Lock,
}

impl Writer {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = Lock::take(path)?;
        if path.try_exists().map_err(failure::io("look for", path))? {
            check::check_header(path)?;
        } else {
            check::refuse_remains(path)?;
            schema::create(path)?;
        }
        if lock.same_boot {
            check::check_log(path)?;
        }
        wal::make_index_writable_in_place(path);
        check::refuse_backup(path)?;
        let mut conn = connection::for_writing(path).map_err(|e| failure::failed("open", path, e))?;
        schema::migrate(&mut conn, path)?;
        check::check_tables(&conn, path)?;
        // Only now may closing move the log into the file: a store that is refused keeps its log, as evidence.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map_err(|e| failure::failed("open", path, e))?;
        let last_short_log = short_logs::last(&conn).map_err(|e| failure::failed("open", path, e))?;
        Ok(Self { conn, path: path.to_owned(), interned: Interned::default(), last_short_log, lock })
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError + use<'_> {
        move |e| failure::failed(doing, &self.path, e)
    }

    fn try_commit(&mut self, records: &[Record], logs: &[ShortLog]) -> Result<(), StoreError> {
        let written = self.write(records, logs);
        if written.is_err() {
            // The failed transaction may have undone the rows that the remembered numbers stand for.
            self.interned = Interned::default();
        }
        written.map_err(|error| self.explained(error))
    }

    /// Makes [`StoreError::Full`] of a failed write if a quota is used up. SQLite tells a full disk from other failures
    /// to write, but not a quota; both pass by themselves.
    fn explained(&self, error: StoreError) -> StoreError {
        if !failure::is_unexplained_write(&error) || !is_out_of_quota(&self.path) {
            return error;
        }
        if let StoreError::Failed { store, source, .. } = error { StoreError::Full { store, source } } else { error }
    }

    fn write(&mut self, records: &[Record], logs: &[ShortLog]) -> Result<(), StoreError> {
        let failed = |e| failure::failed("write to", &self.path, e);
        let tx = begin(&self.conn).map_err(failed)?;
        let mut batch = Batch::new(&tx, &mut self.interned).map_err(failed)?;
        for record in records {
            batch.apply(record).map_err(|fault| match apply::judge(fault) {
                Fault::Sqlite(e) => failed(e),
                Fault::Contradiction(why) => StoreError::Contradiction { record: apply::describe(record), why },
            })?;
        }
        drop(batch);
        for log in logs {
            self.last_short_log += 1;
            short_logs::insert(&tx, self.last_short_log, log).map_err(failed)?;
        }
        tx.commit().map_err(failed)
    }

    fn read_snapshot(&self) -> rusqlite::Result<Snapshot> {
        let conn = &self.conn;
        let mut tasks = Tasks::default();
        let mut found = Vec::new();
        for build in builds::unfinished(conn, None, u32::MAX)? {
            let jobs = jobs::of_build(conn, build.id, &mut tasks)?;
            let attempts = attempts::unfinished_of_build(conn, build.id)?;
            found.push(WholeBuild { build, jobs, attempts });
        }
        let (recorded, cancelled) = outcomes::newest(conn, &mut tasks)?;
        Ok(Snapshot {
            builds: found,
            heads: heads::all(conn)?,
            patterns: patterns::all(conn)?,
            ends: ends::all(conn)?,
            schedules: schedules::all(conn)?,
            runners: runners::all(conn)?,
            cancelled,
            last_build: meta::last_id(conn, "builds")?,
            last_job: meta::last_id(conn, "jobs")?,
            last_attempt: meta::last_id(conn, "attempts")?,
            last_runner: meta::last_id(conn, "runners")?,
            recorded,
        })
    }
}

impl Store for Writer {
    fn commit_with(&mut self, records: &[Record], logs: &[ShortLog]) -> Result<(), StoreError> {
        if records.is_empty() && logs.is_empty() {
            return Ok(());
        }
        match self.try_commit(records, logs) {
            Err(StoreError::Full { .. }) => {
                // A checkpoint shrinks the log, which may make room. Its error is ignored: then the disk is full.
                drop(self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
                self.try_commit(records, logs)
            }
            other => other,
        }
    }

    fn is_of_this_boot(&self) -> bool {
        self.lock.same_boot
    }

    fn last_short_log(&self) -> Result<i64, StoreError> {
        let newest = short_logs::last(&self.conn).map_err(self.failed("read short logs from"))?;
        Ok(if newest > 0 { self.last_short_log } else { 0 })
    }

    fn short_logs(&self, after: i64) -> Result<Vec<(i64, ShortLog)>, StoreError> {
        short_logs::after(&self.conn, after, SHORT_LOGS_AT_A_TIME).map_err(self.failed("read short logs from"))
    }

    fn forget_short_logs(&mut self, up_to: i64) -> Result<bool, StoreError> {
        let deleted = short_logs::delete(&self.conn, up_to, SHORT_LOGS_AT_A_TIME);
        Ok(deleted.map_err(self.failed("remove short logs from"))? == SHORT_LOGS_AT_A_TIME as usize)
    }

    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.read_snapshot().map_err(self.failed("read unfinished work from"))
    }

    fn repo_source(&self, repo: &RepoName) -> Result<Option<String>, StoreError> {
        repos::source(&self.conn, repo).map_err(self.failed("read a repository's source from"))
    }

    fn set_repo_source(&mut self, repo: &RepoName, source: &str) -> Result<(), StoreError> {
        repos::set_source(&self.conn, repo, source).map_err(self.failed("write a repository's source to"))
    }

    fn observed_refs(&self, repo: &RepoName) -> Result<ObservedRefs, StoreError> {
        repos::observed_refs(&self.conn, repo).map_err(self.failed("read a repository's refs from"))
    }

    fn set_observed_refs(&mut self, repo: &RepoName, refs: &ObservedRefs) -> Result<(), StoreError> {
        repos::set_observed_refs(&self.conn, repo, refs).map_err(self.failed("write a repository's refs to"))
    }

    fn credentials(&self) -> Result<Vec<Credential>, StoreError> {
        credentials::all(&self.conn).map_err(self.failed("read credentials from"))
    }

    fn save_credentials(&mut self, changed: &[Credential], forgotten: &[CredentialId]) -> Result<(), StoreError> {
        let saved = begin(&self.conn).and_then(|tx| {
            changed.iter().try_for_each(|credential| credentials::save(&tx, credential))?;
            forgotten.iter().try_for_each(|id| credentials::delete(&tx, id))?;
            tx.commit()
        });
        saved.map_err(self.failed("write credentials to"))
    }

    fn save_secret(&mut self, secret: &Secret) -> Result<(), StoreError> {
        secrets::save(&self.conn, secret).map_err(self.failed("write a secret to"))
    }

    fn remove_secret(&mut self, name: &str, repo: Option<&str>) -> Result<bool, StoreError> {
        secrets::delete(&self.conn, name, repo).map_err(self.failed("remove a secret from"))
    }

    fn note_secret_use(&mut self, name: &str, repo: Option<&str>, last: &SecretUse) -> Result<(), StoreError> {
        let noted = secrets::all(&self.conn).and_then(|all| {
            let found = all.into_iter().find(|secret| secret.name == name && secret.rule.repo.as_deref() == repo);
            found.map_or(Ok(()), |secret| secrets::save(&self.conn, &Secret { last_use: Some(last.clone()), ..secret }))
        });
        noted.map_err(self.failed("write a secret to"))
    }

    fn add_cache(&mut self, entry: &CacheEntry) -> Result<bool, StoreError> {
        caches::insert(&self.conn, entry).map_err(self.failed("write a cache to"))
    }

    fn note_cache_use(&mut self, id: i64, at: WallTime) -> Result<(), StoreError> {
        caches::note_use(&self.conn, id, at).map_err(self.failed("write a cache to"))
    }

    fn remove_caches(&mut self, ids: &[i64]) -> Result<(), StoreError> {
        let removed = begin(&self.conn).and_then(|tx| {
            caches::delete(&tx, ids)?;
            tx.commit()
        });
        removed.map_err(self.failed("remove caches from"))
    }

    fn save_tool_entries(&mut self, new: &[ToolEntry], used: &[(CacheKey, WallTime)]) -> Result<(), StoreError> {
        let saved = begin(&self.conn).and_then(|tx| {
            new.iter().try_for_each(|entry| tool_entries::insert(&tx, entry))?;
            used.iter().try_for_each(|(key, at)| tool_entries::note_use(&tx, key, *at))?;
            tx.commit()
        });
        saved.map_err(|error| self.explained(self.failed("write entries of the tool cache to")(error)))
    }

    fn remove_tool_entries(&mut self, keys: &[CacheKey]) -> Result<(), StoreError> {
        let removed = begin(&self.conn).and_then(|tx| {
            keys.iter().try_for_each(|key| tool_entries::delete(&tx, key))?;
            tx.commit()
        });
        removed.map_err(self.failed("remove entries of the tool cache from"))
    }

    fn forget(&mut self, builds: &[BuildId], rule: Rule, at: WallTime) -> Result<Vec<BuildId>, StoreError> {
        let forgotten = begin(&self.conn).and_then(|tx| retention::forget(tx, builds, rule, at));
        forgotten.map_err(self.failed("forget builds of"))
    }

    fn remove_artifacts(
        &mut self,
        wanted: &[(AttemptId, String)],
        removal: ArtifactRemoval,
    ) -> Result<Vec<(AttemptId, String)>, StoreError> {
        let removed = begin(&self.conn).and_then(|tx| retention::remove_artifacts(tx, wanted, removal));
        removed.map_err(self.failed("remove artifacts from"))
    }

    fn release_memory(&mut self) {
        // An error means that the pages stay in memory, which harms nothing.
        drop(self.conn.execute_batch("PRAGMA shrink_memory"));
    }

    fn readers(&self) -> Readers {
        reader::readers(&self.path)
    }
}

/// Begins a transaction for writing, which is undone unless committed.
fn begin(conn: &Connection) -> rusqlite::Result<Transaction<'_>> {
    Transaction::new_unchecked(conn, TransactionBehavior::Immediate)
}

/// Whether a file of 64 KiB cannot be written beside this one.
fn is_out_of_quota(path: &Path) -> bool {
    let probe = wal::beside(path, ".probe");
    let written = std::fs::write(&probe, [0; 64 * 1024]);
    drop(std::fs::remove_file(&probe));
    written.is_err_and(|error| matches!(error.kind(), ErrorKind::QuotaExceeded | ErrorKind::StorageFull))
}
