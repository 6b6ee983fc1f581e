//! `builds`: one row for each build. Column `seal` covers what never changes, `end_seal` the verdict and when it came.

use rusqlite::{Connection, OptionalExtension, Params, Row, ToSql, params};

use super::{ranges, repos};
use crate::model::{
    Build, BuildId, BuildSource, CommitId, RefName, RepoName, Trigger, TriggerKind, Trust, Verdict, WallTime,
};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::failure::{Fault, one_row};
use crate::store::sqlite::values::{commit_id, damaged, repo_name, signed};
use crate::store::{BuildName, Surveyed};

fn verdict_number(verdict: Verdict) -> i64 {
    match verdict {
        Verdict::Passed => 0,
        Verdict::Failed => 1,
        Verdict::Errored => 2,
        Verdict::Cancelled => 3,
    }
}

fn verdict(number: i64) -> rusqlite::Result<Verdict> {
    Ok(match number {
        0 => Verdict::Passed,
        1 => Verdict::Failed,
        2 => Verdict::Errored,
        3 => Verdict::Cancelled,
        other => return Err(damaged(format!("there is no verdict {other}"))),
    })
}

/// `before` as its column keeps it: empty for none.
fn before_bytes(before: Option<&CommitId>) -> &[u8] {
    before.map_or(&[], CommitId::as_bytes)
}

fn before_from(raw: &[u8]) -> rusqlite::Result<Option<CommitId>> {
    if raw.is_empty() { Ok(None) } else { commit_id(raw).map(Some) }
}

fn trigger_number(kind: &TriggerKind) -> i64 {
    match kind {
        TriggerKind::Push { .. } => 0,
    }
}

fn trust_number(trust: Trust) -> i64 {
    match trust {
        Trust::Untrusted => 0,
        Trust::Trusted => 1,
    }
}

fn trust(number: i64) -> rusqlite::Result<Trust> {
    match number {
        0 => Ok(Trust::Untrusted),
        1 => Ok(Trust::Trusted),
        other => Err(damaged(format!("there is no trust {other}"))),
    }
}

/// Covers what never changes, with the build's range and the name of its repository.
fn checksum(build: &Build, first_job: i64, last_job: i64) -> Checksum {
    let source = &build.source;
    let trigger = &source.trigger;
    let checksum = Checksum::of("builds")
        .number(signed(build.id.0))
        .bytes(source.repo.as_str().as_bytes())
        .bytes(trigger.reference.short().as_bytes())
        .bytes(source.commit.as_bytes())
        .bytes(before_bytes(trigger.before().as_ref()))
        .bytes(&ranges::to_bytes(trigger.range()))
        .bytes(source.subject.as_bytes())
        .bytes(source.author.as_bytes())
        .number(build.created_at.0)
        .maybe_text(build.problem.as_deref())
        .number(first_job)
        .number(last_job);
    // Up to schema version 2 each build was a push to a branch, and its trust followed from the branch. Such a build
    // keeps the checksum of then, so that old rows stay valid; any other trigger is added to it.
    let is_plain_push = matches!(trigger.kind, TriggerKind::Push { .. }) && trigger.reference.branch().is_some();
    if is_plain_push && trigger.trust == Trust::by_default(&trigger.reference) {
        return checksum;
    }
    checksum
        .number(trigger_number(&trigger.kind))
        .bytes(trigger.reference.as_str().as_bytes())
        .number(trust_number(trigger.trust))
}

/// Covers what changes.
fn end_checksum(build: BuildId, verdict: Option<Verdict>, finished_at: Option<WallTime>) -> Checksum {
    Checksum::of("ends")
        .number(signed(build.0))
        .maybe_number(verdict.map(verdict_number))
        .maybe_number(finished_at.map(|at| at.0))
}

/// Adds a build. Its jobs have the numbers from the first to the last of these.
pub(crate) fn insert(
    conn: &Connection,
    repos: &mut repos::Ids,
    build: &Build,
    (first_job, last_job): (i64, i64),
) -> rusqlite::Result<()> {
    let BuildSource { repo, commit, trigger, subject, author } = &build.source;
    let repo = repos.get(conn, repo)?;
    conn.prepare_cached(
        "INSERT INTO builds (id, repo, reference, commit_id, before, first_job, last_job, created_at, finished_at,
           verdict, problem, subject, author, seal, end_seal, trigger_kind, trust, trigger_key)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    )?
    .execute(params![
        signed(build.id.0),
        repo,
        trigger.reference.as_str(),
        commit.as_bytes(),
        before_bytes(trigger.before().as_ref()),
        first_job,
        last_job,
        build.created_at.0,
        build.finished_at.map(|at| at.0),
        build.verdict.map(verdict_number),
        build.problem,
        subject,
        author,
        checksum(build, first_job, last_job).value(),
        end_checksum(build.id, build.verdict, build.finished_at).value(),
        trigger_number(&trigger.kind),
        trust_number(trigger.trust),
        trigger.key()
    ])?;
    ranges::insert(conn, build.id, trigger.range())
}

