//! `reasons`: texts of attempts' reasons that repeat, each kept once.

use std::collections::HashMap;

use rusqlite::Connection;

/// Number of reasons kept once each. Later ones are written out in their attempts: so many cannot be repeating.
const KEPT_MAX: usize = 1024;

/// The row numbers: all of the table, once it has been read.
#[derive(Debug, Default)]
pub(crate) struct Ids(Option<HashMap<String, i64>>);

impl Ids {
    /// The row of a reason, added if it is new; `None` if it is to be written out.
    pub(crate) fn get(&mut self, conn: &Connection, reason: &str) -> rusqlite::Result<Option<i64>> {
        let ids = match &mut self.0 {
            Some(ids) => ids,
            none => none.insert(read(conn)?),
        };
        if let Some(id) = ids.get(reason) {
            return Ok(Some(*id));
        }
        if ids.len() >= KEPT_MAX {
            return Ok(None);
        }
        let id = conn.prepare_cached("INSERT INTO reasons (body) VALUES (?1)")?.insert([reason])?;
        ids.insert(reason.to_owned(), id);
        Ok(Some(id))
    }
}

fn read(conn: &Connection) -> rusqlite::Result<HashMap<String, i64>> {
    let mut statement = conn.prepare_cached("SELECT body, id FROM reasons")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
