//! `schedules`: each schedule that a branch has or had, with the time that fired last.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::{execute, read_all, repos};
use crate::model::{Schedule, ScheduleRule};
use crate::store::sqlite::checksum::Checksum;

/// Covers the name of the repository too.
fn checksum(schedule: &Schedule) -> Checksum {
    let rule = schedule.rule.as_ref();
    Checksum::of("schedules")
        .bytes(schedule.repo.as_str().as_bytes())
        .bytes(schedule.reference.as_str().as_bytes())
        .bytes(schedule.name.as_bytes())
        .maybe_text(rule.map(|rule| &*rule.cron))
        .maybe_text(rule.map(|rule| &*rule.timezone))
        .number(schedule.last_due.0)
}

/// Adds a schedule, or replaces what is known of it.
pub(crate) fn save(conn: &Connection, repos: &mut repos::Ids, schedule: &Schedule) -> rusqlite::Result<()> {
    const SAVE: &str = "INSERT OR REPLACE INTO schedules (repo, reference, name, cron, timezone, last_due, seal)
                        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let Schedule { repo, reference, name, rule, last_due } = schedule;
    let rule = rule.as_ref();
    let (cron, timezone) = (rule.map(|rule| &*rule.cron), rule.map(|rule| &*rule.timezone));
    let seal = checksum(schedule).value();
    let repo = repos.get(conn, repo)?;
    execute(conn, SAVE, params![repo, reference, &**name, cron, timezone, last_due, seal]).map(drop)
}

/// By repository, branch and name.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<Schedule>> {
    const ALL: &str = "SELECT r.name, s.reference, s.name, s.cron, s.timezone, s.last_due, s.seal FROM schedules s
         LEFT JOIN repos r ON r.id = s.repo ORDER BY r.name, s.reference, s.name";
    read_all(conn, ALL, [], |row| {
        let text = |at| row.get::<_, Option<String>>(at);
        let rule = text(3)?.zip(text(4)?);
        let schedule = Schedule {
            repo: row.get(0)?,
            reference: row.get(1)?,
            name: Arc::from(row.get::<_, String>(2)?),
            rule: rule.map(|(cron, timezone)| ScheduleRule { cron: cron.into(), timezone: timezone.into() }),
            last_due: row.get(5)?,
        };
        checksum(&schedule).check(row.get(6)?, || format!("the schedule {} of {}", schedule.name, schedule.repo))?;
        Ok(schedule)
    })
}
