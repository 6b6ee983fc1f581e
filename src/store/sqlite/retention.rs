//! Forgetting old builds, so that a store does not grow for ever. Their numbers stay taken: the highest ones are kept
//! in `meta`, and which rule the newest of them fell to. Never forgets unfinished work, nor the build of a branch's
//! present head. Which builds are to go is decided by who calls, from what [`Reader::survey`] tells; the writer forgets
//! a bounded number at a time, because each call is one transaction between others.

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{commit_id, damaged, repo_name, signed};
use super::{Reader, Store, StoreError, queries};
use crate::model::{BranchName, BuildId, CommitId, RepoName, WallTime};

/// Why a build was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// It was too old.
    Age,
    /// There were too many newer ones.
    Count,
    /// All logs together were too large.
    Size,
}

/// What deciding about a build's removal takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    pub id: BuildId,
    pub repo: RepoName,
    pub branch: BranchName,
    /// The branch is there still.
    pub lives: bool,
    /// Its commit is the branch's present head.
    pub is_head: bool,
    /// `None` for one that is unfinished.
    pub finished_at: Option<WallTime>,
}

/// A finished build that is nobody's present head.
const FORGETTABLE: &str = "b.verdict IS NOT NULL AND NOT EXISTS (SELECT 1 FROM heads h
    WHERE h.repo = b.repo AND h.branch = b.branch AND h.head = b.commit_id)";

/// Tables whose numbers are given out.
const NUMBERED: &[&str] = &["builds", "jobs", "attempts", "runners"];

/// Of so many builds it is remembered why they were removed.
const REMEMBERED: u32 = 20_000;

impl Store {
    /// Forgets those of these builds that may be forgotten, with all that belongs to them, and returns them. Durable on
    /// return; the files that go with them are the caller's.
    pub fn forget(&mut self, builds: &[BuildId], rule: Rule, at: WallTime) -> Result<Vec<BuildId>, StoreError> {
        forget(&self.conn, builds, rule, at).map_err(self.failed("forget builds of"))
    }
}

impl Reader {
    /// Tells of every build, newest first.
    pub fn survey(&self, mut each: impl FnMut(Surveyed)) -> Result<(), StoreError> {
        let mut read = || {
            let mut statement = self.conn.prepare_cached(
                "SELECT b.id, r.name, b.branch, h.head IS NOT NULL, h.head IS b.commit_id, b.verdict IS NULL,
                   b.finished_at
                 FROM builds b JOIN repos r ON r.id = b.repo
                 LEFT JOIN heads h ON h.repo = b.repo AND h.branch = b.branch ORDER BY b.id DESC",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let unfinished: bool = row.get(5)?;
                each(Surveyed {
                    id: BuildId(row.get::<_, i64>(0)?.cast_unsigned()),
                    repo: repo_name(row.get_ref(1)?.as_str()?)?,
                    branch: BranchName::new(row.get_ref(2)?.as_str()?),
                    lives: row.get(3)?,
                    is_head: row.get(4)?,
                    finished_at: row.get::<_, Option<i64>>(6)?.filter(|_| !unfinished).map(WallTime),
                });
            }
            Ok(())
        };
        read().map_err(self.failed("read builds from"))
    }

    /// When and by which rule a build was removed, if that is remembered.
    pub fn forgotten(&self, build: BuildId) -> Result<Option<(Rule, WallTime)>, StoreError> {
        let read = || {
            self.conn
                .prepare_cached("SELECT rule, at FROM forgotten WHERE build = ?1")?
                .query_row([signed(build.0)], |row| Ok((rule(row.get(0)?)?, WallTime(row.get(1)?))))
                .optional()
        };
        read().map_err(self.failed("read removed builds from"))
    }

