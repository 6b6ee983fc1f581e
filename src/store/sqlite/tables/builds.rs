//! `builds`: one row for each build. Column `seal` covers what never changes, `end_seal` the verdict and when it came.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use super::{execute, ranges, read_all, read_one, repos};
use crate::model::{
    Build, BuildId, BuildSettings, BuildSource, CommitId, RefName, RepoName, Trigger, TriggerId, TriggerKind, Trust,
    Verdict, WallTime,
};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::failure::{Fault, one_row};
use crate::store::sqlite::values::{Numbered, damaged, numbered, signed, unsigned};
use crate::store::{Scope, Surveyed};

numbered!(Verdict, "verdict": Passed = 0, Failed = 1, Errored = 2, Cancelled = 3);
numbered!(Trust, "trust": Untrusted = 0, Trusted = 1);

fn kind_number(kind: &TriggerKind) -> i64 {
    match kind {
        TriggerKind::Push { .. } => 0,
        TriggerKind::Tag { .. } => 1,
        TriggerKind::Ref { .. } => 2,
        TriggerKind::Schedule { .. } => 3,
        TriggerKind::Manual { .. } => 4,
        TriggerKind::Try { .. } => 5,
    }
}

/// The columns that [`from_row`] reads.
macro_rules! select {
    ($hint:literal, $rest:literal) => {
        concat!(
            "SELECT b.id, r.name, b.reference, b.commit_id, b.trigger_key, b.created_at, b.finished_at, b.verdict, b.problem, ",
            "b.subject, b.author, g.commits, b.first_job, b.last_job, b.seal, b.end_seal, ",
            "b.trigger_kind, b.trust, ",
            // Every rerun is told as a decision about each of its jobs, and so is the start of a held job. No text in
            // the JSON of a reason can look like the end of the second pattern, because its quotes are escaped.
            "(SELECT max(d.at) FROM decisions d WHERE d.build = b.id AND (d.text = 'run again by an operator' ",
            "OR d.reason LIKE '{\"code\":\"rerun_asked\"%' ",
            "OR d.reason LIKE '{\"code\":\"started\"%,\"reopened\":true}')), b.settings, b.asked_by ",
            "FROM builds b ",
            $hint,
            " LEFT JOIN repos r ON r.id = b.repo LEFT JOIN ranges g ON g.build = b.id ",
            $rest
        )
    };
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
        .bytes(&trigger.key())
        .bytes(&ranges::to_bytes(trigger.range(), trigger.commits()))
        .bytes(source.subject.as_bytes())
        .bytes(source.author.as_bytes())
        .number(build.created_at.0)
        .maybe_text(build.problem.as_deref())
        .number(first_job)
        .number(last_job);
    // Up to schema version 2 each build was a push to a branch, and its trust followed from the branch. Such a build
    // keeps the checksum of then, so that old rows stay valid; any other trigger is added to it.
    let is_plain_push = matches!(trigger.kind, TriggerKind::Push { .. }) && trigger.reference.branch().is_some();
    let checksum = if is_plain_push && trigger.trust == trust_before_triggers(&trigger.reference) {
        checksum
    } else {
        checksum
            .number(kind_number(&trigger.kind))
            .bytes(trigger.reference.as_str().as_bytes())
            .number(trigger.trust.number())
    };
    // Up to schema version 10 no build had settings.
    let checksum = match settings_column(&build.settings) {
        Some(settings) => checksum.bytes(b"settings").bytes(settings.as_bytes()),
        None => checksum,
    };
    // Up to schema version 15 nobody was named.
    match trigger.asked_by() {
        Some(by) => checksum.bytes(b"asked_by").bytes(by.as_bytes()),
        None => checksum,
    }
}

/// The trust that followed from the branch up to schema version 2.
fn trust_before_triggers(reference: &RefName) -> Trust {
    if matches!(reference.branch(), Some("main" | "master")) { Trust::Trusted } else { Trust::Untrusted }
}

/// The column `settings`.
fn settings_column(settings: &BuildSettings) -> Option<String> {
    if *settings == BuildSettings::default() { None } else { serde_json::to_string(settings).ok() }
}

