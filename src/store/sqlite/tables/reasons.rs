//! `reasons`: texts of attempts' reasons that repeat, each kept once.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::read_all;
use crate::model::reason::StoredReason;
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::reason_json;

/// Number of reasons kept once each. Later ones are written out in their attempts: so many cannot be repeating.
const KEPT_MAX: usize = 1024;

/// The row numbers: all of the table, once it has been read.
#[derive(Debug, Default)]
pub(crate) struct Ids(Option<HashMap<String, Row>>);

#[derive(Debug, Clone, Copy)]
struct Row {
    id: i64,
    /// Whether the row has a code beside the text.
    has_code: bool,
}

impl Ids {
    /// The row of a reason, added if it is new; `None` if the text is to be written out. A row from before there were
    /// codes gets its code when the same text comes again: the text is the same reason.
    pub(crate) fn get(
        &mut self,
        conn: &Connection,
        text: &str,
        reason: &impl StoredReason,
    ) -> rusqlite::Result<Option<i64>> {
        let ids = match &mut self.0 {
            Some(ids) => ids,
            none => none.insert(read(conn)?),
        };
        if let Some(row) = ids.get_mut(text) {
            // JSON is made only for a row that lacks it: this is done for each lease.
            if !row.has_code
                && let Some(json) = reason_json(reason)
            {
                let seal = checksum(text, Some(&json)).value();
                conn.execute("UPDATE reasons SET reason = ?2, seal = ?3 WHERE id = ?1", params![row.id, json, seal])?;
                row.has_code = true;
            }
            return Ok(Some(row.id));
        }
        if ids.len() >= KEPT_MAX {
            return Ok(None);
        }
        let json = reason_json(reason);
        let seal = checksum(text, json.as_deref()).value();
        let mut insert = conn.prepare_cached("INSERT INTO reasons (body, reason, seal) VALUES (?1, ?2, ?3)")?;
        let id = insert.insert((text, &json, seal))?;
        ids.insert(text.to_owned(), Row { id, has_code: json.is_some() });
        Ok(Some(id))
    }
}

/// Covers the text and the reason.
pub(crate) fn checksum(text: &str, json: Option<&str>) -> Checksum {
    Checksum::of("reasons").bytes(text.as_bytes()).maybe_text(json)
}

fn read(conn: &Connection) -> rusqlite::Result<HashMap<String, Row>> {
    const READ: &str = "SELECT body, id, reason IS NOT NULL FROM reasons";
    let found = read_all(conn, READ, [], |row| Ok((row.get(0)?, Row { id: row.get(1)?, has_code: row.get(2)? })))?;
    Ok(found.into_iter().collect())
}
