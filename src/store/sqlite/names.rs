//! Texts that are stored once and named by a row number elsewhere: repositories, tasks, the reasons of leases.
//! Remembers the numbers, so that a record that repeats a text costs no query. Called by `apply.rs`, inside its
//! transaction.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::{seal, spec};
use crate::model::{RepoName, TaskSpec};

/// Tasks remembered by their text; with more the memory starts anew, for the sake of its size.
const SPECS_REMEMBERED_MAX: usize = 4096;
/// Reasons kept once each. Later ones are written out in their attempts, because so many cannot be repeating.
const REASONS_MAX: usize = 1024;

/// The row numbers. Right as long as no transaction fails; then it is emptied.
#[derive(Debug, Default)]
pub(super) struct Names {
    repos: HashMap<RepoName, i64>,
    specs: HashMap<String, i64>,
    /// All of the table, once it has been read.
    reasons: Option<HashMap<String, i64>>,
}

impl Names {
    /// The row of a repository, added if it is new.
    pub(super) fn repo_id(&mut self, conn: &Connection, repo: &RepoName) -> rusqlite::Result<i64> {
        if let Some(id) = self.repos.get(repo) {
            return Ok(*id);
        }
        let known = row_of(conn, "SELECT id FROM repos WHERE name = ?1", repo.as_str())?;
        let id = match known {
            Some(id) => id,
            None => conn.prepare_cached("INSERT INTO repos (name) VALUES (?1)")?.insert([repo.as_str()])?,
        };
        self.repos.insert(repo.clone(), id);
        Ok(id)
    }

    /// The row of a task, added if it is new.
    pub(super) fn spec_id(&mut self, conn: &Connection, task: &TaskSpec) -> rusqlite::Result<i64> {
        let body = spec::to_json(task);
        if let Some(id) = self.specs.get(&body) {
            return Ok(*id);
        }
        let id = match row_of(conn, "SELECT id FROM specs WHERE body = ?1", &body)? {
            Some(id) => id,
            None => conn
                .prepare_cached("INSERT INTO specs (body, seal) VALUES (?1, ?2)")?
                .insert(params![body, seal::spec_seal(&body).end()])?,
        };
        if self.specs.len() >= SPECS_REMEMBERED_MAX {
            self.specs.clear();
        }
        self.specs.insert(body, id);
        Ok(id)
    }

    /// The row of a reason, added if it is new; `None` if it is to be written out.
    pub(super) fn reason_id(&mut self, conn: &Connection, reason: &str) -> rusqlite::Result<Option<i64>> {
        let reasons = match &mut self.reasons {
            Some(reasons) => reasons,
            none => none.insert(known_reasons(conn)?),
        };
        if let Some(id) = reasons.get(reason) {
            return Ok(Some(*id));
        }
        if reasons.len() >= REASONS_MAX {
            return Ok(None);
        }
        let id = conn.prepare_cached("INSERT INTO reasons (body) VALUES (?1)")?.insert([reason])?;
        reasons.insert(reason.to_owned(), id);
        Ok(Some(id))
    }
}

fn known_reasons(conn: &Connection) -> rusqlite::Result<HashMap<String, i64>> {
    let mut statement = conn.prepare_cached("SELECT body, id FROM reasons")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn row_of(conn: &Connection, query: &str, text: &str) -> rusqlite::Result<Option<i64>> {
    conn.prepare_cached(query)?.query_row([text], |row| row.get(0)).optional()
}
