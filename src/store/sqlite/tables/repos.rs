//! `repos`: the names of repositories, and where each was last observed.

use std::collections::HashMap;

use rusqlite::Connection;

use super::{execute, read_all, read_one};
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
        let id = match read_one(conn, "SELECT id FROM repos WHERE name = ?1", [repo], |row| row.get(0))? {
            Some(id) => id,
            None => conn.prepare_cached("INSERT INTO repos (name) VALUES (?1)")?.insert([repo])?,
        };
        self.0.insert(repo.clone(), id);
        Ok(id)
    }
}

/// The names of all repositories, in alphabetical order.
pub(crate) fn names(conn: &Connection) -> rusqlite::Result<Vec<RepoName>> {
    read_all(conn, "SELECT name FROM repos ORDER BY name", [], |row| row.get(0))
}

pub(crate) fn source(conn: &Connection, repo: &RepoName) -> rusqlite::Result<Option<String>> {
    Ok(read_one(conn, "SELECT source FROM repos WHERE name = ?1", [repo], |row| row.get(0))?.flatten())
}

pub(crate) fn set_source(conn: &Connection, repo: &RepoName, source: &str) -> rusqlite::Result<()> {
    const SET: &str = "INSERT INTO repos (name, source) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET source = excluded.source";
    execute(conn, SET, (repo, source)).map(drop)
}
