//! `repos`: the names of repositories, and where each was last observed.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use super::id_of;
use crate::model::RepoName;

/// The row numbers of repositories that were used.
#[derive(Debug, Default)]
pub(crate) struct Ids(HashMap<RepoName, i64>);

impl Ids {
    /// The row of a repository, added if it is new.
    pub(crate) fn get(&mut self, conn: &Connection, repo: &RepoName) -> rusqlite::Result<i64> {
        if let Some(id) = self.0.get(repo) {
            return Ok(*id);
        }
        let id = match id_of(conn, "SELECT id FROM repos WHERE name = ?1", repo.as_str())? {
            Some(id) => id,
            None => conn.prepare_cached("INSERT INTO repos (name) VALUES (?1)")?.insert([repo.as_str()])?,
        };
        self.0.insert(repo.clone(), id);
        Ok(id)
    }
}

pub(crate) fn source(conn: &Connection, repo: &RepoName) -> rusqlite::Result<Option<String>> {
    let mut statement = conn.prepare_cached("SELECT source FROM repos WHERE name = ?1")?;
    statement.query_row([repo.as_str()], |row| row.get(0)).optional().map(Option::flatten)
}

pub(crate) fn set_source(conn: &Connection, repo: &RepoName, source: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO repos (name, source) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET source = excluded.source",
    )?
    .execute([repo.as_str(), source])
    .map(drop)
}
