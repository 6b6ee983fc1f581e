//! `ranges`: the commits of a build's range as one blob, each as one byte of length and its bytes. An empty range has
//! no row. The checksum of the build covers it.

use rusqlite::Connection;

use super::execute;
use crate::model::{BuildId, CommitId};
use crate::store::sqlite::values::damaged;

pub(crate) fn insert(conn: &Connection, build: BuildId, range: &[CommitId]) -> rusqlite::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    execute(conn, "INSERT INTO ranges (build, commits) VALUES (?1, ?2)", (build, to_bytes(range))).map(drop)
}

pub(crate) fn to_bytes(range: &[CommitId]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(range.len() * 21);
    for commit in range {
        let raw = commit.as_bytes();
        bytes.push(u8::try_from(raw.len()).expect("a commit id has 20 or 32 bytes"));
        bytes.extend_from_slice(raw);
    }
    bytes
}

pub(crate) fn from_bytes(mut bytes: &[u8]) -> rusqlite::Result<Vec<CommitId>> {
    let mut range = Vec::with_capacity(bytes.len() / 21);
    while let Some((len, rest)) = bytes.split_first() {
        let (raw, rest) =
            rest.split_at_checked(usize::from(*len)).ok_or_else(|| damaged("a range of commits is cut short"))?;
        range.push(CommitId::from_bytes(raw).map_err(|e| damaged(e.to_string()))?);
        bytes = rest;
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_is_cut_short_is_damage() {
        assert!(from_bytes(&[20, 1, 2]).is_err());
    }
}
