//! Notes on standard error that say what a follower of logs waits for while nothing comes.

use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::cli::CliError;
use crate::cli::operator_flags::OperatorFlags;
use crate::cli::reconnect::note;
use crate::cli::table::one_line;
use crate::protocol::operator::{FromOperator, ToOperator, WhyLine, WhyReport};
use crate::threads::{self, Thread};

/// Says on stderr what a follower waits for, until it is dropped.
pub(super) struct Waits {
    // Fields are dropped in this order: the closed channel ends the thread, which is joined.
    _stop: Sender<()>,
    _thread: Thread<()>,
}

/// Pause before it is said what is waited for, and between two looks at that.
const WAIT_LOOK: Duration = Duration::from_millis(500);

impl Waits {
    /// Tells what the task waits for, or with no task the build.
    pub(super) fn tell(operator: &OperatorFlags, build: &str, task: Option<&str>) -> Result<Self, CliError> {
        let (stop, stopped) = bounded::<()>(0);
        let (operator, build, task) = (operator.clone(), build.to_owned(), task.map(str::to_owned));
        let thread = threads::spawn("waits", move || {
            let (mut session, mut told) = (None, String::new());
            while stopped.recv_timeout(WAIT_LOOK) == Err(RecvTimeoutError::Timeout) {
                let question = FromOperator::Why { build: build.clone(), task: task.clone() };
                // An error ends the log itself, or passes by; the thread that follows it tells either.
                let asked = match session.take() {
                    Some(session) => Ok(session),
                    None => operator.connect(),
                };
                let Ok(mut open) = asked else { continue };
                if let Ok(ToOperator::Why(report)) = open.ask(&question) {
                    session = Some(open);
                    if let Some((kind, text)) = waited_for(&report)
                        && kind != told
                    {
                        note(&text);
                        told = kind;
                    }
                }
            }
        })
        .map_err(CliError::machine("start a thread"))?;
        Ok(Self { _stop: stop, _thread: thread })
    }
}

/// Returns the wait of the first job of a report, if no job is executing: its kind, which is told once, and its text.
fn waited_for(report: &WhyReport) -> Option<(String, String)> {
    let is_executing = |line: &WhyLine| line.code.as_deref() == Some("executing");
    // While anything of a build is executing, its follower waits for nothing but output.
    let line = report.now.first().filter(|_| !report.now.iter().any(is_executing))?;
    // The numbers in a text change all the time.
    let kind = line.text.chars().filter(|c| !c.is_ascii_digit()).collect();
    let task = line.task.as_deref().map(|task| format!("/{task}")).unwrap_or_default();
    Some((kind, format!("b{}{task}: {}", report.build, one_line(&line.text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_once_however_long_it_lasts() {
        let report = |code: &str, text: &str| WhyReport {
            trust: String::new(),
            build: 12,
            now: vec![WhyLine {
                task: Some("test".into()),
                text: text.into(),
                code: Some(code.into()),
                ..WhyLine::default()
            }],
            history: Vec::new(),
            more: false,
        };
        let queued = waited_for(&report("in_queue", "queued for 3 s: next in the queue")).unwrap();
        assert_eq!(queued.1, "b12/test: queued for 3 s: next in the queue");
        assert_eq!(waited_for(&report("in_queue", "queued for 14 s: next in the queue")).unwrap().0, queued.0);
        assert_ne!(waited_for(&report("paused", "queued for 15 s: it rests")).unwrap().0, queued.0);
        assert_eq!(waited_for(&report("executing", "attempt 1 runs on w1")), None);
    }
}