pub(crate) fn finish(
    conn: &Connection,
    build: BuildId,
    verdict: Verdict,
    (at, seq): (WallTime, i64),
) -> Result<(), Fault> {
    let seal = end_checksum(build, Some(verdict), Some(at)).value();
    let changed = conn
        .prepare_cached(
            "UPDATE builds SET verdict = ?2, finished_at = ?3, end_seal = ?4, end_seq = ?5
             WHERE id = ?1 AND verdict IS NULL",
        )?
        .execute(params![signed(build.0), verdict_number(verdict), at.0, seal, seq])?;
    one_row(changed, || format!("{build} is unknown or finished"))
}

pub(crate) fn reopen(conn: &Connection, build: BuildId) -> Result<(), Fault> {
    let changed = conn
        .prepare_cached(
            "UPDATE builds SET verdict = NULL, finished_at = NULL, end_seal = ?2
             WHERE id = ?1 AND verdict IS NOT NULL",
        )?
        .execute([signed(build.0), end_checksum(build, None, None).value()])?;
    one_row(changed, || format!("{build} is unknown or unfinished"))
}

/// The place of a build's end in the order of what happened, if it has one.
pub(crate) fn end_seq(conn: &Connection, build: BuildId) -> rusqlite::Result<Option<u64>> {
    let mut statement = conn.prepare_cached("SELECT end_seq FROM builds WHERE id = ?1 AND verdict IS NOT NULL")?;
    let found: Option<Option<i64>> = statement.query_row([signed(build.0)], |row| row.get(0)).optional()?;
    Ok(found.flatten().map(i64::cast_unsigned))
}

pub(crate) fn delete(conn: &Connection, build: BuildId) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM builds WHERE id = ?1")?.execute([signed(build.0)]).map(drop)
}

/// Whether a build may be removed: it is finished, and its commit is no branch's present head.
pub(crate) fn may_be_removed(conn: &Connection, build: BuildId) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT 1 FROM builds b WHERE b.id = ?1 AND b.verdict IS NOT NULL AND NOT EXISTS (SELECT 1 FROM heads h
         WHERE h.repo = b.repo AND b.reference LIKE 'refs/heads/%' AND h.branch = substr(b.reference, 12)
           AND h.head = b.commit_id)",
    )?
    .exists([signed(build.0)])
}

/// The build of this repository, commit and trigger.
pub(crate) fn of_source(conn: &Connection, source: &BuildSource) -> rusqlite::Result<Option<BuildId>> {
    conn.prepare_cached(
        "SELECT id FROM builds WHERE commit_id = ?1 AND repo = (SELECT id FROM repos WHERE name = ?2)
         AND trigger_key = ?3",
    )?
    .query_row(params![source.commit.as_bytes(), source.repo.as_str(), source.trigger.key()], id_from)
    .optional()
}

/// The number of the build that is meant.
pub(crate) fn find(conn: &Connection, name: &BuildName) -> rusqlite::Result<Option<BuildId>> {
    let newest = |query: &str, params: &[&dyn ToSql]| {
        let id: Option<i64> = conn.prepare_cached(query)?.query_row(params, |row| row.get(0))?;
        Ok(id.map(|id| BuildId(id.cast_unsigned())))
    };
    match name {
        BuildName::Number(id) => newest("SELECT max(id) FROM builds WHERE id = ?1", &[&signed(*id)]),
        BuildName::Latest => newest("SELECT max(id) FROM builds", &[]),
        BuildName::Commit(digits) => match prefix_bounds(digits) {
            Some((low, high)) => {
                newest("SELECT max(id) FROM builds WHERE commit_id >= ?1 AND commit_id < ?2", &[&low, &high])
            }
            None => Ok(None),
        },
    }
}

/// The build with the next higher number.
pub(crate) fn after(conn: &Connection, id: BuildId) -> rusqlite::Result<Option<Build>> {
    let mut statement = conn.prepare_cached("SELECT min(id) FROM builds WHERE id > ?1")?;
    let next: Option<i64> = statement.query_row([signed(id.0)], |row| row.get(0))?;
    next.map_or(Ok(None), |id| read(conn, BuildId(id.cast_unsigned())))
}