    /// The commits of a repository that builds or heads name, without doubles.
    pub fn commits(&self, repo: &RepoName) -> Result<Vec<CommitId>, StoreError> {
        let read = || {
            let mut statement = self.conn.prepare_cached(
                "SELECT b.commit_id FROM repos r JOIN builds b ON b.repo = r.id WHERE r.name = ?1
                 UNION SELECT h.head FROM repos r JOIN heads h ON h.repo = r.id WHERE r.name = ?1",
            )?;
            let rows = statement.query_map([repo.as_str()], |row| commit_id(row.get_ref(0)?.as_blob()?))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(self.failed("read commits from"))
    }

    /// The commits whose source may be needed at any moment: of unfinished builds and of present heads.
    pub fn needed(&self) -> Result<Vec<(RepoName, CommitId)>, StoreError> {
        let read = || {
            let mut statement = self.conn.prepare_cached(
                "SELECT r.name, b.commit_id FROM builds b JOIN repos r ON r.id = b.repo WHERE b.verdict IS NULL
                 UNION SELECT r.name, h.head FROM heads h JOIN repos r ON r.id = h.repo",
            )?;
            let rows = statement.query_map([], |row| {
                Ok((repo_name(row.get_ref(0)?.as_str()?)?, commit_id(row.get_ref(1)?.as_blob()?)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(self.failed("read commits from"))
    }

    /// The highest number that a build ever had.
    pub fn last_build(&self) -> Result<BuildId, StoreError> {
        let last = super::writer::last_id(&self.conn, "builds").map_err(self.failed("read builds from"))?;
        Ok(BuildId(last))
    }
}

fn forget(conn: &Connection, builds: &[BuildId], rule: Rule, at: WallTime) -> rusqlite::Result<Vec<BuildId>> {
    let tx = Store::begin(conn)?;
    keep_numbers(&tx)?;
    let mut forgotten = Vec::with_capacity(builds.len());
    for id in builds {
        let may = tx
            .prepare_cached(&format!("SELECT 1 FROM builds b WHERE b.id = ?1 AND {FORGETTABLE}"))?
            .exists([signed(id.0)])?;
        if may {
            delete(&tx, *id)?;
            tx.prepare_cached("INSERT OR REPLACE INTO forgotten (build, rule, at) VALUES (?1, ?2, ?3)")?
                .execute(params![signed(id.0), rule_number(rule), at.0])?;
            forgotten.push(*id);
        }
    }
    if forgotten.is_empty() {
        return Ok(forgotten);
    }
    tx.prepare_cached(
        "DELETE FROM forgotten WHERE build IN
           (SELECT build FROM forgotten ORDER BY build DESC LIMIT -1 OFFSET ?1)",
    )?
    .execute([REMEMBERED])?;
    tx.commit()?;
    Ok(forgotten)
}

/// The highest numbers, before the rows that show them go.
fn keep_numbers(conn: &Connection) -> rusqlite::Result<()> {
    for table in NUMBERED {
        conn.prepare_cached(&format!(
            "INSERT INTO meta (name, value) SELECT ?1, coalesce(max(id), 0) FROM {table} WHERE true
             ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)"
        ))?
        .execute([table])?;
    }
    Ok(())
}

fn delete(conn: &Connection, build: BuildId) -> rusqlite::Result<()> {
    for attempt in queries::attempts(conn, build)? {
        let id = signed(attempt.id.0);
        conn.prepare_cached("DELETE FROM late_results WHERE attempt = ?1")?.execute([id])?;
        conn.prepare_cached("DELETE FROM outcomes WHERE attempt = ?1")?.execute([id])?;
        conn.prepare_cached("DELETE FROM attempts WHERE id = ?1")?.execute([id])?;
    }
    for job in queries::jobs(conn, build, &mut queries::Specs::new())? {
        conn.prepare_cached("DELETE FROM jobs WHERE id = ?1")?.execute([signed(job.id.0)])?;
    }
    let id = signed(build.0);
    for table in ["DELETE FROM decisions WHERE build = ?1", "DELETE FROM ranges WHERE build = ?1"] {
        conn.prepare_cached(table)?.execute([id])?;
    }
    conn.prepare_cached("DELETE FROM builds WHERE id = ?1")?.execute([id])?;
    Ok(())
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
