//! Parts of reports that several commands print.

use serde::Serialize;

use super::flags::Format;
use super::{CliError, Output, human};
use crate::transport::Frame;

/// Prints a report: for people by `print`, or in the protocol's JSON form, on one line.
pub(crate) fn present<R: Serialize>(
    report: &R,
    format: Format,
    out: &mut Output,
    print: impl FnOnce(&R, &mut Output) -> Result<(), CliError>,
) -> Result<(), CliError> {
    match format {
        Format::Json => out.bytes(&Frame::new(report).line),
        Format::Table => print(report, out),
    }
}

/// Abbreviates a commit to 7 characters.
pub(crate) fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

/// Formats the time between two moments.
pub(crate) fn took(start_ms: i64, end_ms: i64) -> String {
    human::duration(u64::try_from(end_ms.saturating_sub(start_ms)).unwrap_or(0))
}
