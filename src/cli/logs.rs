//! `surveil logs`: prints the bytes that a task wrote, live or long after, exactly as it wrote them.

use std::time::Duration;

use clap::Args;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::build_name::{BuildFlags, NamedBuild};
use super::flags::DispatchFlags;
use super::reconnect::note;
use super::session::Session;
use super::table::one_line;
use super::{CliError, ExitCode, Output, human};
use crate::protocol::operator::{FromOperator, LogQuestion, ToOperator, WhyReport};
use crate::threads::{self, Thread};

const EXAMPLES: &str = "\
The bytes are printed as the task wrote them, and never interpreted. stdout and stderr are mixed in the order of \
writing.

Examples:
  surveil logs latest
  surveil logs -f b12 test
  surveil logs b12/test --attempt 1 | less -R
  surveil logs b12 test --offset 1000000 > rest.log";

/// Print the output of a task, even while it is running
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogsFlags {
    #[command(flatten)]
    named: BuildFlags,
    /// Continue until the attempt has ended
    #[arg(short, long)]
    follow: bool,
    /// Number of an earlier attempt [default: the newest]
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Skip this many bytes at the beginning
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    offset: u64,
    #[command(flatten)]
    operator: DispatchFlags,
}

/// The question for the log of one attempt.
pub(crate) fn of_attempt(build: u64, task: &str, number: u32, offset: u64, follow: bool) -> LogQuestion {
    LogQuestion { build: build.to_string(), task: Some(task.to_owned()), number: Some(number), offset, follow }
}

/// Copies the log to standard output.
pub(crate) fn run(flags: LogsFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    flags.named.check()?;
    let mut session = flags.operator.connect_or_read()?;
    let NamedBuild { build, task } = flags.named.resolve(&mut session)?;
    let mut wanted = LogQuestion { build, task, number: flags.attempt, offset: flags.offset, follow: flags.follow };
    if wanted.follow {
        let mut waits = Some(Waits::tell(&flags.operator, &wanted)?);
        // The log continues where it stopped, so a follower does not notice a restart of the dispatcher.
        flags.operator.persist(session, |session| pass_on(session, &mut wanted, &mut waits, out))?;
    } else {
        pass_on(&mut session, &mut wanted, &mut None, out)?;
    }
    Ok(ExitCode::Ok)
}

/// Requests the log and copies it to its end. Updates `wanted` to the part that is still missing.
fn pass_on(
    session: &mut Session,
    wanted: &mut LogQuestion,
    waits: &mut Option<Waits>,
    out: &mut Output,
) -> Result<(), CliError> {
    let mut message = session.ask(&FromOperator::Logs(wanted.clone()))?;
    // The wait is over.
    *waits = None;
    // A quiet task may write nothing for longer than the dispatcher's timeout.
    let _alive = session.keep_alive()?;
    let mut payload = Vec::new();
    while let ToOperator::Log { build, task, number, offset, bytes } = message {
        session.payload(bytes, &mut payload)?;
        out.bytes(&payload)?;
        // From now on exactly this attempt is requested, even if another one begins meanwhile.
        *wanted = of_attempt(build, &task, number, offset.saturating_add(bytes), wanted.follow);
        message = session.next()?;
    }
    let ToOperator::LogEnd { outcome, missing, .. } = message else { return Err(CliError::Unexpected("`logs`")) };
    if let Some(text) = last_words(outcome.as_deref(), missing.as_deref()) {
        note(&text);
    }
    Ok(())
}

/// Says on stderr what a follower waits for, until it is dropped.
struct Waits {
    // Fields are dropped in this order: the closed channel ends the thread, which is joined.
    _stop: Sender<()>,
    _thread: Thread<()>,
}

/// Pause before it is said what is waited for, and between two looks at that.
const WAIT_LOOK: Duration = Duration::from_millis(500);

impl Waits {
    fn tell(operator: &DispatchFlags, wanted: &LogQuestion) -> Result<Self, CliError> {
        let (stop, stopped) = bounded::<()>(0);
        let (operator, build, task) = (operator.clone(), wanted.build.clone(), wanted.task.clone());
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

/// Returns the wait of the first job of a report: its kind, which is told once, and its text.
fn waited_for(report: &WhyReport) -> Option<(String, String)> {
    let line = report.now.first().filter(|line| line.code.as_deref() != Some("executing"))?;
    // The numbers in a text change all the time.
    let kind = line.text.chars().filter(|c| !c.is_ascii_digit()).collect();
    let task = line.task.as_deref().map(|task| format!("/{task}")).unwrap_or_default();
    Some((kind, format!("b{}{task}: {}", report.build, one_line(&line.text))))
}

/// Returns a note on the end of a log that the log itself does not contain.
fn last_words(outcome: Option<&str>, missing: Option<&str>) -> Option<String> {
    match (outcome, missing) {
        // The last output of a lost attempt may or may not have arrived.
        (Some("lost"), Some(why)) => Some(format!("the attempt was lost, and output may be missing: {why}")),
        // A dispatcher of before gave this as a reason for missing output.
        (Some("cancelled"), None | Some("cancelled")) => Some("cancelled".to_owned()),
        (Some(outcome), Some(why)) => Some(format!("{}, and output is missing: {why}", human::words(outcome))),
        (None, Some(why)) => Some(format!("output is missing: {why}")),
        (Some(outcome @ ("timed_out" | "killed" | "could_not_start")), None) => Some(human::words(outcome)),
        (_, None) => None,
    }
}

/// Returns the log from the offset of the question on.
pub(crate) fn rest(session: &mut Session, question: LogQuestion) -> Result<Vec<u8>, CliError> {
    let (mut text, mut payload) = (Vec::new(), Vec::new());
    let mut message = session.ask(&FromOperator::Logs(question))?;
    while let ToOperator::Log { bytes, .. } = message {
        session.payload(bytes, &mut payload)?;
        text.extend_from_slice(&payload);
        message = session.next()?;
    }
    if let ToOperator::LogEnd { .. } = message { Ok(text) } else { Err(CliError::Unexpected("`logs`")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::operator::WhyLine;

    #[test]
    fn a_wait_is_told_once_however_long_it_lasts() {
        let report = |code: &str, text: &str| WhyReport {
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

    #[test]
    fn output_is_called_missing_only_if_it_is() {
        let words = |outcome, missing| last_words(outcome, missing).unwrap_or_default();
        assert_eq!(words(Some("passed"), None), "");
        assert_eq!(words(Some("failed"), None), "");
        assert_eq!(words(Some("cancelled"), None), "cancelled");
        assert_eq!(words(Some("cancelled"), Some("cancelled")), "cancelled", "as a dispatcher of before says");
        assert_eq!(words(Some("timed_out"), None), "timed out");
        assert_eq!(words(Some("passed"), Some("too long")), "passed, and output is missing: too long");
        let lost = words(Some("lost"), Some("its lease ran out"));
        assert_eq!(lost, "the attempt was lost, and output may be missing: its lease ran out");
    }
}
