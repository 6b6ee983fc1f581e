//! The last lines of a job's log, safe to show. `show` ends with them, and `up` and `watch` print them when a job
//! fails.

use super::CliError;
use super::session::Session;
use super::table::one_line;
use crate::protocol::operator::{BuildReport, FromOperator, JobReport, LogQuestion, ToOperator};

/// Bytes that are fetched of a log to find its last lines.
const TAIL_BYTES: u64 = 16 * 1024;

/// Returns the last lines that a job's newest attempt wrote; none if it wrote nothing.
pub(crate) fn of_job(
    session: &mut Session,
    build: &BuildReport,
    job: &JobReport,
    count: usize,
) -> Result<Vec<String>, CliError> {
    let Some(last) = job.attempts.last().filter(|last| last.log_bytes > 0) else { return Ok(Vec::new()) };
    let start = last.log_bytes.saturating_sub(TAIL_BYTES);
    let question = LogQuestion::of_attempt(build.build, &job.task, last.number, start, false);
    Ok(last_lines(&rest(session, question)?, count))
}

/// Returns the log from the offset of the question on.
fn rest(session: &mut Session, question: LogQuestion) -> Result<Vec<u8>, CliError> {
    let (mut text, mut payload) = (Vec::new(), Vec::new());
    let mut message = session.ask(&FromOperator::Logs(question))?;
    while let ToOperator::Log { bytes, .. } = message {
        session.payload(bytes, &mut payload)?;
        text.extend_from_slice(&payload);
        message = session.next()?;
    }
    if let ToOperator::LogEnd { .. } = message { Ok(text) } else { Err(CliError::Unexpected("`logs`")) }
}

/// The last lines of a log, without escape sequences and control characters, so that they are safe to show.
pub(crate) fn last_lines(log: &[u8], count: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(log).into_owned();
    let text = anstream::adapter::strip_str(&text).to_string();
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let first = lines.len().saturating_sub(count);
    // A progress bar overwrites its own line, so only its last state is shown.
    let seen = |line: &str| one_line(line.trim_end_matches('\r').rsplit('\r').next().unwrap_or(line));
    lines[first..].iter().map(|line| seen(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_shown_safely() {
        let log = b"one\r\n\x1b[31mtwo\x1b[0m\n10%\r50%\r100%\na\x07\xffb\n\n";
        assert_eq!(last_lines(log, 20), ["one", "two", "100%", "a\u{fffd}b"]);
        assert_eq!(last_lines(log, 2), ["100%", "a\u{fffd}b"]);
        assert_eq!(last_lines(b"", 20), [""; 0]);
    }
}
