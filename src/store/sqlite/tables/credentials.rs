//! `credentials`: join tokens, and the credentials of peers that joined.

use rusqlite::{Connection, Row, params};

use super::{execute, read_all};
use crate::model::{AccessRole, Credential, CredentialId, CredentialKind, Label, RepoName, WallTime};
use crate::store::sqlite::checksum::Checksum;
use crate::store::sqlite::values::{columns, damaged, numbered};

numbered!(AccessRole, "role": Observer = 0, Runner = 1, Reader = 2, Member = 3, Admin = 4);

columns! {
    CredentialId: id => id.as_str(), raw.as_str => Self::new(raw)
        .ok_or_else(|| rusqlite::types::FromSqlError::Other("no id of a credential".into()));
}

/// The columns that only one kind has: when a join token expires, how often it may be used, and the token by which a
/// peer joined.
type OfKind<'a> = (Option<i64>, Option<u32>, Option<&'a CredentialId>);

fn of_kind(kind: &CredentialKind) -> OfKind<'_> {
    match kind {
        CredentialKind::JoinToken { expires_at, uses_left } => (Some(expires_at.0), Some(*uses_left), None),
        CredentialKind::Joined { token } => (None, None, Some(token)),
    }
}

fn checksum(credential: &Credential) -> Checksum {
    let (expires_at, uses_left, token) = of_kind(&credential.kind);
    let checksum = Checksum::of("credentials")
        .bytes(credential.id.as_str().as_bytes())
        .bytes(credential.role.word().as_bytes())
        .maybe_text(credential.name.as_deref())
        .bytes(lines(&credential.labels).as_bytes())
        .bytes(lines(&credential.repos).as_bytes())
        .bytes(&credential.hash)
        .number(credential.created_at.0)
        .number(credential.last_used.0)
        .maybe_number(credential.revoked_at.map(|at| at.0))
        .maybe_number(expires_at)
        .maybe_number(uses_left)
        .maybe_text(token.map(CredentialId::as_str));
    // Up to schema version 17 nobody was named.
    [(b"created_by", &credential.created_by), (b"revoked_by", &credential.revoked_by)].into_iter().fold(
        checksum,
        |checksum, (word, by)| match by {
            Some(by) => checksum.bytes(word).bytes(by.as_bytes()),
            None => checksum,
        },
    )
}

/// Adds a credential, or replaces what is known of it.
pub(crate) fn save(conn: &Connection, credential: &Credential) -> rusqlite::Result<()> {
    const SAVE: &str = "INSERT OR REPLACE INTO credentials (id, role, name, labels, repos, hash, created_at, last_used,
         revoked_at, expires_at, uses_left, token, created_by, revoked_by, seal)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    let (expires_at, uses_left, token) = of_kind(&credential.kind);
    let Credential { id, role, name, labels, repos, hash, created_at, last_used, revoked_at, .. } = credential;
    let Credential { created_by, revoked_by, .. } = credential;
    let (labels, repos, seal) = (lines(labels), lines(repos), checksum(credential).value());
    execute(
        conn,
        SAVE,
        params![
            id, role, name, labels, repos, hash, created_at, last_used, revoked_at, expires_at, uses_left, token,
            created_by, revoked_by, seal
        ],
    )
    .map(drop)
}

pub(crate) fn delete(conn: &Connection, id: &CredentialId) -> rusqlite::Result<()> {
    execute(conn, "DELETE FROM credentials WHERE id = ?1", [id]).map(drop)
}

/// By id.
pub(crate) fn all(conn: &Connection) -> rusqlite::Result<Vec<Credential>> {
    const ALL: &str = "SELECT id, role, name, labels, repos, hash, created_at, last_used, revoked_at, expires_at,
         uses_left, token, created_by, revoked_by, seal FROM credentials ORDER BY id";
    read_all(conn, ALL, [], |row| {
        let kind = match (row.get::<_, Option<WallTime>>(9)?, row.get(10)?, row.get(11)?) {
            (Some(expires_at), Some(uses_left), None) => CredentialKind::JoinToken { expires_at, uses_left },
            (None, None, Some(token)) => CredentialKind::Joined { token },
            _ => return Err(damaged("a credential is of no kind")),
        };
        let credential = Credential {
            id: row.get(0)?,
            kind,
            role: row.get(1)?,
            name: row.get(2)?,
            labels: parsed(row, 3, |text| Label::new(text).ok())?,
            repos: parsed(row, 4, |text| RepoName::new(text).ok())?,
            hash: row.get(5)?,
            created_at: row.get(6)?,
            last_used: row.get(7)?,
            revoked_at: row.get(8)?,
            created_by: row.get(12)?,
            revoked_by: row.get(13)?,
        };
        checksum(&credential).check(row.get(14)?, || format!("credential {}", credential.id))?;
        Ok(credential)
    })
}

/// Labels and names have no line breaks.
fn lines(texts: &[impl ToString]) -> String {
    texts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn parsed<T>(row: &Row<'_>, at: usize, parse: impl Fn(&str) -> Option<T>) -> rusqlite::Result<Vec<T>> {
    let text: String = row.get(at)?;
    text.lines().map(|line| parse(line).ok_or_else(|| damaged("a credential has a label or name of no form"))).collect()
}
