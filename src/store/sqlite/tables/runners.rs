//! `runners`: every runner that was ever seen.

use rusqlite::{Connection, params};

use super::{execute, read_all};
use crate::model::{DrainOrder, Incarnation, Ordered, Runner, WallTime};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::{signed, unsigned};

/// A runner that is not drained has the checksum of before there were drains, and one without an order that of before
/// orders were recorded.
fn checksum(runner: &Runner) -> Checksum {
    let checksum =
        Checksum::of("runners").number(signed(runner.id.0)).bytes(runner.name.as_bytes()).number(runner.first_seen.0);
    let checksum = match runner.drain {
        Some(DrainOrder { ending }) => checksum.number(1).maybe_number(ending.map(|it| signed(it.0))),
        None => checksum,
    };
    match &runner.ordered {
        Some(Ordered { by, at }) => checksum.bytes(b"ordered").maybe_text(by.as_deref()).number(at.0),
        None => checksum,
    }
}

/// Adds a runner, or replaces what is known of the runner of that number.
pub(crate) fn save(conn: &Connection, runner: &Runner) -> rusqlite::Result<()> {
    const SAVE: &str = "INSERT INTO runners (id, name, first_seen, drained, ending, ordered_by, ordered_at, seal)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, first_seen = excluded.first_seen,
           drained = excluded.drained, ending = excluded.ending, ordered_by = excluded.ordered_by,
           ordered_at = excluded.ordered_at, seal = excluded.seal";
    let ending = runner.drain.and_then(|drain| drain.ending).map(|it| signed(it.0));
    let (ordered_by, ordered_at) = runner.ordered.as_ref().map(|it| (it.by.as_deref(), it.at)).unzip();
    let (drained, seal) = (runner.drain.map(|_| 1), checksum(runner).value());
    let Runner { id, name, first_seen, .. } = runner;
    execute(conn, SAVE, params![id, name, first_seen, drained, ending, ordered_by.flatten(), ordered_at, seal])
        .map(drop)
}

/// By number.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<Runner>> {
    const ALL: &str =
        "SELECT id, name, first_seen, drained, ending, ordered_by, ordered_at, seal FROM runners ORDER BY id";
    read_all(conn, ALL, [], |row| {
        let is_drained = row.get::<_, Option<i64>>(3)?.is_some();
        let ending = unsigned(row, 4)?.map(Incarnation);
        let drain = is_drained.then_some(DrainOrder { ending });
        let by = row.get(5)?;
        let ordered = row.get::<_, Option<WallTime>>(6)?.map(|at| Ordered { by, at });
        let runner = Runner { id: row.get(0)?, name: row.get(1)?, first_seen: row.get(2)?, drain, ordered };
        checksum(&runner).check(row.get(7)?, || format!("runner {}", runner.name))?;
        Ok(runner)
    })
}
