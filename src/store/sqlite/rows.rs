//! Model values as columns, and back. Numbers that the schema explains stand for the variants of enums; a number that
//! stands for none means damage, never a default. Called by the writer and by the queries; does no I/O.

use rusqlite::types::Type;

use crate::model::{CommitId, Ending, JobState, Outcome, RepoName, Verdict};

/// The number of the state of a job that is leased.
pub(super) const LEASED: i64 = 2;
/// States from here on are endings.
pub(super) const FIRST_ENDING: i64 = 3;

/// A value that no version of this program wrote.
pub(super) fn damaged(what: impl Into<String>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Null, what.into().into())
}

/// A number as SQLite keeps it, bit by bit: it knows no unsigned ones.
pub(super) fn signed(number: u64) -> i64 {
    number.cast_signed()
}

pub(super) fn verdict_number(verdict: Verdict) -> i64 {
    match verdict {
        Verdict::Passed => 0,
        Verdict::Failed => 1,
        Verdict::Errored => 2,
        Verdict::Cancelled => 3,
    }
}

pub(super) fn verdict(number: i64) -> rusqlite::Result<Verdict> {
    Ok(match number {
        0 => Verdict::Passed,
        1 => Verdict::Failed,
        2 => Verdict::Errored,
        3 => Verdict::Cancelled,
        other => return Err(damaged(format!("there is no verdict {other}"))),
    })
}

/// The columns `state`, `attempt` and `detail` of a job; the attempt is 0 where the state names none.
pub(super) fn state_columns(state: &JobState) -> (i64, i64, Option<&str>) {
    match state {
        JobState::Waiting => (0, 0, None),
        JobState::Queued => (1, 0, None),
        JobState::Leased(attempt) => (LEASED, signed(attempt.0), None),
        JobState::Finished(ending) => (ending_number(ending), 0, ending.detail()),
    }
}

pub(super) fn ending_number(ending: &Ending) -> i64 {
    match ending {
        Ending::Passed => FIRST_ENDING,
        Ending::Failed => 4,
        Ending::Errored(_) => 5,
        Ending::Cancelled => 6,
        Ending::Skipped(_) => 7,
    }
}

pub(super) fn job_state(number: i64, attempt: i64, detail: Option<&str>) -> rusqlite::Result<JobState> {
    let why =
        |detail: Option<&str>| detail.map(str::to_owned).ok_or_else(|| damaged("a job's ending lacks its reason"));
    Ok(match number {
        0 => JobState::Waiting,
        1 => JobState::Queued,
        LEASED => JobState::Leased(crate::model::AttemptId(attempt.cast_unsigned())),
        FIRST_ENDING => JobState::Finished(Ending::Passed),
        4 => JobState::Finished(Ending::Failed),
        5 => JobState::Finished(Ending::Errored(why(detail)?)),
        6 => JobState::Finished(Ending::Cancelled),
        7 => JobState::Finished(Ending::Skipped(why(detail)?)),
        other => return Err(damaged(format!("there is no state {other} of a job"))),
    })
}

/// The columns `outcome`, `code` and `detail`.
pub(super) fn outcome_columns(outcome: &Outcome) -> (i64, Option<i32>, Option<&str>) {
    match outcome {
        Outcome::Passed => (0, None, None),
        Outcome::Failed(code) => (1, Some(*code), None),
        Outcome::Killed(signal) => (2, Some(*signal), None),
        Outcome::TimedOut => (3, None, None),
        Outcome::Cancelled => (4, None, None),
        Outcome::CouldNotStart(why) => (5, None, Some(why)),
        Outcome::Lost(why) => (6, None, Some(why)),
    }
}

pub(super) fn outcome(number: i64, code: Option<i32>, detail: Option<String>) -> rusqlite::Result<Outcome> {
    let code = code.ok_or_else(|| damaged("an outcome lacks its code"));
    let why = detail.ok_or_else(|| damaged("an outcome lacks its reason"));
    Ok(match number {
        0 => Outcome::Passed,
        1 => Outcome::Failed(code?),
        2 => Outcome::Killed(code?),
        3 => Outcome::TimedOut,
        4 => Outcome::Cancelled,
        5 => Outcome::CouldNotStart(why?),
        6 => Outcome::Lost(why?),
        other => return Err(damaged(format!("there is no outcome {other}"))),
    })
}

pub(super) fn commit_id(raw: &[u8]) -> rusqlite::Result<CommitId> {
    CommitId::from_bytes(raw).map_err(|e| damaged(e.to_string()))
}

/// `before` as its column keeps it: empty for none.
pub(super) fn before_bytes(before: Option<&CommitId>) -> &[u8] {
    before.map_or(&[], CommitId::as_bytes)
}

pub(super) fn before(raw: &[u8]) -> rusqlite::Result<Option<CommitId>> {
    if raw.is_empty() { Ok(None) } else { commit_id(raw).map(Some) }
}

pub(super) fn repo_name(text: &str) -> rusqlite::Result<RepoName> {
    RepoName::new(text).map_err(|e| damaged(e.to_string()))
}

/// A range of commits as one blob: for each its length in one byte, then its bytes.
pub(super) fn range_bytes(range: &[CommitId]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(range.len() * 21);
    for commit in range {
        let raw = commit.as_bytes();
        bytes.push(u8::try_from(raw.len()).expect("a commit id has 20 or 32 bytes"));
        bytes.extend_from_slice(raw);
    }
    bytes
}

pub(super) fn range(mut bytes: &[u8]) -> rusqlite::Result<Vec<CommitId>> {
    let mut range = Vec::with_capacity(bytes.len() / 21);
    while let Some((len, rest)) = bytes.split_first() {
        let (raw, rest) =
            rest.split_at_checked(usize::from(*len)).ok_or_else(|| damaged("a range of commits is cut short"))?;
        range.push(commit_id(raw)?);
        bytes = rest;
    }
    Ok(range)
}

/// The bounds, lower inclusive and upper exclusive, between which the ids lie that begin with these hexadecimal
/// digits; `None` for a text that is no such beginning, or too short to mean one commit.
pub(super) fn prefix_bounds(digits: &str) -> Option<(Vec<u8>, Vec<u8>)> {
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
        assert_eq!(prefix_bounds("abff"), Some((vec![0xab, 0xff], vec![0xac])));
        assert_eq!(prefix_bounds("ffff"), Some((vec![0xff, 0xff], vec![0xff; 33])));
        for text in ["", "abc", "abcg", "äöüß", &"a".repeat(65)] {
            assert_eq!(prefix_bounds(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_that_stands_for_nothing_is_damage() {
        assert!(verdict(4).is_err());
        assert!(job_state(8, 0, None).is_err());
        assert!(job_state(5, 0, None).is_err());
        assert!(outcome(7, None, None).is_err());
        assert!(outcome(1, None, None).is_err());
        assert!(range(&[20, 1, 2]).is_err());
    }
}
