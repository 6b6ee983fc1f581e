//! The tables in SQL, the version of the schema, and the migrations from older versions.
//!
//! A table that the cycle of lease, outcome and ending touches has an INTEGER PRIMARY KEY and no index beside it:
//! - a build's jobs have ascending numbers, so `builds.first_job` to `last_job` finds them;
//! - a job names its newest attempt, and each attempt the job's `previous` one, so that chain finds them all;
//! - an outcome is a row of its own under the attempt's number: written once, and the key refuses a second one (S6);
//! - values that are wide or repeat have tables of their own: `specs`, `ranges`, `reasons`.
//!
//! The rows that decisions rest on carry a checksum, column `seal` (see `checksum.rs`).
//!
//! A migration is never edited once released; a new one is added, and [`VERSION`] counts them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{failure, wal};
use crate::store::StoreError;

/// Identifies the file as ours in its header, among other SQLite files: "SRVL".
pub(super) const APPLICATION_ID: i32 = 0x5352_564c;

/// The schema's version, which is the number of migrations.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

const MIGRATIONS: &[&str] = &[
    FIRST,
    SECOND,
    THIRD,
    FOURTH,
    FIFTH,
    SIXTH,
    SEVENTH,
    EIGHTH,
    NINTH,
    TENTH,
    ELEVENTH,
    TWELFTH,
    THIRTEENTH,
    FOURTEENTH,
    FIFTEENTH,
    SIXTEENTH,
    SEVENTEENTH,
    EIGHTEENTH,
    NINETEENTH,
    TWENTIETH,
    TWENTYFIRST,
    TWENTYSECOND,
    TWENTYTHIRD,
    TWENTYFOURTH,
];

/// The digest of the tables and indexes that the migrations make. To make them anew for each start, to compare with,
/// would take longer than the rest of the start.
const DEFINITIONS: u32 = 3_032_968_319;

/// The SQL of each table and index, by name.
type Definitions = BTreeMap<String, Option<String>>;

const FIRST: &str = "
-- Numbers that must outlive the rows they come from: the highest id ever given out, per kind.
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE repos (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, source TEXT) STRICT;

CREATE TABLE heads (
    repo INTEGER NOT NULL, branch TEXT NOT NULL, head BLOB NOT NULL, seal INTEGER NOT NULL,
    PRIMARY KEY (repo, branch)
) STRICT, WITHOUT ROWID;

CREATE TABLE runners (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, first_seen INTEGER NOT NULL,
    seal INTEGER NOT NULL
) STRICT;

-- seal: of what never changes; end_seal: of verdict and finished_at. before: empty for a branch that was new, because
-- NULLs would never be equal. verdict: 0 passed, 1 failed, 2 errored, 3 cancelled, NULL unfinished.
CREATE TABLE builds (
    id INTEGER PRIMARY KEY, repo INTEGER NOT NULL, branch TEXT NOT NULL, commit_id BLOB NOT NULL, before BLOB NOT NULL,
    first_job INTEGER NOT NULL, last_job INTEGER NOT NULL, created_at INTEGER NOT NULL, finished_at INTEGER,
    verdict INTEGER, problem TEXT, subject TEXT NOT NULL, author TEXT NOT NULL, seal INTEGER NOT NULL,
    end_seal INTEGER NOT NULL
) STRICT;
-- The same submission makes one build (S2); the commit comes first, so that people find builds by its first digits.
CREATE UNIQUE INDEX builds_by_commit ON builds (commit_id, repo, branch, before);
CREATE INDEX builds_by_repo ON builds (repo);
CREATE INDEX builds_unfinished ON builds (repo) WHERE verdict IS NULL;

-- The commits of a build's range, each as one byte of length and its bytes. No row for an empty range.
CREATE TABLE ranges (build INTEGER PRIMARY KEY, commits BLOB NOT NULL) STRICT;

-- Tasks as JSON, each content once.
CREATE TABLE specs (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE, seal INTEGER NOT NULL) STRICT;

-- state: 0 waiting, 1 queued, 2 leased, 3 passed, 4 failed, 5 errored, 6 cancelled, 7 skipped. attempt: the newest, or
-- 0. detail: why it errored or was skipped.
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY, build INTEGER NOT NULL, spec INTEGER NOT NULL, state INTEGER NOT NULL,
    attempt INTEGER NOT NULL, attempts INTEGER NOT NULL, failures INTEGER NOT NULL, losses INTEGER NOT NULL,
    detail TEXT, seal INTEGER NOT NULL
) STRICT;

