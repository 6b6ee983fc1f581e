//! `caches`: what attempts saved for later builds. A row is written once, when its manifest and its blobs are durable;
//! only the time of its last use changes.

use rusqlite::{Connection, params};

use super::{execute, read_all};
use crate::model::{CacheEntry, CacheKey, CacheScope, RefName, RepoName, SavedCache, TaskName, Trust, WallTime};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::{damaged, signed};

/// The checksum of everything but the row's number and the time of its last use.
fn checksum(entry: &CacheEntry) -> Checksum {
    let CacheEntry { id: _, repo, scope, saved, attempt, build, task, number, saved_at, used_at: _ } = entry;
    let SavedCache { family, key, about, manifest, files, bytes } = saved;
    Checksum::of("caches")
        .bytes(repo.as_str().as_bytes())
        .number(is_trusted(scope))
        .bytes(scope.reference.as_str().as_bytes())
        .bytes(family.as_str().as_bytes())
        .bytes(key.as_str().as_bytes())
        .bytes(about.as_bytes())
        .bytes(manifest.to_string().as_bytes())
        .number(signed(*files))
        .number(signed(*bytes))
        .number(signed(attempt.0))
        .number(signed(build.0))
        .bytes(task.as_bytes())
        .number(*number)
        .number(saved_at.0)
}

fn is_trusted(scope: &CacheScope) -> bool {
    scope.trust == Trust::Trusted
}

/// Adds an entry, under a number of its own. Returns false if the scope has one of that key, which stays.
pub(crate) fn insert(conn: &Connection, entry: &CacheEntry) -> rusqlite::Result<bool> {
    const INSERT: &str = "INSERT OR IGNORE INTO caches (repo, trusted, reference, family, key, about, manifest, files,
         bytes, attempt, build, task, number, saved_at, used_at, seal)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
    let CacheEntry { id: _, repo, scope, saved, attempt, build, task, number, saved_at, used_at } = entry;
    let SavedCache { family, key, about, manifest, files, bytes } = saved;
    let count = execute(
        conn,
        INSERT,
        params![
            repo,
            is_trusted(scope),
            scope.reference,
            family.as_str(),
            key.as_str(),
            about,
            manifest.to_string(),
            signed(*files),
            signed(*bytes),
            attempt,
            build,
            task.as_str(),
            number,
            saved_at,
            used_at,
            checksum(entry).value()
        ],
    )?;
    Ok(count > 0)
}

/// Notes when an entry was last used, if it is there.
pub(crate) fn note_use(conn: &Connection, id: i64, at: WallTime) -> rusqlite::Result<()> {
    execute(conn, "UPDATE caches SET used_at = ?2 WHERE id = ?1", params![id, at]).map(drop)
}

/// Removes entries. Those that are gone already are passed over.
pub(crate) fn delete(conn: &Connection, ids: &[i64]) -> rusqlite::Result<()> {
    ids.iter().try_for_each(|id| execute(conn, "DELETE FROM caches WHERE id = ?1", [id]).map(drop))
}

/// Returns the entries of a repository, or of all, oldest first.
pub(crate) fn all(conn: &Connection, repo: Option<&RepoName>) -> rusqlite::Result<Vec<CacheEntry>> {
    const ALL: &str = "SELECT id, repo, trusted, reference, family, key, about, manifest, files, bytes, attempt, build,
         task, number, saved_at, used_at, seal FROM caches WHERE ?1 IS NULL OR repo = ?1 ORDER BY id";
    read_all(conn, ALL, [repo], read)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<CacheEntry> {
    let key = |at: usize| -> rusqlite::Result<CacheKey> {
        row.get::<_, String>(at)?.parse().map_err(|_| damaged("the key of a cache"))
    };
    let trust = if row.get(2)? { Trust::Trusted } else { Trust::Untrusted };
    let (manifest, task): (String, String) = (row.get(7)?, row.get(12)?);
    let entry = CacheEntry {
        id: row.get(0)?,
        repo: row.get(1)?,
        scope: CacheScope { trust, reference: row.get::<_, RefName>(3)? },
        saved: SavedCache {
            family: key(4)?,
            key: key(5)?,
            about: row.get(6)?,
            manifest: manifest.parse().map_err(|_| damaged("the manifest of a cache"))?,
            files: row.get::<_, i64>(8)?.cast_unsigned(),
            bytes: row.get::<_, i64>(9)?.cast_unsigned(),
        },
        attempt: row.get(10)?,
        build: row.get(11)?,
        task: TaskName::new(&task).map_err(|error| damaged(error.to_string()))?,
        number: row.get(13)?,
        saved_at: row.get(14)?,
        used_at: row.get(15)?,
    };
    checksum(&entry).check(row.get(16)?, || format!("the cache {}", entry.saved.key))?;
    Ok(entry)
}
