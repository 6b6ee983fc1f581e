//! `forgotten`: the newest of the builds that retention removed, and by which rule.

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::{BuildId, WallTime};
use crate::store::Rule;
use crate::store::sqlite::values::{damaged, signed};

/// Number of builds of which it is remembered why they were removed.
const REMEMBERED_MAX: u32 = 20_000;

pub(crate) fn insert(conn: &Connection, build: BuildId, rule: Rule, at: WallTime) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO forgotten (build, rule, at) VALUES (?1, ?2, ?3)")?
        .execute(params![signed(build.0), rule_number(rule), at.0])
        .map(drop)
}

/// Deletes the oldest rows beyond [`REMEMBERED_MAX`].
pub(crate) fn prune(conn: &Connection) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "DELETE FROM forgotten WHERE build IN
           (SELECT build FROM forgotten ORDER BY build DESC LIMIT -1 OFFSET ?1)",
    )?
    .execute([REMEMBERED_MAX])
    .map(drop)
}

pub(crate) fn read(conn: &Connection, build: BuildId) -> rusqlite::Result<Option<(Rule, WallTime)>> {
    conn.prepare_cached("SELECT rule, at FROM forgotten WHERE build = ?1")?
        .query_row([signed(build.0)], |row| Ok((rule(row.get(0)?)?, WallTime(row.get(1)?))))
        .optional()
}

fn rule_number(rule: Rule) -> i64 {
    match rule {
        Rule::Age => 0,
        Rule::Count => 1,
        Rule::Size => 2,
    }
}

fn rule(number: i64) -> rusqlite::Result<Rule> {
    Ok(match number {
        0 => Rule::Age,
        1 => Rule::Count,
        2 => Rule::Size,
        other => return Err(damaged(format!("there is no rule {other} of removal"))),
    })
}
