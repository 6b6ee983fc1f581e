//! The logs of all tasks of a build, or of all cells of a matrix. A follower has a thread with a session of its own for
//! each attempt that is executing, and one for the build's changes. One thread prints.

use std::collections::BTreeMap;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::end_note::end_note;
use super::lines::{Content, Lines, Prefixes};
use super::waits::Waits;
use crate::cli::operator_flags::OperatorFlags;
use crate::cli::reconnect::note;
use crate::cli::session::Session;
use crate::cli::show::{build_named, same_build};
use crate::cli::{CliError, Output, fold};
use crate::model::JobStateKind;
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::operator::{BuildReport, FromOperator, JobReport, LogQuestion, ToOperator};
use crate::threads::{self, Thread};
use crate::transport::Stream;

/// Most logs that are followed at a time. The others are read when one of them has ended.
const MAX_FOLLOWED: usize = 64;
/// Messages that wait for the thread that prints. A follower that prints slowly slows down its sessions.
const NEWS_CAPACITY: usize = 16;

/// An attempt of a build: the place of its job, and its number.
type Key = (usize, u32);

/// The logs of a build, as far as they are printed. Outlives the sessions.
pub(super) struct BuildLogs<'a> {
    /// The build as it was told of last; of its jobs, those whose logs are printed.
    known: BuildReport,
    /// The matrix whose cells these are; `None` for all tasks.
    matrix: Option<String>,
    out: &'a mut Output,
    /// `None` if the build has one task, whose bytes are printed as they are.
    prefixes: Option<Prefixes>,
    /// The number of the first attempt of each job whose log is printed.
    first: Vec<u32>,
    logs: BTreeMap<Key, Printed>,
}

/// One log, as far as it is printed.
struct Printed {
    offset: u64,
    lines: Lines,
    is_over: bool,
}

impl<'a> BuildLogs<'a> {
    /// Begins with the newest attempt of each job, or with the next one of a job that is to run again.
    pub(super) fn new(build: BuildReport, matrix: Option<String>, times: bool, out: &'a mut Output) -> Self {
        let build = only_of(build, matrix.as_deref());
        let first: Vec<u32> = build.jobs.iter().map(|job| first_of(&build, job)).collect();
        let attempts = build.jobs.iter().zip(&first).map(|(job, number)| (&*job.task, *number));
        let content = Content { names: build.jobs.len() > 1, times };
        let prefixes = (content != Content::default()).then(|| Prefixes::new(attempts, out.is_coloured(), content));
        Self { known: build, matrix, out, prefixes, first, logs: BTreeMap::new() }
    }

    /// Prints the logs as they are now, one after the other, in the order in which the attempts began.
    pub(super) fn print(&mut self, session: &mut Session) -> Result<(), CliError> {
        self.check_attempted()?;
        let begun = |job: &JobReport| job.attempts.last().map(|newest| (newest.leased_ms, newest.number));
        let jobs = self.known.jobs.iter().enumerate();
        let mut keys: Vec<(i64, Key)> =
            jobs.filter_map(|(at, job)| begun(job).map(|(leased_ms, number)| (leased_ms, (at, number)))).collect();
        keys.sort_unstable();
        for (_, key) in keys {
            let question = self.question(key, false);
            read(session, question, |news| self.take(key, news).map(|_| true))?;
        }
        Ok(())
    }

    /// Prints what comes until the build is finished or the session ends.
    pub(super) fn follow(&mut self, operator: &OperatorFlags, session: &mut Session) -> Result<(), CliError> {
        let watching = operator.connect()?.watch()?;
        // The watch does not report earlier changes, so the build is asked for again after it has begun.
        let report = build_named(session, &self.known.build.to_string())?;
        same_build(&self.known, &report)?;
        self.known = only_of(report, self.matrix.as_deref());
        let mut sessions = Sessions::new(watching, self.known.build)?;
        let mut waits = None;
        loop {
            let is_over = self.is_over();
            let mut is_waiting = !is_over;
            for (at, job) in self.known.jobs.iter().enumerate() {
                let Some(key) = self.next_of(at, job) else { continue };
                is_waiting = false;
                if !sessions.followed.contains_key(&key) && sessions.followed.len() < MAX_FOLLOWED {
                    sessions.follow(operator, key, self.question(key, true))?;
                }
            }
            if is_over && sessions.followed.is_empty() {
                return self.check_attempted();
            }
            match (is_waiting, &waits) {
                (true, None) => {
                    let build = self.known.build.to_string();
                    waits = Some(Waits::tell(operator, &build, self.matrix.as_deref())?);
                }
                (true, Some(_)) => {}
                (false, _) => waits = None,
            }
            self.print_until_change(&mut sessions)?;
        }
    }

