//! `secrets`: the secrets of the dispatcher, sealed, with their rules.

use rusqlite::{Connection, params};

use super::{execute, read_all};
use crate::model::{Secret, SecretRule, SecretUse, WallTime};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::damaged;

fn checksum(secret: &Secret, rule: &str) -> Checksum {
    Checksum::of("secrets")
        .bytes(secret.name.as_bytes())
        .bytes(rule.as_bytes())
        .bytes(&secret.sealed)
        .number(secret.set_at.0)
        .maybe_text(secret.set_by.as_deref())
        .maybe_number(secret.last_use.as_ref().map(|last| last.at.0))
        .maybe_text(secret.last_use.as_ref().map(|last| &*last.task))
}

/// The name of the repository in the key: empty for a secret of all repositories.
fn key(rule: &SecretRule) -> &str {
    rule.repo.as_deref().unwrap_or_default()
}

/// Adds a secret, or replaces the one of that name and repository.
pub(crate) fn save(conn: &Connection, secret: &Secret) -> rusqlite::Result<()> {
    const SAVE: &str =
        "INSERT OR REPLACE INTO secrets (name, repo, rule, sealed, set_at, set_by, used_at, used_by, seal)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let rule = serde_json::to_string(&secret.rule).expect("a struct of texts is always JSON");
    let Secret { name, sealed, set_at, set_by, last_use, .. } = secret;
    let (used_at, used_by) = last_use.as_ref().map(|last| (last.at, &last.task)).unzip();
    let (repo, seal) = (key(&secret.rule), checksum(secret, &rule).value());
    execute(conn, SAVE, params![name, repo, rule, sealed, set_at, set_by, used_at, used_by, seal]).map(drop)
}

/// Removes a secret. Returns whether it was there.
pub(crate) fn delete(conn: &Connection, name: &str, repo: Option<&str>) -> rusqlite::Result<bool> {
    const DELETE: &str = "DELETE FROM secrets WHERE name = ?1 AND repo = ?2";
    execute(conn, DELETE, params![name, repo.unwrap_or_default()]).map(|count| count > 0)
}

/// By name; of one name, the secret of all repositories first.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<Secret>> {
    const ALL: &str =
        "SELECT name, rule, sealed, set_at, set_by, used_at, used_by, seal FROM secrets ORDER BY name, repo";
    read_all(conn, ALL, [], |row| {
        let rule: String = row.get(1)?;
        let last_use = match (row.get::<_, Option<WallTime>>(5)?, row.get(6)?) {
            (Some(at), Some(task)) => Some(SecretUse { at, task }),
            _ => None,
        };
        let secret = Secret {
            name: row.get(0)?,
            rule: serde_json::from_str(&rule).map_err(|error| damaged(error.to_string()))?,
            sealed: row.get(2)?,
            set_at: row.get(3)?,
            set_by: row.get(4)?,
            last_use,
        };
        checksum(&secret, &rule).check(row.get(7)?, || format!("the secret {}", secret.name))?;
        Ok(secret)
    })
}