/// Covers what changes.
fn end_checksum(build: BuildId, verdict: Option<Verdict>, finished_at: Option<WallTime>) -> Checksum {
    Checksum::of("ends")
        .number(signed(build.0))
        .maybe_number(verdict.map(|verdict| verdict.number()))
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
    execute(
        conn,
        "INSERT INTO builds (id, repo, reference, commit_id, trigger_key, first_job, last_job, created_at, finished_at,
           verdict, problem, subject, author, seal, end_seal, trigger_kind, trust, settings,
           asked_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        params![
            build.id,
            repo,
            trigger.reference,
            commit,
            trigger.key(),
            first_job,
            last_job,
            build.created_at,
            build.finished_at,
            build.verdict,
            build.problem,
            subject,
            author,
            checksum(build, first_job, last_job).value(),
            end_checksum(build.id, build.verdict, build.finished_at).value(),
            kind_number(&trigger.kind),
            trigger.trust,
            settings_column(&build.settings),
            trigger.asked_by().map(|by| &**by)
        ],
    )?;
    ranges::insert(conn, build.id, trigger)
}

pub(crate) fn finish(
    conn: &Connection,
    build: BuildId,
    verdict: Verdict,
    (at, seq): (WallTime, i64),
) -> Result<(), Fault> {
    const FINISH: &str = "UPDATE builds SET verdict = ?2, finished_at = ?3, end_seal = ?4, end_seq = ?5
                          WHERE id = ?1 AND verdict IS NULL";
    let seal = end_checksum(build, Some(verdict), Some(at)).value();
    let changed = execute(conn, FINISH, params![build, verdict, at, seal, seq])?;
    one_row(changed, || format!("{build} is unknown or finished"))
}

pub(crate) fn reopen(conn: &Connection, build: BuildId) -> Result<(), Fault> {
    const REOPEN: &str = "UPDATE builds SET verdict = NULL, finished_at = NULL, end_seal = ?2
                          WHERE id = ?1 AND verdict IS NOT NULL";
    let changed = execute(conn, REOPEN, params![build, end_checksum(build, None, None).value()])?;
    one_row(changed, || format!("{build} is unknown or unfinished"))
}

/// The place of a build's end in the order of what happened, if it has one.
pub(crate) fn end_seq(conn: &Connection, build: BuildId) -> rusqlite::Result<Option<u64>> {
    const END: &str = "SELECT end_seq FROM builds WHERE id = ?1 AND verdict IS NOT NULL";
    Ok(read_one(conn, END, [build], |row| unsigned(row, 0))?.flatten())
}

/// Whether a build may be removed: it is finished, and its commit is no present head of a branch or
/// a tag. A forge keeps the refs of pull requests for ever, so those keep no build.
pub(crate) fn may_be_removed(conn: &Connection, build: BuildId) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT 1 FROM builds b WHERE b.id = ?1 AND b.verdict IS NOT NULL AND NOT EXISTS (SELECT 1 FROM heads h
         WHERE h.repo = b.repo AND h.reference = b.reference AND h.head = b.commit_id
           AND (h.reference GLOB 'refs/heads/*' OR h.reference GLOB 'refs/tags/*'))",
    )?
    .exists([build])
}

/// The newest build. The index of repositories also has their builds in order.
pub(crate) fn newest(conn: &Connection, scope: &Scope) -> rusqlite::Result<Option<BuildId>> {
    const OF_ALL: &str = "SELECT id FROM builds WHERE ?1 IS NULL OR reference = ?1 ORDER BY id DESC LIMIT 1";
    const OF_ONE: &str = "SELECT id FROM builds INDEXED BY builds_by_repo
        WHERE repo = (SELECT id FROM repos WHERE name = ?2) AND (?1 IS NULL OR reference = ?1) ORDER BY id DESC LIMIT 1";
    let Scope { repo, reference } = scope;
    match repo {
        Some(repo) => read_one(conn, OF_ONE, params![reference, repo], |row| row.get(0)),
        None => read_one(conn, OF_ALL, params![reference], |row| row.get(0)),
    }
}

/// The newest build of each commit that begins so, newest first.
pub(crate) fn of_commit(conn: &Connection, digits: &str, scope: &Scope, limit: u32) -> rusqlite::Result<Vec<BuildId>> {
    const OF_COMMIT: &str = "SELECT max(id) AS newest FROM builds WHERE commit_id >= ?1 AND commit_id < ?2
        AND (?3 IS NULL OR repo = (SELECT id FROM repos WHERE name = ?3)) AND (?4 IS NULL OR reference = ?4)
        GROUP BY commit_id ORDER BY newest DESC LIMIT ?5";
    let Some((low, high)) = prefix_bounds(digits) else { return Ok(Vec::new()) };
    read_all(conn, OF_COMMIT, params![low, high, scope.repo, scope.reference, limit], |row| row.get(0))
}

