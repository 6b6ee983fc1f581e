//! `repos`: the names of repositories, where each was last observed, and what its observer told of its refs.

use std::collections::HashMap;

use rusqlite::Connection;

use super::{execute, read_all, read_one};
use crate::model::{BranchName, ObservedRefs, RefName, RepoName};

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

pub(crate) fn observed_refs(conn: &Connection, repo: &RepoName) -> rusqlite::Result<ObservedRefs> {
    const READ: &str = "SELECT default_branch, named FROM repos WHERE name = ?1";
    let found = read_one(conn, READ, [repo], |row| {
        let (branch, named): (Option<String>, Option<String>) = (row.get(0)?, row.get(1)?);
        Ok(ObservedRefs {
            default_branch: branch.as_deref().map(BranchName::new),
            named: named.iter().flat_map(|names| names.lines()).map(RefName::new).collect(),
        })
    })?;
    Ok(found.unwrap_or_default())
}

pub(crate) fn set_observed_refs(conn: &Connection, repo: &RepoName, refs: &ObservedRefs) -> rusqlite::Result<()> {
    const SET: &str = "INSERT INTO repos (name, default_branch, named) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET default_branch = excluded.default_branch, named = excluded.named";
    let named: Vec<&str> = refs.named.iter().map(RefName::as_str).collect();
    let named = (!named.is_empty()).then(|| named.join("\n"));
    execute(conn, SET, (repo, refs.default_branch.as_ref().map(BranchName::as_str), named)).map(drop)
}
