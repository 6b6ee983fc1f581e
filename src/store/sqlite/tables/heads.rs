//! `heads`: the head last accepted of each branch.

use rusqlite::{Connection, params};

use super::{ends, execute, read_all, repos};
use crate::model::{AcceptedHead, BranchName, CommitId, RepoName};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::{signed, unsigned};

/// Covers the name of the repository too. A head from before moves were numbered has number 0 and the checksum of then.
fn checksum(repo: &RepoName, branch: &BranchName, head: &CommitId, number: u64) -> Checksum {
    let checksum =
        Checksum::of("heads").bytes(repo.as_str().as_bytes()).bytes(branch.as_str().as_bytes()).bytes(head.as_bytes());
    if number == 0 { checksum } else { checksum.number(signed(number)) }
}

/// Moves the head of a branch, or removes it.
pub(crate) fn move_to(
    conn: &Connection,
    repos: &mut repos::Ids,
    (repo, branch): (&RepoName, &BranchName),
    head: Option<&CommitId>,
    number: u64,
) -> rusqlite::Result<()> {
    const MOVE: &str = "INSERT OR REPLACE INTO heads (repo, branch, head, number, seal) VALUES (?1, ?2, ?3, ?4, ?5)";
    const REMOVE: &str = "DELETE FROM heads WHERE repo = ?1 AND branch = ?2";
    let repo_id = repos.get(conn, repo)?;
    match head {
        Some(head) => {
            let seal = checksum(repo, branch, head, number).value();
            execute(conn, MOVE, params![repo_id, branch, head, signed(number), seal]).map(drop)
        }
        None => {
            execute(conn, REMOVE, params![repo_id, branch])?;
            ends::set(conn, (repo_id, repo), number)
        }
    }
}

/// By repository, then branch. The build of a head is the newest of that commit on that branch, because each move makes
/// a build.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<(RepoName, BranchName, AcceptedHead)>> {
    const ALL: &str = "SELECT r.name, h.branch, h.head, h.number, h.seal, (SELECT max(b.id) FROM builds b
           WHERE b.commit_id = h.head AND b.repo = h.repo AND b.reference = 'refs/heads/' || h.branch)
         FROM heads h LEFT JOIN repos r ON r.id = h.repo ORDER BY r.name, h.branch";
    read_all(conn, ALL, [], |row| {
        let (repo, branch, commit) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let number = unsigned(row, 3)?.unwrap_or(0);
        let seal = checksum(&repo, &branch, &commit, number);
        seal.check(row.get(4)?, || format!("the head of {branch} in {repo}"))?;
        Ok((repo, branch, AcceptedHead { commit, number, build: row.get(5)? }))
    })
}