/// The columns that [`from_row`] reads.
macro_rules! select {
    ($hint:literal, $rest:literal) => {
        concat!(
            "SELECT b.id, r.name, b.reference, b.commit_id, b.before, b.created_at, b.finished_at, b.verdict, b.problem, ",
            "b.subject, b.author, g.commits, b.first_job, b.last_job, b.seal, b.end_seal, ",
            "b.trigger_kind, b.trust, b.trigger_key ",
            "FROM builds b ",
            $hint,
            " LEFT JOIN repos r ON r.id = b.repo LEFT JOIN ranges g ON g.build = b.id ",
            $rest
        )
    };
}

pub(crate) fn read(conn: &Connection, id: BuildId) -> rusqlite::Result<Option<Build>> {
    conn.prepare_cached(select!("", "WHERE b.id = ?1"))?.query_row([signed(id.0)], from_row).optional()
}

/// Unfinished builds of one repository or of all, oldest first. The index is named, because SQLite would rather walk
/// all builds, which are in the order that is asked for.
pub(crate) fn unfinished(conn: &Connection, repo: Option<&str>) -> rusqlite::Result<Vec<Build>> {
    const OF_ALL: &str = select!("INDEXED BY builds_unfinished", "WHERE b.verdict IS NULL ORDER BY b.id");
    const OF_ONE: &str = select!(
        "INDEXED BY builds_unfinished",
        "WHERE b.verdict IS NULL AND b.repo = (SELECT id FROM repos WHERE name = ?1) ORDER BY b.id"
    );
    match repo {
        Some(repo) => read_all(conn, OF_ONE, [repo]),
        None => read_all(conn, OF_ALL, []),
    }
}

/// The newest finished builds of one repository or of all, newest first.
pub(crate) fn finished(conn: &Connection, repo: Option<&str>, limit: u32) -> rusqlite::Result<Vec<Build>> {
    const OF_ALL: &str = select!("", "WHERE b.verdict IS NOT NULL ORDER BY b.id DESC LIMIT ?1");
    const OF_ONE: &str = select!(
        "INDEXED BY builds_by_repo",
        "WHERE b.verdict IS NOT NULL AND b.repo = (SELECT id FROM repos WHERE name = ?2) ORDER BY b.id DESC LIMIT ?1"
    );
    match repo {
        Some(repo) => read_all(conn, OF_ONE, (limit, repo)),
        None => read_all(conn, OF_ALL, [limit]),
    }
}

fn read_all(conn: &Connection, query: &str, params: impl Params) -> rusqlite::Result<Vec<Build>> {
    conn.prepare_cached(query)?.query_map(params, from_row)?.collect()
}

fn id_from(row: &Row<'_>) -> rusqlite::Result<BuildId> {
    Ok(BuildId(row.get::<_, i64>(0)?.cast_unsigned()))
}

fn trigger_from(row: &Row<'_>) -> rusqlite::Result<Trigger> {
    let kind = match row.get(16)? {
        0 => TriggerKind::Push {
            before: before_from(row.get_ref(4)?.as_blob()?)?,
            range: row.get_ref(11)?.as_blob_or_null()?.map_or(Ok(Vec::new()), ranges::from_bytes)?,
        },
        other => return Err(damaged(format!("there is no kind of trigger {other}"))),
    };
    let trigger = Trigger { kind, reference: RefName::new(row.get_ref(2)?.as_str()?), trust: trust(row.get(17)?)? };
    // The checksum covers what the key is made of.
    if row.get_ref(18)?.as_str()? != trigger.key() {
        return Err(damaged("a trigger's key is not what its parts make"));
    }
    Ok(trigger)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Build> {
    let text = |at: usize| row.get_ref(at).and_then(|value| Ok(value.as_str()?));
    let repo: Option<RepoName> = row.get_ref(1)?.as_str_or_null()?.map(repo_name).transpose()?;
    let build = Build {
        id: id_from(row)?,
        source: BuildSource {
            repo: repo.ok_or_else(|| damaged("a build's repository is unknown"))?,
            commit: commit_id(row.get_ref(3)?.as_blob()?)?,
            trigger: trigger_from(row)?,
            subject: text(9)?.to_owned(),
            author: text(10)?.to_owned(),
        },
        created_at: WallTime(row.get(5)?),
        finished_at: row.get::<_, Option<i64>>(6)?.map(WallTime),
        verdict: row.get::<_, Option<i64>>(7)?.map(verdict).transpose()?,
        problem: row.get(8)?,
    };
    let name = || format!("build {}", build.id.0);
    checksum(&build, row.get(12)?, row.get(13)?).check(row.get(14)?, name)?;
    end_checksum(build.id, build.verdict, build.finished_at).check(row.get(15)?, name)?;
    Ok(build)
}

/// Tells of every build what its removal depends on, newest first.
pub(crate) fn survey(conn: &Connection, each: &mut dyn FnMut(Surveyed)) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(
        "SELECT b.id, r.name, b.reference, h.head IS NOT NULL, h.head IS b.commit_id, b.verdict IS NULL, b.finished_at
         FROM builds b JOIN repos r ON r.id = b.repo
         LEFT JOIN heads h ON h.repo = b.repo
           AND b.reference LIKE 'refs/heads/%' AND h.branch = substr(b.reference, 12)
         ORDER BY b.id DESC",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let unfinished: bool = row.get(5)?;
        each(Surveyed {
            id: id_from(row)?,
            repo: repo_name(row.get_ref(1)?.as_str()?)?,
            reference: RefName::new(row.get_ref(2)?.as_str()?),
            lives: row.get(3)?,
            is_head: row.get(4)?,
            finished_at: row.get::<_, Option<i64>>(6)?.filter(|_| !unfinished).map(WallTime),
        });
    }
    Ok(())
}

