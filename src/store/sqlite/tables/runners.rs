//! `runners`: every runner that was ever seen.

use rusqlite::{Connection, params};

use super::{execute, read_all};
use crate::model::Runner;
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::signed;

fn checksum(runner: &Runner) -> Checksum {
    Checksum::of("runners").number(signed(runner.id.0)).bytes(runner.name.as_bytes()).number(runner.first_seen.0)
}

/// Adds a runner, or replaces what is known of the runner of that number.
pub(crate) fn save(conn: &Connection, runner: &Runner) -> rusqlite::Result<()> {
    const SAVE: &str = "INSERT INTO runners (id, name, first_seen, seal) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, first_seen = excluded.first_seen, seal = excluded.seal";
    execute(conn, SAVE, params![runner.id, runner.name, runner.first_seen, checksum(runner).value()]).map(drop)
}

/// By number.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<Runner>> {
    read_all(conn, "SELECT id, name, first_seen, seal FROM runners ORDER BY id", [], |row| {
        let runner = Runner { id: row.get(0)?, name: row.get(1)?, first_seen: row.get(2)? };
        checksum(&runner).check(row.get(3)?, || format!("runner {}", runner.name))?;
        Ok(runner)
    })
}
