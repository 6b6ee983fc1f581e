//! The last line that a running job has written, shown behind its spinner; and the last lines of a failed job.

use indicatif::ProgressBar;

use crate::cli::CliError;
use crate::cli::session::Session;
use crate::cli::table::one_line;
use crate::protocol::operator::{FromOperator, LogQuestion, ToOperator};
use crate::threads::{self, Thread};
use crate::transport::Stream;

/// How much of the newest output is searched for a line to show: more than a terminal is wide.
const LOOK_AT_BYTES: usize = 2048;

/// Follows one job's log. Dropping it ends that.
pub(crate) struct Tail {
    stream: Stream,
    _thread: Thread<()>,
}

impl Tail {
    /// Shows the last line of the log that the question asks for on `bar`, as the log grows.
    pub(crate) fn start(mut session: Session, question: LogQuestion, bar: ProgressBar) -> Result<Self, CliError> {
        session.send(&FromOperator::Logs(question))?;
        let stream = session.stream();
        let alive = session.keep_alive()?;
        let thread = threads::spawn_large("tail", move || {
            let _alive = alive;
            // The log's end or the drop of this tail ends the following. After an error the spinner only shows less.
            drop(follow(&mut session, &bar));
        })
        .map_err(CliError::machine("start a thread"))?;
        Ok(Self { stream, _thread: thread })
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.stream.close();
    }
}

fn follow(session: &mut Session, bar: &ProgressBar) -> Result<(), CliError> {
    let mut payload = Vec::new();
    while let ToOperator::Log { bytes, .. } = session.next()? {
        session.payload(bytes, &mut payload)?;
        let newest = payload.len().saturating_sub(LOOK_AT_BYTES);
        if let Some(line) = last_lines(&payload[newest..], 1).pop() {
            bar.set_message(line);
        }
    }
    Ok(())
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