/// The commits of a repository that builds or heads name, without doubles.
pub(crate) fn commits(conn: &Connection, repo: &RepoName) -> rusqlite::Result<Vec<CommitId>> {
    let mut statement = conn.prepare_cached(
        "SELECT b.commit_id FROM repos r JOIN builds b ON b.repo = r.id WHERE r.name = ?1
         UNION SELECT h.head FROM repos r JOIN heads h ON h.repo = r.id WHERE r.name = ?1",
    )?;
    statement.query_map([repo.as_str()], |row| commit_id(row.get_ref(0)?.as_blob()?))?.collect()
}

/// The commits of unfinished builds and of present heads.
pub(crate) fn needed_commits(conn: &Connection) -> rusqlite::Result<Vec<(RepoName, CommitId)>> {
    let mut statement = conn.prepare_cached(
        "SELECT r.name, b.commit_id FROM builds b JOIN repos r ON r.id = b.repo WHERE b.verdict IS NULL
         UNION SELECT r.name, h.head FROM heads h JOIN repos r ON r.id = h.repo",
    )?;
    let found = statement
        .query_map([], |row| Ok((repo_name(row.get_ref(0)?.as_str()?)?, commit_id(row.get_ref(1)?.as_blob()?)?)))?;
    found.collect()
}

/// The bounds, lower inclusive and upper exclusive, between which the ids lie that begin with these hexadecimal
/// digits; `None` for a text that is no such beginning, or too short to mean one commit.
fn prefix_bounds(digits: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    if !(4..=64).contains(&digits.len()) {
        return None;
    }
    let low: Vec<u8> =
        digits.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let mut high = low.clone();
    // The next beginning of that length, as if counting; after the last one there is nothing but the end.
    while high.last() == Some(&15) {
        high.pop();
    }
    match high.last_mut() {
        Some(digit) => *digit += 1,
        None => return Some((pack(&low), vec![0xff; 33])),
    }
    Some((pack(&low), pack(&high)))
}

/// Two digits to a byte; a last one without a partner is followed by 0.
fn pack(digits: &[u8]) -> Vec<u8> {
    digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_of_a_commit_id_bounds_exactly_the_ids_that_begin_so() {
        assert_eq!(prefix_bounds("abcd"), Some((vec![0xab, 0xcd], vec![0xab, 0xce])));
        assert_eq!(prefix_bounds("ABCD1"), Some((vec![0xab, 0xcd, 0x10], vec![0xab, 0xcd, 0x20])));
        assert_eq!(prefix_bounds("abcf"), Some((vec![0xab, 0xcf], vec![0xab, 0xd0])));
        assert_eq!(prefix_bounds("abff"), Some((vec![0xab, 0xff], vec![0xac])));
        assert_eq!(prefix_bounds("ffff"), Some((vec![0xff, 0xff], vec![0xff; 33])));
        for text in ["", "abc", "abcg", "äöüß", &"a".repeat(65)] {
            assert_eq!(prefix_bounds(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_that_stands_for_no_verdict_is_damage() {
        assert!(verdict(4).is_err());
    }
}