    /// Whether no further attempt can come: the build is finished, or all cells of the matrix are.
    fn is_over(&self) -> bool {
        let is_finished =
            |job: &JobReport| matches!(JobStateKind::of_word(&job.state), Some(JobStateKind::Finished(_)));
        self.known.finished_ms.is_some() || (self.matrix.is_some() && self.known.jobs.iter().all(is_finished))
    }

    /// Prints what comes until the build has changed or a log has ended.
    fn print_until_change(&mut self, sessions: &mut Sessions) -> Result<(), CliError> {
        loop {
            match sessions.next()? {
                News::Build(report) => {
                    self.known = only_of(*report, self.matrix.as_deref());
                    return Ok(());
                }
                News::Log(key, news) => {
                    if self.take(key, news)? {
                        sessions.followed.remove(&key);
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Returns the oldest attempt of a job whose log is not over, if there is one.
    fn next_of(&self, at: usize, job: &JobReport) -> Option<Key> {
        let first = self.first.get(at).copied().unwrap_or(1);
        let is_over = |key: &Key| self.logs.get(key).is_some_and(|log| log.is_over);
        let numbers = job.attempts.iter().map(|attempt| attempt.number).filter(|number| *number >= first);
        numbers.map(|number| (at, number)).find(|key| !is_over(key))
    }

    fn question(&self, key: Key, follow: bool) -> LogQuestion {
        let task = self.known.jobs.get(key.0).map_or("", |job| &job.task);
        let offset = self.logs.get(&key).map_or(0, |log| log.offset);
        let times = self.prefixes.as_ref().is_some_and(|prefixes| prefixes.content.times);
        LogQuestion { times, ..LogQuestion::of_attempt(self.known.build, task, key.1, offset, follow) }
    }

    /// Prints news of a log. Returns true if it was the log's end.
    fn take(&mut self, key: Key, news: LogNews) -> Result<bool, CliError> {
        let mut text = Vec::new();
        let Self { known, logs, prefixes, out, .. } = self;
        let task = known.jobs.get(key.0).map_or("", |job| &job.task);
        let log = logs.entry(key).or_insert_with(|| Printed::new(task, key));
        let is_over = match news {
            LogNews::Piece { offset, bytes, at_ms } => {
                log.offset = offset.saturating_add(bytes.len() as u64);
                match prefixes {
                    Some(prefixes) => log.lines.push((&bytes, at_ms), prefixes, &mut text),
                    None => text = bytes,
                }
                false
            }
            LogNews::End { outcome, missing } => {
                log.is_over = true;
                if let Some(prefixes) = prefixes {
                    log.lines.end(prefixes, &mut text);
                }
                if let Some(words) = end_note(outcome.as_deref(), missing.as_deref()) {
                    out.bytes(&std::mem::take(&mut text))?;
                    note(&format!("b{}/{task}, attempt {}: {words}", known.build, key.1));
                }
                true
            }
        };
        if let Some(text) = prefixes.as_mut().and_then(Prefixes::note_of_missing_times) {
            note(text);
        }
        if !text.is_empty() {
            out.bytes(&text)?;
        }
        Ok(is_over)
    }

    /// Refuses a build of which there is no log, as for a single task.
    fn check_attempted(&self) -> Result<(), CliError> {
        if self.known.jobs.iter().any(|job| !job.attempts.is_empty()) {
            return Ok(());
        }
        let build = self.known.build;
        let text = match &self.matrix {
            None => format!("no task of build b{build} has been attempted: see `surveil why b{build}`"),
            Some(name) => {
                format!("no cell of {name} of build b{build} has been attempted: see `surveil why b{build} {name}`")
            }
        };
        Err(CliError::Refused(Refusal::new(ErrorCode::NotFound, text)))
    }
}

/// Returns a build with the cells of a matrix, or all of it.
fn only_of(mut build: BuildReport, matrix: Option<&str>) -> BuildReport {
    if let Some(name) = matrix {
        build.jobs.retain(|job| fold::is_meant(name, &job.task));
    }
    build
}

impl Printed {
    fn new(task: &str, (place, number): Key) -> Self {
        Self { offset: 0, lines: Lines::new(task, place, number), is_over: false }
    }
}

/// The number of the first attempt to follow.
fn first_of(build: &BuildReport, job: &JobReport) -> u32 {
    let Some(newest) = job.attempts.last() else { return 1 };
    let is_before_rerun = build.rerun_ms.is_some_and(|rerun_ms| newest.leased_ms < rerun_ms);
    let waits = matches!(JobStateKind::of_word(&job.state), Some(JobStateKind::Waiting | JobStateKind::Queued));
    newest.number + u32::from(is_before_rerun && waits)
}

/// News of one log.
enum LogNews {
    Piece { offset: u64, bytes: Vec<u8>, at_ms: Option<i64> },
    End { outcome: Option<String>, missing: Option<String> },
}

/// News of a build.
enum News {
    Build(Box<BuildReport>),
    Log(Key, LogNews),
}

/// The sessions of a follower, each with a thread that reads it.
struct Sessions {
    // Dropped first: a thread that waits for room in the channel ends then, and can be joined.
    news: Receiver<Result<News, CliError>>,
    sender: Sender<Result<News, CliError>>,
    followed: BTreeMap<Key, Following>,
    _watch: Following,
}

/// A session that a thread reads. Dropping it ends both.
struct Following {
    stream: Stream,
    _thread: Thread<()>,
}

impl Sessions {
    fn new(mut watching: Session, build: u64) -> Result<Self, CliError> {
        let (sender, news) = bounded(NEWS_CAPACITY);
        let (alive, told) = (watching.keep_alive()?, sender.clone());
        let watch = Following::start(watching.stream(), move || {
            let _alive = alive;
            loop {
                let news = match watching.next() {
                    Ok(ToOperator::Build(report)) if report.build != build => continue,
                    Ok(ToOperator::Build(report)) => Ok(News::Build(report)),
                    Ok(_) => Err(CliError::Unexpected("`watch`")),
                    Err(error) => Err(error),
                };
                let is_last = news.is_err();
                if told.send(news).is_err() || is_last {
                    return;
                }
            }
        })?;
        Ok(Self { news, sender, followed: BTreeMap::new(), _watch: watch })
    }

    /// Opens a session for a log, and reads it.
    fn follow(&mut self, operator: &OperatorFlags, key: Key, question: LogQuestion) -> Result<(), CliError> {
        let mut session = operator.connect()?;
        let told = self.sender.clone();
        let following = Following::start(session.stream(), move || {
            let read = read(&mut session, question, |news| Ok(told.send(Ok(News::Log(key, news))).is_ok()));
            if let Err(error) = read {
                // Without a receiver nobody follows any more.
                drop(told.send(Err(error)));
            }
        })?;
        self.followed.insert(key, following);
        Ok(())
    }

    /// Returns the next news. An error of one session ends all of them.
    fn next(&self) -> Result<News, CliError> {
        // The channel stays open: this struct has a sender.
        self.news.recv().unwrap_or(Err(CliError::Disconnected(None)))
    }
}

impl Following {
    fn start(stream: Stream, body: impl FnOnce() + Send + 'static) -> Result<Self, CliError> {
        let thread = threads::spawn_large("log", body).map_err(CliError::machine("start a thread"))?;
        Ok(Self { stream, _thread: thread })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stream.close();
    }
}

/// Requests a log, and passes it on to its end, or until `each` returns false.
fn read(
    session: &mut Session,
    question: LogQuestion,
    mut each: impl FnMut(LogNews) -> Result<bool, CliError>,
) -> Result<(), CliError> {
    session.send(&FromOperator::Logs(question))?;
    // A quiet task may write nothing for longer than the dispatcher's timeout.
    let _alive = session.keep_alive()?;
    loop {
        let message = session.next()?;
        let news = if let ToOperator::Log { offset, bytes: length, at_ms, .. } = message {
            let mut bytes = Vec::new();
            session.payload(length, &mut bytes)?;
            LogNews::Piece { offset, bytes, at_ms }
        } else if let ToOperator::LogEnd { outcome, missing, .. } = message {
            LogNews::End { outcome, missing }
        } else {
            return Err(CliError::Unexpected("`logs`"));
        };
        let is_end = matches!(news, LogNews::End { .. });
        if !each(news)? || is_end {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::{attempt, build, job};

    #[test]
    fn a_rerun_is_followed_without_what_ran_before() {
        let jobs = ["queued", "running", "passed"].map(|state| job("t", state, vec![attempt(1), attempt(2)]));
        let first = |rerun_ms: Option<i64>| {
            let build = BuildReport { rerun_ms, ..build(12, "running", jobs.to_vec()) };
            build.jobs.iter().map(|job| first_of(&build, job)).collect::<Vec<_>>()
        };
        assert_eq!(first(Some(i64::MAX)), [3, 2, 2], "what passed is not run again");
        assert_eq!(first(Some(0)), [2, 2, 2], "the newest attempt is of the rerun");
        assert_eq!(first(None), [2, 2, 2]);
    }
}
