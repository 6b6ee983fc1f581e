//! `patterns`: the patterns for refs whose first look is over. A ref that matches one of them and is new is built.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::{execute, read_all};
use crate::model::RepoName;
use crate::store::sqlite::checksum::Checksum;

/// Covers the name of the repository too.
fn checksum(repo: &RepoName, pattern: &str) -> Checksum {
    Checksum::of("patterns").bytes(repo.as_str().as_bytes()).bytes(pattern.as_bytes())
}

/// Notes that the first look at a pattern is over.
pub(crate) fn insert(conn: &Connection, (repo_id, repo): (i64, &RepoName), pattern: &str) -> rusqlite::Result<()> {
    const INSERT: &str = "INSERT OR REPLACE INTO patterns (repo, pattern, seal) VALUES (?1, ?2, ?3)";
    execute(conn, INSERT, params![repo_id, pattern, checksum(repo, pattern).value()]).map(drop)
}

/// By repository, then pattern.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<(RepoName, Arc<str>)>> {
    const ALL: &str = "SELECT r.name, p.pattern, p.seal FROM patterns p LEFT JOIN repos r ON r.id = p.repo
         ORDER BY r.name, p.pattern";
    read_all(conn, ALL, [], |row| {
        let (repo, pattern): (RepoName, String) = (row.get(0)?, row.get(1)?);
        checksum(&repo, &pattern).check(row.get(2)?, || format!("the pattern {pattern} of {repo}"))?;
        Ok((repo, pattern.into()))
    })
}
