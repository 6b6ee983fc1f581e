//! Parts of reports that several commands print.

use super::error::CliError;
use super::human;
use super::output::Output;

/// Prints a report in the protocol's JSON form, on one line, which `encode` writes.
pub(crate) fn json(encode: impl FnOnce(&mut Vec<u8>), out: &mut Output) -> Result<(), CliError> {
    let mut line = Vec::new();
    encode(&mut line);
    out.bytes(&line)
}

/// Abbreviates a commit to 7 characters.
pub(crate) fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

/// Formats the time between two moments.
pub(crate) fn took(start_ms: i64, end_ms: i64) -> String {
    human::duration(u64::try_from(end_ms.saturating_sub(start_ms)).unwrap_or(0))
}