/// The build that this trigger has made of this commit.
pub(crate) fn of_trigger(conn: &Connection, source: &BuildSource) -> rusqlite::Result<Option<BuildId>> {
    const OF_TRIGGER: &str = "SELECT id FROM builds WHERE commit_id = ?1 AND reference = ?3 AND trigger_kind = ?4
        AND trigger_key = ?5 AND repo = (SELECT id FROM repos WHERE name = ?2)";
    let BuildSource { repo, commit, trigger, .. } = source;
    let params = params![commit, repo, trigger.reference, kind_number(&trigger.kind), trigger.key()];
    read_one(conn, OF_TRIGGER, params, |row| row.get(0))
}

/// The time at which the newest build was added, if there is one.
pub(crate) fn newest_at(conn: &Connection) -> rusqlite::Result<Option<WallTime>> {
    read_one(conn, "SELECT created_at FROM builds ORDER BY id DESC LIMIT 1", [], |row| row.get(0))
}

/// The build with the next higher number.
pub(crate) fn after(conn: &Connection, id: BuildId) -> rusqlite::Result<Option<Build>> {
    const AFTER: &str = select!("", "WHERE b.id > ?1 ORDER BY b.id LIMIT 1");
    read_one(conn, AFTER, [id], from_row)
}

pub(crate) fn read(conn: &Connection, id: BuildId) -> rusqlite::Result<Option<Build>> {
    read_one(conn, select!("", "WHERE b.id = ?1"), [id], from_row)
}

/// The oldest unfinished builds of one repository or of all, oldest first. The index is named, because SQLite would
/// rather walk all builds, which are in the order that is asked for.
pub(crate) fn unfinished(conn: &Connection, repo: Option<&str>, limit: u32) -> rusqlite::Result<Vec<Build>> {
    const OF_ALL: &str = select!("INDEXED BY builds_unfinished", "WHERE b.verdict IS NULL ORDER BY b.id LIMIT ?1");
    const OF_ONE: &str = select!(
        "INDEXED BY builds_unfinished",
        "WHERE b.verdict IS NULL AND b.repo = (SELECT id FROM repos WHERE name = ?2) ORDER BY b.id LIMIT ?1"
    );
    match repo {
        Some(repo) => read_all(conn, OF_ONE, params![limit, repo], from_row),
        None => read_all(conn, OF_ALL, [limit], from_row),
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
        Some(repo) => read_all(conn, OF_ONE, (limit, repo), from_row),
        None => read_all(conn, OF_ALL, [limit], from_row),
    }
}

/// Reads the key of a move of a ref, see [`Trigger::key`]. An id has 20 or 32 bytes, so the length of a key tells
/// whether it begins with a number.
fn move_key(key: &[u8]) -> rusqlite::Result<(u64, Option<CommitId>)> {
    let has_number = matches!(key.len(), 8 | 28 | 40);
    let (number, before) = if has_number { key.split_first_chunk().map_or((0, key), number_first) } else { (0, key) };
    let before = match before {
        [] => None,
        id => Some(CommitId::from_bytes(id).map_err(|error| damaged(error.to_string()))?),
    };
    Ok((number, before))
}

fn number_first<'a>((number, rest): (&[u8; 8], &'a [u8])) -> (u64, &'a [u8]) {
    (u64::from_be_bytes(*number), rest)
}

/// Reads the key of a schedule, see [`Trigger::key`].
fn schedule_key(key: &[u8]) -> Option<TriggerKind> {
    let (due, rest) = key.split_first_chunk()?;
    let (name, timezone) = str::from_utf8(rest).ok()?.split_once('\0')?;
    let (name, timezone) = (name.into(), timezone.into());
    Some(TriggerKind::Schedule { name, due: WallTime(i64::from_be_bytes(*due)), timezone })
}

