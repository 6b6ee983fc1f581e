//! `surveil logs`: prints the bytes that a task wrote, live or long after, exactly as it wrote them; or the logs of all
//! tasks of a build, each line with the name of its task.

mod end_note;
mod lines;
mod section;
mod service;
mod waits;
mod whole_build;

use clap::Args;

use super::build_name::{BuildFlags, NamedBuild};
use super::operator_flags::OperatorFlags;
use super::reconnect::note;
use super::session::Session;
use super::show::build_named;
use super::{CliError, ExitCode, Output, fold};
use crate::protocol::hello::{ErrorCode, Refusal};
use crate::protocol::operator::{BuildReport, FromOperator, LogQuestion, ToOperator};
use end_note::end_note;
use lines::{Content, Lines, Prefixes};
use section::Section;
use waits::Waits;
use whole_build::BuildLogs;

const EXAMPLES: &str = "\
The bytes are printed as the task wrote them, and never interpreted. stdout and stderr are mixed in the order of \
writing.

Without TASK, the logs of all tasks are printed: one after the other, or with -f as they are written, until the build \
is finished. Each line then begins with the name of its task (`test.2` for the second attempt), unless the build has \
only one task. With the name of a matrix, the logs of its cells are printed in the same way.

With --timestamps each line begins with the time at which the runner read its first byte, within about 0.1 s.

Examples:
  surveil logs latest
  surveil logs -f b12
  surveil logs -f b12 test
  surveil logs b12 test@stable,all
  surveil logs b12/test --attempt 1 | less -R
  surveil logs b12 test --step build
  surveil logs b12 test --service db
  surveil logs b12 test --offset 1000000 > rest.log";

/// Most cells of a matrix that an error names.
const NAMED_CELLS: usize = 6;

/// Print the output of a task, or of all tasks of a build, even while they are running
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogsFlags {
    #[command(flatten)]
    named: BuildFlags,
    /// Continue until the attempt has ended; without TASK, until the build is finished
    #[arg(short, long)]
    follow: bool,
    /// Number of the attempt, as `show` tells it [default: the newest]
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Print only what this step printed, by its name or number; its attempt must have ended
    #[arg(long, value_name = "STEP", conflicts_with_all = ["offset", "follow"])]
    step: Option<String>,
    /// Print what this service of the task printed, and not the task
    #[arg(long, value_name = "NAME", conflicts_with = "step")]
    service: Option<String>,
    /// Skip this many bytes at the beginning
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    offset: u64,
    /// Print when each line was begun, before the line
    #[arg(short, long)]
    timestamps: bool,
    #[command(flatten)]
    operator: OperatorFlags,
}

impl LogsFlags {
    /// Whether the flags say something about one log.
    fn is_for_one_log(&self) -> bool {
        self.attempt.is_some() || self.step.is_some() || self.service.is_some() || self.offset > 0
    }
}

/// The part of an attempt's log that is printed.
struct TaskLog<'a> {
    /// The part that is still missing.
    wanted: LogQuestion,
    /// The byte before which it ends: the log of a step is a section of that of its attempt.
    until: u64,
    waits: Option<Waits>,
    /// The lines, if each gets its time; else the bytes are printed as they come.
    lines: Option<(Prefixes, Lines)>,
    out: &'a mut Output,
}

/// Copies the log to standard output.
pub(crate) fn run(flags: LogsFlags, out: &mut Output) -> Result<ExitCode, CliError> {
    flags.named.check()?;
    let mut session = flags.operator.connect_or_read()?;
    let NamedBuild { build, mut task } = flags.named.resolve(&mut session)?;
    if let Some(name) = task.as_deref().filter(|name| !name.contains('@')) {
        let report = build_named(&mut session, &build)?;
        let cells: Vec<&str> = cells_of(&report, name).collect();
        match cells.as_slice() {
            [] => {}
            [only] => task = Some((*only).to_owned()),
            cells if flags.is_for_one_log() => {
                return Err(several_cells(report.build, name, cells));
            }
            _ => {
                let matrix = Some(name.to_owned());
                return whole_build(&flags, session, (report, matrix), out);
            }
        }
    }
    if let Some(step) = &flags.step {
        let report = build_named(&mut session, &build)?;
        let section = section::of_step(&report, task.as_deref(), flags.attempt, step)?;
        return print_section(&section, session, flags.timestamps, out);
    }
    if let Some(service) = &flags.service {
        let report = build_named(&mut session, &build)?;
        task = Some(service::task_with(&report, task.as_deref(), service)?);
    }
    if task.is_none() && flags.attempt.is_none() && flags.offset == 0 {
        let report = build_named(&mut session, &build)?;
        // A build without tasks has a problem, which the answer for a single task names.
        if report.jobs.len() > 1 || (flags.follow && !report.jobs.is_empty()) {
            return whole_build(&flags, session, (report, None), out);
        }
    }
    let LogsFlags { attempt: number, offset, follow, timestamps: times, service, .. } = flags;
    let content = Content { names: false, times };
    let lines = times.then(|| (Prefixes::new(std::iter::empty(), false, content), Lines::new("", 0, 1)));
    let wanted = LogQuestion { build, task, number, offset, follow, times, service };
    let mut log = TaskLog { wanted, until: u64::MAX, waits: None, lines, out };
    if follow {
        log.waits = Some(Waits::tell(&flags.operator, &log.wanted.build, log.wanted.task.as_deref())?);
        // The log continues where it stopped, so a follower does not notice a restart of the dispatcher.
        flags.operator.persist(session, |session| log.pass_on(session))?;
    } else {
        log.pass_on(&mut session)?;
    }
    Ok(ExitCode::Ok)
}

