//! `ends`: for each repository, the number of the last move by which a ref ended. Its refs have no other trace
//! then, and an announcement from before that move must not be taken for a new one.

use rusqlite::{Connection, params};

use super::{execute, read_all};
use crate::model::RepoName;
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::{signed, unsigned};

/// Covers the name of the repository too.
fn checksum(repo: &RepoName, number: u64) -> Checksum {
    Checksum::of("ends of branches").bytes(repo.as_str().as_bytes()).number(signed(number))
}

/// Notes the end of a ref.
pub(crate) fn set(conn: &Connection, (repo_id, repo): (i64, &RepoName), number: u64) -> rusqlite::Result<()> {
    const SET: &str = "INSERT OR REPLACE INTO ends (repo, number, seal) VALUES (?1, ?2, ?3)";
    execute(conn, SET, params![repo_id, signed(number), checksum(repo, number).value()]).map(drop)
}

/// By repository.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<(RepoName, u64)>> {
    const ALL: &str = "SELECT r.name, e.number, e.seal FROM ends e LEFT JOIN repos r ON r.id = e.repo ORDER BY r.name";
    read_all(conn, ALL, [], |row| {
        let (repo, number) = (row.get(0)?, unsigned(row, 1)?.unwrap_or(0));
        checksum(&repo, number).check(row.get(2)?, || format!("the last end of a ref in {repo}"))?;
        Ok((repo, number))
    })
}