fn trigger_from(row: &Row<'_>) -> rusqlite::Result<Trigger> {
    let key = row.get_ref(4)?.as_blob()?;
    let bad_key = || damaged("the key of a trigger cannot be read");
    let id = || key.try_into().map(TriggerId).map_err(|_| bad_key());
    let by = || Ok::<_, rusqlite::Error>(row.get_ref(20)?.as_str_or_null()?.map(Arc::from));
    let kind = match row.get(16)? {
        0 => {
            let (number, before) = move_key(key)?;
            let range = row.get_ref(11)?.as_blob_or_null()?.unwrap_or_default();
            let (range, commits) = ranges::from_bytes(range)?;
            TriggerKind::Push { number, before, range, commits }
        }
        1 => move_key(key).map(|(number, before)| TriggerKind::Tag { number, before })?,
        2 => move_key(key).map(|(number, before)| TriggerKind::Ref { number, before })?,
        3 => schedule_key(key).ok_or_else(bad_key)?,
        4 => TriggerKind::Manual { id: id()?, by: by()? },
        5 => TriggerKind::Try { id: id()?, by: by()? },
        other => return Err(damaged(format!("there is no kind of trigger {other}"))),
    };
    Ok(Trigger { kind, reference: row.get(2)?, trust: row.get(17)? })
}

fn settings_from(row: &Row<'_>) -> rusqlite::Result<BuildSettings> {
    let Some(json) = row.get_ref(19)?.as_str_or_null()? else { return Ok(BuildSettings::default()) };
    serde_json::from_str(json).map_err(|error| damaged(format!("the settings of a build cannot be read: {error}")))
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Build> {
    let repo: Option<RepoName> = row.get(1)?;
    let build = Build {
        id: row.get(0)?,
        source: BuildSource {
            repo: repo.ok_or_else(|| damaged("a build's repository is unknown"))?,
            commit: row.get(3)?,
            trigger: trigger_from(row)?,
            subject: row.get(9)?,
            author: row.get(10)?,
        },
        created_at: row.get(5)?,
        rerun_at: row.get(18)?,
        finished_at: row.get(6)?,
        verdict: row.get(7)?,
        problem: row.get(8)?,
        settings: settings_from(row)?,
    };
    let name = || format!("build {}", build.id.0);
    checksum(&build, row.get(12)?, row.get(13)?).check(row.get(14)?, name)?;
    end_checksum(build.id, build.verdict, build.finished_at).check(row.get(15)?, name)?;
    Ok(build)
}

/// Tells of every build what its removal depends on, newest first.
pub(crate) fn survey(conn: &Connection, each: &mut dyn FnMut(Surveyed)) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(
        "SELECT b.id, r.name, b.reference, h.head IS NOT NULL, h.head IS b.commit_id, b.verdict, b.finished_at
         FROM builds b JOIN repos r ON r.id = b.repo
         LEFT JOIN heads h ON h.repo = b.repo AND h.reference = b.reference
           AND (h.reference GLOB 'refs/heads/*' OR h.reference GLOB 'refs/tags/*')
         ORDER BY b.id DESC",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let verdict: Option<Verdict> = row.get(5)?;
        each(Surveyed {
            id: row.get(0)?,
            repo: row.get(1)?,
            reference: row.get(2)?,
            lives: row.get(3)?,
            is_head: row.get(4)?,
            finished_at: row.get::<_, Option<WallTime>>(6)?.filter(|_| verdict.is_some()),
            passed: verdict == Some(Verdict::Passed),
        });
    }
    Ok(())
}

/// The commits of a repository that builds or heads name, without doubles. The source of a head that is only noted was
/// never sent.
pub(crate) fn commits(conn: &Connection, repo: &RepoName) -> rusqlite::Result<Vec<CommitId>> {
    const OF_REPO: &str = "SELECT b.commit_id FROM repos r JOIN builds b ON b.repo = r.id WHERE r.name = ?1
         UNION SELECT h.head FROM repos r JOIN heads h ON h.repo = r.id WHERE r.name = ?1 AND h.noted = 0";
    read_all(conn, OF_REPO, [repo], |row| row.get(0))
}

/// The commits of unfinished builds and of present heads.
pub(crate) fn needed_commits(conn: &Connection) -> rusqlite::Result<Vec<(RepoName, CommitId)>> {
    const NEEDED: &str = "SELECT r.name, b.commit_id FROM builds b JOIN repos r ON r.id = b.repo
         WHERE b.verdict IS NULL UNION SELECT r.name, h.head FROM heads h JOIN repos r ON r.id = h.repo WHERE h.noted = 0";
    read_all(conn, NEEDED, [], |row| Ok((row.get(0)?, row.get(1)?)))
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
    use rusqlite::types::{FromSql, ValueRef};

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
        let verdict = |number| Verdict::column_result(ValueRef::Integer(number));
        assert!(verdict(4).is_err() && verdict(3).is_ok());
    }
}
