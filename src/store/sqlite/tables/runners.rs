//! `runners`: every runner that was ever seen.

use rusqlite::{Connection, params};

use crate::model::{Runner, RunnerId, RunnerName, WallTime};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::signed;

fn checksum(runner: &Runner) -> Checksum {
    Checksum::of("runners").number(signed(runner.id.0)).bytes(runner.name.as_bytes()).number(runner.first_seen.0)
}

/// Adds a runner, or replaces what is known of the runner of that number.
pub(crate) fn save(conn: &Connection, runner: &Runner) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO runners (id, name, first_seen, seal) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, first_seen = excluded.first_seen, seal = excluded.seal",
    )?
    .execute(params![signed(runner.id.0), runner.name.as_str(), runner.first_seen.0, checksum(runner).value()])
    .map(drop)
}

/// By number.
pub(crate) fn read_all(conn: &Connection) -> rusqlite::Result<Vec<Runner>> {
    let mut statement = conn.prepare_cached("SELECT id, name, first_seen, seal FROM runners ORDER BY id")?;
    let found = statement.query_map([], |row| {
        let runner = Runner {
            id: RunnerId(row.get::<_, i64>(0)?.cast_unsigned()),
            name: RunnerName::recorded(row.get_ref(1)?.as_str()?),
            first_seen: WallTime(row.get(2)?),
        };
        checksum(&runner).check(row.get(3)?, || format!("runner {}", runner.name))?;
        Ok(runner)
    })?;
    found.collect()
}