CREATE TABLE reasons (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE) STRICT;

-- reason: the number of a row in reasons, or the text itself. previous: the job's attempt before this one.
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, job INTEGER NOT NULL, number INTEGER NOT NULL, runner INTEGER NOT NULL,
    reason ANY NOT NULL, leased_at INTEGER NOT NULL, previous INTEGER, seal INTEGER NOT NULL
) STRICT;

-- outcome: 0 passed, 1 failed, 2 killed, 3 timed out, 4 cancelled, 5 could not start, 6 lost. code: an exit code or
-- a signal. detail: why it was lost or could not start.
CREATE TABLE outcomes (
    attempt INTEGER PRIMARY KEY, outcome INTEGER NOT NULL, code INTEGER, detail TEXT, finished_at INTEGER NOT NULL,
    duration_ms INTEGER, log_bytes INTEGER NOT NULL, log_crc32 INTEGER NOT NULL, log_missing TEXT,
    seal INTEGER NOT NULL
) STRICT;

CREATE TABLE late_results (
    id INTEGER PRIMARY KEY, attempt INTEGER NOT NULL, outcome INTEGER NOT NULL, code INTEGER, detail TEXT,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX late_results_by_attempt ON late_results (attempt);

CREATE TABLE decisions (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, build INTEGER NOT NULL, job INTEGER, attempt INTEGER, runner INTEGER,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX decisions_by_build ON decisions (build);
";

const SECOND: &str = "
-- Builds that retention removed, and by which rule, for whoever asks for one. Only the newest are remembered.
CREATE TABLE forgotten (build INTEGER PRIMARY KEY, rule INTEGER NOT NULL, at INTEGER NOT NULL) STRICT;
";

const THIRD: &str = "
-- A build has a trigger; until now each was a push. reference: the ref's full name. trigger_kind: 0 push. trust:
-- 0 untrusted, 1 trusted. trigger_key: tells the trigger from others of its kind, ref and commit: for a push the head
-- before it, empty for a branch that was new.
DROP INDEX builds_by_commit;
ALTER TABLE builds RENAME COLUMN branch TO reference;
ALTER TABLE builds RENAME COLUMN before TO trigger_key;
ALTER TABLE builds ADD COLUMN trigger_kind INTEGER NOT NULL DEFAULT 0;
ALTER TABLE builds ADD COLUMN trust INTEGER NOT NULL DEFAULT 0;
UPDATE builds SET reference = 'refs/heads/' || reference, trust = reference IN ('main', 'master');
-- One trigger makes one build (S2); the commit comes first, so that people find builds by its first digits.
CREATE UNIQUE INDEX builds_by_trigger ON builds (commit_id, repo, reference, trigger_kind, trigger_key);
";

const FOURTH: &str = r#"
-- Why, as JSON: {"code": "silent", "silent_ms": 20000}. Beside it stands the text: detail, body or text. NULL where
-- only the text is known: in rows from before there were codes.
ALTER TABLE jobs ADD COLUMN reason TEXT;
ALTER TABLE reasons ADD COLUMN reason TEXT;
ALTER TABLE outcomes ADD COLUMN reason TEXT;
ALTER TABLE late_results ADD COLUMN reason TEXT;
ALTER TABLE decisions ADD COLUMN reason TEXT;

-- The order in which these rows were written, over all tables and starts, so that a build's history needs no clock.
-- NULL in rows from before there was one.
ALTER TABLE attempts ADD COLUMN seq INTEGER;
ALTER TABLE outcomes ADD COLUMN seq INTEGER;
ALTER TABLE late_results ADD COLUMN seq INTEGER;
ALTER TABLE decisions ADD COLUMN seq INTEGER;
ALTER TABLE builds ADD COLUMN end_seq INTEGER;
"#;

const FIFTH: &str = "
-- The accepted moves of a repository's branches are numbered from 1 over all of its branches, so that a branch that
-- comes back to a commit is told from an announcement that is repeated. 0 in rows from before. From now on the key of a
-- push begins with its number, in eight bytes.
ALTER TABLE heads ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
-- number: of the last move by which a branch of the repository ended.
CREATE TABLE ends (repo INTEGER PRIMARY KEY, number INTEGER NOT NULL, seal INTEGER NOT NULL) STRICT;

-- Covers the reason, which the checksum of an attempt leaves out. NULL in rows from before.
ALTER TABLE reasons ADD COLUMN seal INTEGER;
";

const SIXTH: &str = "
-- drained: 1 while an operator keeps jobs from the runner. ending: the incarnation of the process that was told to end
-- then, NULL if none was connected. NULL in both for all other runners.
ALTER TABLE runners ADD COLUMN drained INTEGER;
ALTER TABLE runners ADD COLUMN ending INTEGER;
";

const SEVENTH: &str = "
-- Heads of all kinds of refs, under their full names. Copied, because a branch `refs/heads/x` beside a branch `x` would
-- be in the way of a change in place.
ALTER TABLE heads RENAME TO heads_of_branches;
CREATE TABLE heads (
    repo INTEGER NOT NULL, reference TEXT NOT NULL, head BLOB NOT NULL, number INTEGER NOT NULL, seal INTEGER NOT NULL,
    PRIMARY KEY (repo, reference)
) STRICT, WITHOUT ROWID;
INSERT INTO heads (repo, reference, head, number, seal)
    SELECT repo, 'refs/heads/' || branch, head, number, seal FROM heads_of_branches;
DROP TABLE heads_of_branches;
";

const EIGHTH: &str = "
-- noted: 1 for a ref that was there at the first look at it and has not moved since; it has no build.
ALTER TABLE heads ADD COLUMN noted INTEGER NOT NULL DEFAULT 0;
-- The patterns for refs whose first look is over.
CREATE TABLE patterns (
    repo INTEGER NOT NULL, pattern TEXT NOT NULL, seal INTEGER NOT NULL, PRIMARY KEY (repo, pattern)
) STRICT, WITHOUT ROWID;
";

const NINTH: &str = "
-- The steps of attempts at tasks with steps, numbered from 1. outcome, code, detail and reason: as in outcomes, and
-- outcome -1 for a step that was left out. log_start, log_end: its section of the log, in bytes.
CREATE TABLE steps (
    attempt INTEGER NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, outcome INTEGER NOT NULL, code INTEGER,
    detail TEXT, reason TEXT, duration_ms INTEGER, log_start INTEGER NOT NULL, log_end INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (attempt, number)
) STRICT, WITHOUT ROWID;
";

const TENTH: &str = "
-- The schedules of branches. cron, timezone: NULL in both once the branch has the schedule no longer. last_due: times
-- up to this one are over, in milliseconds since 1970.
CREATE TABLE schedules (
    repo INTEGER NOT NULL, reference TEXT NOT NULL, name TEXT NOT NULL, cron TEXT, timezone TEXT,
    last_due INTEGER NOT NULL, seal INTEGER NOT NULL,
    PRIMARY KEY (repo, reference, name)
) STRICT, WITHOUT ROWID;
";

const ELEVENTH: &str = "
-- settings: of the build as a whole, as JSON; NULL for the default. The state of a job may be 8 left out, or 9 held,
-- which is no ending; a cancelled job may have a reason.
ALTER TABLE builds ADD COLUMN settings TEXT;
";

const TWELFTH: &str = "
-- What an observer told last of the refs of the repository. default_branch: without refs/heads/. named: the full names
-- of the branches and tags that it watches by name, one on each line. NULL in both if it told none.
ALTER TABLE repos ADD COLUMN default_branch TEXT;
ALTER TABLE repos ADD COLUMN named TEXT;
";

const THIRTEENTH: &str = "
-- The jobs that joined a build after it was added: their numbers, as first_job and last_job of builds.
CREATE TABLE joined (
    build INTEGER NOT NULL, first_job INTEGER NOT NULL, last_job INTEGER NOT NULL, PRIMARY KEY (build, first_job)
) STRICT, WITHOUT ROWID;
";

const FOURTEENTH: &str = "
-- Join tokens, and the credentials of peers that joined. role: 0 observer, 1 runner, 2 reader, 3 member, 4 admin. hash:
-- the SHA-256 of the secret. labels, repos: one on each line. expires_at, uses_left: of a join token only. token: by
-- which a peer joined.
CREATE TABLE credentials (
    id TEXT PRIMARY KEY, role INTEGER NOT NULL, name TEXT, labels TEXT NOT NULL, repos TEXT NOT NULL,
    hash BLOB NOT NULL, created_at INTEGER NOT NULL, last_used INTEGER NOT NULL, revoked_at INTEGER,
    expires_at INTEGER, uses_left INTEGER, token TEXT, seal INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

const FIFTEENTH: &str = "
-- How attempts were executed, as JSON: the tier in force, and what their processes used. No row if the runner told
-- nothing.
CREATE TABLE executions (attempt INTEGER PRIMARY KEY, body TEXT NOT NULL, seal INTEGER NOT NULL) STRICT;
";

const SIXTEENTH: &str = "
-- asked_by: the name of the person who asked for a manual build or a try; NULL if it is not known.
ALTER TABLE builds ADD COLUMN asked_by TEXT;
";

const SEVENTEENTH: &str = "
-- The outputs of attempts, as JSON. build, job, task: those of the attempt. No row for an attempt without outputs.
CREATE TABLE outputs (
    attempt INTEGER PRIMARY KEY, build INTEGER NOT NULL, job INTEGER NOT NULL, task TEXT NOT NULL, body TEXT NOT NULL,
    seal INTEGER NOT NULL
) STRICT;
CREATE INDEX outputs_by_task ON outputs (build, task);
";

const EIGHTEENTH: &str = "
-- ordered_by, ordered_at: the name of the person who gave the last order to drain or resume the runner, and when; NULL
-- in both for an order of before. created_by, revoked_by: such names; NULL if they are not known.
ALTER TABLE runners ADD COLUMN ordered_by TEXT;
ALTER TABLE runners ADD COLUMN ordered_at INTEGER;
ALTER TABLE credentials ADD COLUMN created_by TEXT;
ALTER TABLE credentials ADD COLUMN revoked_by TEXT;
";

const NINETEENTH: &str = "
-- The artifacts that attempts left, as JSON: the name of each, and the blob with its manifest. No row without any.
CREATE TABLE artifacts (attempt INTEGER PRIMARY KEY, body TEXT NOT NULL, seal INTEGER NOT NULL) STRICT;
";

const TWENTIETH: &str = "
-- Secrets, sealed with a key that is not in here. repo: empty for a secret of all repositories. rule: to which
-- attempts it goes, as JSON. used_at, used_by: the newest attempt that got it, NULL in both if none did.
CREATE TABLE secrets (
    name TEXT NOT NULL, repo TEXT NOT NULL, rule TEXT NOT NULL, sealed BLOB NOT NULL, set_at INTEGER NOT NULL,
    set_by TEXT, used_at INTEGER, used_by TEXT, seal INTEGER NOT NULL, PRIMARY KEY (name, repo)
) STRICT, WITHOUT ROWID;
";

const TWENTYFIRST: &str = "
-- build, job, task: those of the attempt, so that the tasks that need this one find its artifacts. NULL in rows of
-- before.
ALTER TABLE artifacts ADD COLUMN build INTEGER;
ALTER TABLE artifacts ADD COLUMN job INTEGER;
ALTER TABLE artifacts ADD COLUMN task TEXT;
CREATE INDEX artifacts_by_task ON artifacts (build, task);
";

const TWENTYSECOND: &str = "
-- Caches that attempts saved. trusted, reference: the scope. family: the key without the contents of files. about: what
-- the key was made of, for people. used_at: when an attempt last got it; the checksum leaves it out.
CREATE TABLE caches (
    id INTEGER PRIMARY KEY, repo TEXT NOT NULL, trusted INTEGER NOT NULL, reference TEXT NOT NULL, family TEXT NOT NULL,
    key TEXT NOT NULL, about TEXT NOT NULL, manifest TEXT NOT NULL, files INTEGER NOT NULL, bytes INTEGER NOT NULL,
    attempt INTEGER NOT NULL, build INTEGER NOT NULL, task TEXT NOT NULL, number INTEGER NOT NULL,
    saved_at INTEGER NOT NULL, used_at INTEGER NOT NULL, seal INTEGER NOT NULL,
    UNIQUE (repo, trusted, reference, key)
) STRICT;
";

const TWENTYTHIRD: &str = "
-- Short streams whose files are not durable yet. path: in the directory of logs.
CREATE TABLE short_logs (
    id INTEGER PRIMARY KEY, build INTEGER NOT NULL, path TEXT NOT NULL, bytes BLOB NOT NULL, seal INTEGER NOT NULL
) STRICT;
";

const TWENTYFOURTH: &str = "
-- Results of build tools that attempts wrote. key: a hash of repository, scope, tool and name. trusted, reference: the
-- scope. headers: those of HTTP that readers get, as JSON. blob: the hash of the bytes, which are in a file of their
-- own. used_at: when an attempt last got it; the checksum leaves it out.
CREATE TABLE tool_entries (
    key TEXT PRIMARY KEY, repo TEXT NOT NULL, trusted INTEGER NOT NULL, reference TEXT NOT NULL, tool TEXT NOT NULL,
    name TEXT NOT NULL, headers TEXT NOT NULL, blob BLOB NOT NULL, bytes INTEGER NOT NULL, attempt INTEGER NOT NULL,
    build INTEGER NOT NULL, task TEXT NOT NULL, number INTEGER NOT NULL, saved_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL, seal INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Brings the tables to [`VERSION`], in one transaction; refuses a later version.
pub(super) fn migrate(conn: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |e| failure::failed("bring up to date", path, e);
    let found = known_version(conn, path)?;
    if found == VERSION {
        return Ok(());
    }
    let from = usize::try_from(found).map_err(|_| failure::corrupt(path, "its version is negative"))?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    for migration in &MIGRATIONS[from..] {
        tx.execute_batch(migration).map_err(failed)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    tx.pragma_update(None, "user_version", VERSION).map_err(failed)?;
    tx.commit().map_err(failed)
}

/// Makes a new store at `path`. It appears whole, by a rename, so that an empty or half-made file is never a store.
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
    let fresh = wal::beside(path, ".new");
    for suffix in ["", "-journal", "-wal", "-shm"] {
        // The error is ignored: mostly there is no such file, and one that cannot be removed fails to open below.
        drop(fs::remove_file(wal::beside(&fresh, suffix)));
    }
    let failed = |e| failure::failed("create", path, e);
    let mut conn = Connection::open(&fresh).map_err(failed)?;
    migrate(&mut conn, path)?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).map_err(failed)?;
    conn.close().map_err(|(_, e)| failed(e))?;
    put_in_place(&fresh, path)
}

/// Gives a complete file its name, durably.
pub(super) fn put_in_place(fresh: &Path, path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(fresh)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(fresh, path))
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(failure::io("put in place", path))
}

/// Returns the first table or index that differs from what the migrations make; `None` if none does.
pub(super) fn find_difference(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let found = definitions(conn)?;
    if digest(&found) == DEFINITIONS {
        return Ok(None);
    }
    let expected = expected()?;
    let differing = expected.iter().find(|(name, sql)| found.get(*name) != Some(*sql)).map(|(name, _)| name.clone());
    Ok(differing.or_else(|| found.into_keys().find(|name| !expected.contains_key(name))))
}

/// Returns the definitions that the migrations make.
fn expected() -> rusqlite::Result<Definitions> {
    let made = Connection::open_in_memory()?;
    MIGRATIONS.iter().try_for_each(|migration| made.execute_batch(migration))?;
    definitions(&made)
}

fn digest(definitions: &Definitions) -> u32 {
    let mut digest = crc32fast::Hasher::new();
    for (name, sql) in definitions {
        for text in [name.as_str(), sql.as_deref().unwrap_or_default()] {
            digest.update(text.as_bytes());
            digest.update(&[0]);
        }
    }
    digest.finalize()
}

fn definitions(conn: &Connection) -> rusqlite::Result<Definitions> {
    let mut statement = conn.prepare("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Returns the version of the tables, 0 for none; refuses one that is later than [`VERSION`].
pub(super) fn known_version(conn: &Connection, path: &Path) -> Result<i64, StoreError> {
    let found = version(conn).map_err(|e| failure::failed("read the version of", path, e))?;
    if found > VERSION {
        return Err(StoreError::Newer { store: failure::name(path), found, known: VERSION });
    }
    Ok(found)
}

pub(super) fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new migration changes the digest: the constant then becomes what this test found.
    #[test]
    fn the_digest_is_that_of_the_tables_that_the_migrations_make() {
        assert_eq!(DEFINITIONS, digest(&expected().unwrap()));
    }
}
