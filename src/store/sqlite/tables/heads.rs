//! `heads`: the head last accepted of each ref.

use rusqlite::{Connection, params};

use super::{ends, execute, read_all, repos};
use crate::model::{AcceptedHead, CommitId, RefName, RepoName};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::{signed, unsigned};

/// Covers the name of the repository too. Up to schema version 5 there were heads of branches only, under their short
/// names. A head of a branch keeps the checksum of then, and so does one from before moves were numbered, whose number
/// is 0.
fn checksum(repo: &RepoName, reference: &RefName, head: &CommitId, (number, is_noted): (u64, bool)) -> Checksum {
    let checksum = Checksum::of("heads")
        .bytes(repo.as_str().as_bytes())
        .bytes(reference.short().as_bytes())
        .bytes(head.as_bytes());
    let checksum = if number == 0 { checksum } else { checksum.number(signed(number)) };
    let checksum = if reference.branch().is_some() { checksum } else { checksum.bytes(reference.as_str().as_bytes()) };
    if is_noted { checksum.bytes(b"noted") } else { checksum }
}

/// Notes a ref that is not built.
pub(crate) fn note(
    conn: &Connection,
    (repo_id, repo): (i64, &RepoName),
    (reference, head): &(RefName, CommitId),
    number: u64,
) -> rusqlite::Result<()> {
    const NOTE: &str =
        "INSERT OR REPLACE INTO heads (repo, reference, head, number, noted, seal) VALUES (?1, ?2, ?3, ?4, 1, ?5)";
    let seal = checksum(repo, reference, head, (number, true)).value();
    execute(conn, NOTE, params![repo_id, reference, head, signed(number), seal]).map(drop)
}

/// Moves the head of a ref, or removes it.
pub(crate) fn move_to(
    conn: &Connection,
    repos: &mut repos::Ids,
    (repo, reference): (&RepoName, &RefName),
    head: Option<&CommitId>,
    number: u64,
) -> rusqlite::Result<()> {
    const MOVE: &str = "INSERT OR REPLACE INTO heads (repo, reference, head, number, seal) VALUES (?1, ?2, ?3, ?4, ?5)";
    const REMOVE: &str = "DELETE FROM heads WHERE repo = ?1 AND reference = ?2";
    let repo_id = repos.get(conn, repo)?;
    match head {
        Some(head) => {
            let seal = checksum(repo, reference, head, (number, false)).value();
            execute(conn, MOVE, params![repo_id, reference, head, signed(number), seal]).map(drop)
        }
        None => {
            execute(conn, REMOVE, params![repo_id, reference])?;
            ends::set(conn, (repo_id, repo), number)
        }
    }
}

/// By repository, then ref. The build of a head is the newest of that commit on that ref, because each move makes a
/// build.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<(RepoName, RefName, AcceptedHead)>> {
    const ALL: &str = "SELECT r.name, h.reference, h.head, h.number, h.seal, h.noted, (SELECT max(b.id) FROM builds b
           WHERE b.commit_id = h.head AND b.repo = h.repo AND b.reference = h.reference AND b.trigger_kind < 3)
         FROM heads h LEFT JOIN repos r ON r.id = h.repo ORDER BY r.name, h.reference";
    read_all(conn, ALL, [], |row| {
        let (repo, reference, commit): (_, RefName, _) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let number = unsigned(row, 3)?.unwrap_or(0);
        let is_noted: bool = row.get(5)?;
        let seal = checksum(&repo, &reference, &commit, (number, is_noted));
        seal.check(row.get(4)?, || format!("the head of {} in {repo}", reference.short()))?;
        let build = if is_noted { None } else { row.get(6)? };
        Ok((repo, reference, AcceptedHead { commit, number, build, is_noted }))
    })
}
