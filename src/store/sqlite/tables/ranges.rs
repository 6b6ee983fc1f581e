//! `ranges`: the commits of a build's range as one blob, each as one byte of length and its bytes. If the push has
//! another number of commits than the range lists, a zero byte and that number in 8 bytes follow. An empty range of no
//! further commits has no row. The checksum of the build covers it.

use rusqlite::Connection;

use super::execute;
use crate::model::{BuildId, CommitId, Trigger};
use crate::store::sqlite::values::damaged;

/// Stands for a number of commits that is not known.
const UNKNOWN: u64 = u64::MAX;

pub(crate) fn insert(conn: &Connection, build: BuildId, trigger: &Trigger) -> rusqlite::Result<()> {
    let bytes = to_bytes(trigger.range(), trigger.commits());
    if bytes.is_empty() {
        return Ok(());
    }
    execute(conn, "INSERT INTO ranges (build, commits) VALUES (?1, ?2)", (build, bytes)).map(drop)
}

/// Makes the blob of a range, of a push with this number of commits.
pub(crate) fn to_bytes(range: &[CommitId], commits: Option<u64>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(range.len() * 21);
    for commit in range {
        let raw = commit.as_bytes();
        bytes.push(u8::try_from(raw.len()).expect("a commit id has 20 or 32 bytes"));
        bytes.extend_from_slice(raw);
    }
    // Left out if the range lists all, so that rows and checksums from before there was a number stay valid.
    if commits != Some(range.len() as u64) {
        bytes.push(0);
        bytes.extend_from_slice(&commits.unwrap_or(UNKNOWN).to_le_bytes());
    }
    bytes
}

/// Reads a blob: the range, and the number of commits of the push.
pub(crate) fn from_bytes(mut bytes: &[u8]) -> rusqlite::Result<(Vec<CommitId>, Option<u64>)> {
    let mut range = Vec::with_capacity(bytes.len() / 21);
    while let Some((len, rest)) = bytes.split_first() {
        if *len == 0 {
            let number = rest.try_into().map_err(|_| damaged("a number of commits is cut short"))?;
            let commits = u64::from_le_bytes(number);
            return Ok((range, (commits != UNKNOWN).then_some(commits)));
        }
        let (raw, rest) =
            rest.split_at_checked(usize::from(*len)).ok_or_else(|| damaged("a range of commits is cut short"))?;
        range.push(CommitId::from_bytes(raw).map_err(|e| damaged(e.to_string()))?);
        bytes = rest;
    }
    let commits = range.len() as u64;
    Ok((range, Some(commits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_is_cut_short_is_damage() {
        assert!(from_bytes(&[20, 1, 2]).is_err());
        assert!(from_bytes(&[0, 1, 2]).is_err());
    }

    #[test]
    fn a_number_of_commits_is_stored_only_if_the_range_does_not_tell_it() {
        let range = vec![CommitId::from_bytes(&[7; 20]).unwrap()];
        for (commits, bytes) in [(Some(1), 21), (Some(3000), 30), (None, 30)] {
            let blob = to_bytes(&range, commits);
            assert_eq!((blob.len(), from_bytes(&blob).unwrap()), (bytes, (range.clone(), commits)));
        }
        assert_eq!(to_bytes(&[], Some(0)), [0; 0]);
    }
}
