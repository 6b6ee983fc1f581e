//! `heads`: the head last accepted of each branch.

use rusqlite::{Connection, params};

use super::{execute, read_all, repos};
use crate::model::{BranchName, CommitId, RepoName};
use crate::store::sqlite::checksum::Checksum;

/// Covers the name of the repository too.
fn checksum(repo: &RepoName, branch: &BranchName, head: &CommitId) -> Checksum {
    Checksum::of("heads").bytes(repo.as_str().as_bytes()).bytes(branch.as_str().as_bytes()).bytes(head.as_bytes())
}

/// Moves the head of a branch, or removes it.
pub(crate) fn move_to(
    conn: &Connection,
    repos: &mut repos::Ids,
    (repo, branch): (&RepoName, &BranchName),
    head: Option<&CommitId>,
) -> rusqlite::Result<()> {
    const MOVE: &str = "INSERT OR REPLACE INTO heads (repo, branch, head, seal) VALUES (?1, ?2, ?3, ?4)";
    const REMOVE: &str = "DELETE FROM heads WHERE repo = ?1 AND branch = ?2";
    let repo_id = repos.get(conn, repo)?;
    match head {
        Some(head) => execute(conn, MOVE, params![repo_id, branch, head, checksum(repo, branch, head).value()])?,
        None => execute(conn, REMOVE, params![repo_id, branch])?,
    };
    Ok(())
}

/// By repository, then branch.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<(RepoName, BranchName, CommitId)>> {
    const ALL: &str = "SELECT r.name, h.branch, h.head, h.seal FROM heads h LEFT JOIN repos r ON r.id = h.repo
         ORDER BY r.name, h.branch";
    read_all(conn, ALL, [], |row| {
        let (repo, branch, head) = (row.get(0)?, row.get(1)?, row.get(2)?);
        checksum(&repo, &branch, &head).check(row.get(3)?, || format!("the head of {branch} in {repo}"))?;
        Ok((repo, branch, head))
    })
}
