//! `heads`: the head last accepted of each branch.

use rusqlite::{Connection, params};

use super::repos;
use crate::model::{BranchName, CommitId, RepoName};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::{commit_id, repo_name};

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
    let repo_id = repos.get(conn, repo)?;
    match head {
        Some(head) => conn
            .prepare_cached("INSERT OR REPLACE INTO heads (repo, branch, head, seal) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![repo_id, branch.as_str(), head.as_bytes(), checksum(repo, branch, head).value()])?,
        None => conn
            .prepare_cached("DELETE FROM heads WHERE repo = ?1 AND branch = ?2")?
            .execute(params![repo_id, branch.as_str()])?,
    };
    Ok(())
}

/// By repository, then branch.
pub(crate) fn read_all(conn: &Connection) -> rusqlite::Result<Vec<(RepoName, BranchName, CommitId)>> {
    let mut statement = conn.prepare_cached(
        "SELECT r.name, h.branch, h.head, h.seal FROM heads h LEFT JOIN repos r ON r.id = h.repo ORDER BY r.name, h.branch",
    )?;
    let found = statement.query_map([], |row| {
        let repo = repo_name(row.get_ref(0)?.as_str()?)?;
        let branch = BranchName::new(row.get_ref(1)?.as_str()?);
        let head = commit_id(row.get_ref(2)?.as_blob()?)?;
        checksum(&repo, &branch, &head).check(row.get(3)?, || format!("the head of {branch} in {repo}"))?;
        Ok((repo, branch, head))
    })?;
    found.collect()
}
