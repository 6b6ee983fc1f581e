//! `runners`: every runner that was ever seen.

use rusqlite::{Connection, params};

use super::{execute, read_all};
use crate::model::{DrainOrder, Incarnation, Runner};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::{signed, unsigned};

/// A runner that is not drained has the checksum of before there were drains.
fn checksum(runner: &Runner) -> Checksum {
    let checksum =
        Checksum::of("runners").number(signed(runner.id.0)).bytes(runner.name.as_bytes()).number(runner.first_seen.0);
    match runner.drain {
        Some(DrainOrder { ending }) => checksum.number(1).maybe_number(ending.map(|it| signed(it.0))),
        None => checksum,
    }
}

/// Adds a runner, or replaces what is known of the runner of that number.
pub(crate) fn save(conn: &Connection, runner: &Runner) -> rusqlite::Result<()> {
    const SAVE: &str =
        "INSERT INTO runners (id, name, first_seen, drained, ending, seal) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, first_seen = excluded.first_seen,
           drained = excluded.drained, ending = excluded.ending, seal = excluded.seal";
    let ending = runner.drain.and_then(|drain| drain.ending).map(|it| signed(it.0));
    let (drained, seal) = (runner.drain.map(|_| 1), checksum(runner).value());
    execute(conn, SAVE, params![runner.id, runner.name, runner.first_seen, drained, ending, seal]).map(drop)
}

/// By number.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<Runner>> {
    read_all(conn, "SELECT id, name, first_seen, drained, ending, seal FROM runners ORDER BY id", [], |row| {
        let is_drained = row.get::<_, Option<i64>>(3)?.is_some();
        let ending = unsigned(row, 4)?.map(Incarnation);
        let drain = is_drained.then_some(DrainOrder { ending });
        let runner = Runner { id: row.get(0)?, name: row.get(1)?, first_seen: row.get(2)?, drain };
        checksum(&runner).check(row.get(5)?, || format!("runner {}", runner.name))?;
        Ok(runner)
    })
}