/// Prints the section of one step.
fn print_section(section: &Section, mut session: Session, times: bool, out: &mut Output) -> Result<ExitCode, CliError> {
    let Section { build, task, number, bytes } = section;
    let wanted = LogQuestion { times, ..LogQuestion::of_attempt(*build, task, *number, bytes.start, false) };
    if bytes.is_empty() {
        return Ok(ExitCode::Ok);
    }
    let content = Content { names: false, times };
    let lines = times.then(|| (Prefixes::new(std::iter::empty(), false, content), Lines::new("", 0, 1)));
    let mut log = TaskLog { wanted, until: bytes.end, waits: None, lines, out };
    log.pass_on(&mut session)?;
    Ok(ExitCode::Ok)
}

/// Returns the cells of a matrix of that name.
fn cells_of<'r>(report: &'r BuildReport, name: &str) -> impl Iterator<Item = &'r str> {
    let tasks = report.jobs.iter().map(|job| job.task.as_str());
    tasks.filter(move |task| *task != name && fold::is_meant(name, task))
}

/// Refuses a matrix where one cell is needed.
fn several_cells(build: u64, name: &str, cells: &[&str]) -> CliError {
    let named = cells[..cells.len().min(NAMED_CELLS)].join(", ");
    let more = match cells.len().saturating_sub(NAMED_CELLS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let text = format!(
        "{name} of build b{build} is a matrix, and --attempt, --step, --service and --offset are for one log: name one of {named}{more}"
    );
    CliError::Refused(Refusal::new(ErrorCode::NotFound, text))
}

/// Prints the logs of all tasks of a build, or of the cells of a matrix.
fn whole_build(
    flags: &LogsFlags,
    mut session: Session,
    (report, matrix): (BuildReport, Option<String>),
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let is_growing = report.finished_ms.is_none() && session.is_live();
    let mut logs = BuildLogs::new(report, matrix, flags.timestamps, out);
    if flags.follow && is_growing {
        flags.operator.persist(session, |session| logs.follow(&flags.operator, session))?;
    } else {
        logs.print(&mut session)?;
    }
    Ok(ExitCode::Ok)
}

impl TaskLog<'_> {
    /// Requests the log and copies it to its end.
    fn pass_on(&mut self, session: &mut Session) -> Result<(), CliError> {
        let mut message = session.ask(&FromOperator::Logs(self.wanted.clone()))?;
        // The wait is over.
        self.waits = None;
        // A quiet task may write nothing for longer than the dispatcher's timeout.
        let _alive = session.keep_alive()?;
        let mut payload = Vec::new();
        while let ToOperator::Log { build, task, number, offset, bytes, at_ms } = message {
            session.payload(bytes, &mut payload)?;
            payload.truncate(usize::try_from(self.until.saturating_sub(offset)).unwrap_or(usize::MAX));
            match &mut self.lines {
                Some((prefixes, lines)) => {
                    let mut text = Vec::new();
                    lines.push((&payload, at_ms), prefixes, &mut text);
                    self.out.bytes(&text)?;
                }
                None => self.out.bytes(&payload)?,
            }
            // From now on exactly this attempt is requested, even if another one begins meanwhile.
            let LogQuestion { follow, times, .. } = self.wanted;
            let service = self.wanted.service.take();
            let rest = LogQuestion::of_attempt(build, &task, number, offset.saturating_add(bytes), follow);
            self.wanted = LogQuestion { times, service, ..rest };
            if offset.saturating_add(bytes) >= self.until {
                return self.end_lines();
            }
            message = session.next()?;
        }
        let ToOperator::LogEnd { outcome, missing, .. } = message else { return Err(CliError::Unexpected("`logs`")) };
        self.end_lines()?;
        if let Some(text) = end_note(outcome.as_deref(), missing.as_deref()) {
            note(&text);
        }
        Ok(())
    }

    /// Prints what is held back of the last line.
    fn end_lines(&mut self) -> Result<(), CliError> {
        let Some((prefixes, lines)) = &mut self.lines else { return Ok(()) };
        let mut text = Vec::new();
        lines.end(prefixes, &mut text);
        self.out.bytes(&text)?;
        if let Some(text) = prefixes.note_of_missing_times() {
            note(text);
        }
        Ok(())
    }
}
