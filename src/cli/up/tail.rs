//! The last line that a running job has written, shown behind its spinner.

use indicatif::ProgressBar;

use crate::cli::CliError;
use crate::cli::excerpt::last_lines;
use crate::cli::session::Session;
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
