//! `tool_entries`: results of build tools. A row is written once; only the time of its last use changes. The file of an
//! entry is not synced, so a row may say more than there is.

use rusqlite::{Connection, Row, params};

use super::{execute, read_all, read_one};
use crate::model::{
    BlobId, CacheKey, CacheScope, RefName, TaskName, ToolEntry, ToolFilter, ToolTotal, Trust, WallTime,
};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::{damaged, signed};

const COLUMNS: &str = "key, repo, trusted, reference, tool, name, headers, blob, bytes, attempt, build, task, number,
     saved_at, used_at, seal";
/// The rows of a [`ToolFilter`].
const MEANT: &str = "(?1 IS NULL OR repo = ?1) AND (?2 IS NULL OR tool = ?2) AND key >= ?3 AND key <= ?4";

/// The checksum of everything but the time of the last use.
fn checksum(entry: &ToolEntry, headers: &str) -> Checksum {
    let ToolEntry { key, repo, scope, tool, name, headers: _, blob, bytes, attempt, build, task, number, .. } = entry;
    Checksum::of("tool_entries")
        .bytes(key.as_str().as_bytes())
        .bytes(repo.as_str().as_bytes())
        .number(is_trusted(scope))
        .bytes(scope.reference.as_str().as_bytes())
        .bytes(tool.as_bytes())
        .bytes(name.as_bytes())
        .bytes(headers.as_bytes())
        .bytes(&blob.0)
        .number(signed(*bytes))
        .number(signed(attempt.0))
        .number(signed(build.0))
        .bytes(task.as_bytes())
        .number(*number)
        .number(entry.saved_at.0)
}

fn is_trusted(scope: &CacheScope) -> bool {
    scope.trust == Trust::Trusted
}

/// Adds an entry. One whose key is there already is passed over.
pub(crate) fn insert(conn: &Connection, entry: &ToolEntry) -> rusqlite::Result<()> {
    let headers = serde_json::to_string(&entry.headers).map_err(|error| damaged(error.to_string()))?;
    let ToolEntry { key, repo, scope, tool, name, headers: _, blob, bytes, attempt, build, task, number, .. } = entry;
    let statement = "INSERT OR IGNORE INTO tool_entries VALUES
         (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
    let values = params![
        key.as_str(),
        repo,
        is_trusted(scope),
        scope.reference,
        tool,
        name,
        headers,
        blob.0,
        signed(*bytes),
        attempt,
        build,
        task.as_str(),
        number,
        entry.saved_at,
        entry.used_at,
        checksum(entry, &headers).value()
    ];
    execute(conn, statement, values).map(drop)
}

/// Notes when an entry was last used, if it is there.
pub(crate) fn note_use(conn: &Connection, key: &CacheKey, at: WallTime) -> rusqlite::Result<()> {
    execute(conn, "UPDATE tool_entries SET used_at = ?2 WHERE key = ?1", params![key.as_str(), at]).map(drop)
}

/// Removes an entry, if it is there.
pub(crate) fn delete(conn: &Connection, key: &CacheKey) -> rusqlite::Result<()> {
    execute(conn, "DELETE FROM tool_entries WHERE key = ?1", [key.as_str()]).map(drop)
}

/// Returns the entry with this key.
pub(crate) fn one(conn: &Connection, key: &CacheKey) -> rusqlite::Result<Option<ToolEntry>> {
    let query = format!("SELECT {COLUMNS} FROM tool_entries WHERE key = ?1");
    read_one(conn, &query, [key.as_str()], read)
}

/// Returns the bounds of the keys that begin with these digits.
fn bounds(digits: Option<&str>) -> (&str, String) {
    let digits = digits.unwrap_or_default();
    // Behind every digit of a key.
    (digits, format!("{digits}g"))
}

/// Passes the entries that are meant to `each`, the most recently used one first, until it says false.
pub(crate) fn each(
    conn: &Connection,
    filter: ToolFilter<'_>,
    each: &mut dyn FnMut(ToolEntry) -> bool,
) -> rusqlite::Result<()> {
    let query = format!("SELECT {COLUMNS} FROM tool_entries WHERE {MEANT} ORDER BY used_at DESC, key");
    let (first, last) = bounds(filter.key);
    let mut statement = conn.prepare_cached(&query)?;
    let mut rows = statement.query(params![filter.repo, filter.tool, first, last])?;
    while let Some(row) = rows.next()? {
        if !each(read(row)?) {
            break;
        }
    }
    Ok(())
}

/// Returns the entries that are meant, together for each tool and scope.
pub(crate) fn totals(conn: &Connection, filter: ToolFilter<'_>) -> rusqlite::Result<Vec<ToolTotal>> {
    let query = format!(
        "SELECT repo, trusted, reference, tool, count(*), sum(bytes), max(used_at) FROM tool_entries WHERE {MEANT}
         GROUP BY repo, trusted, reference, tool ORDER BY repo, tool, trusted DESC, reference"
    );
    let (first, last) = bounds(filter.key);
    read_all(conn, &query, params![filter.repo, filter.tool, first, last], |row| {
        Ok(ToolTotal {
            repo: row.get(0)?,
            scope: scope(row, 1)?,
            tool: row.get(3)?,
            entries: row.get::<_, i64>(4)?.cast_unsigned(),
            bytes: row.get::<_, i64>(5)?.cast_unsigned(),
            used_at: row.get(6)?,
        })
    })
}

fn scope(row: &Row<'_>, at: usize) -> rusqlite::Result<CacheScope> {
    let trust = if row.get(at)? { Trust::Trusted } else { Trust::Untrusted };
    Ok(CacheScope { trust, reference: row.get::<_, RefName>(at + 1)? })
}

fn read(row: &Row<'_>) -> rusqlite::Result<ToolEntry> {
    let (key, headers, task): (String, String, String) = (row.get(0)?, row.get(6)?, row.get(11)?);
    let entry = ToolEntry {
        key: key.parse().map_err(|_| damaged("the key of an entry of the tool cache"))?,
        repo: row.get(1)?,
        scope: scope(row, 2)?,
        tool: row.get(4)?,
        name: row.get(5)?,
        headers: serde_json::from_str(&headers).map_err(|error| damaged(error.to_string()))?,
        blob: BlobId(row.get(7)?),
        bytes: row.get::<_, i64>(8)?.cast_unsigned(),
        attempt: row.get(9)?,
        build: row.get(10)?,
        task: TaskName::new(&task).map_err(|error| damaged(error.to_string()))?,
        number: row.get(12)?,
        saved_at: row.get(13)?,
        used_at: row.get(14)?,
    };
    checksum(&entry, &headers).check(row.get(15)?, || format!("the entry {key} of the tool cache"))?;
    Ok(entry)
}
