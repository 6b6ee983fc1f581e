//! The output of `surveil up` and `surveil watch`. On a terminal: a line with a spinner for each running job, below the
//! lines of past happenings. Elsewhere only those lines.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::progress::Happening;
use super::tail::Tail;
use crate::cli::fold::{self, Cells};
use crate::cli::hints::Hints;
use crate::cli::output::{bold, dim, painted};
use crate::cli::report::{job_word, lasted, short, verdict_note};
use crate::cli::session::Session;
use crate::cli::show::Folding;
use crate::cli::table::{first_line, one_line};
use crate::cli::{CliError, Output, excerpt, human, show};
use crate::clock;
use crate::error_chain::chain;
use crate::model::reason::{LeftOutReason, StoredReason};
use crate::model::{EndingKind, JobStateKind};
use crate::protocol::operator::{AttemptReport, BuildReport, JobReport, LogQuestion};

/// Interval at which spinners move.
const TICK: Duration = Duration::from_millis(120);
/// Number of last lines that are shown: about half a screen.
const TAIL_LINES: usize = 20;

/// Opens a session to read a log with.
pub(crate) type Connect<'a> = &'a dyn Fn() -> Result<Session, CliError>;

/// The output of `surveil up`, with its spinners.
pub(crate) struct Display {
    out: Output,
    bars: MultiProgress,
    is_terminal: bool,
    /// A line for each running job, by the job's number, and the tail that fills it.
    running: HashMap<u64, (ProgressBar, Option<Tail>)>,
    hints: Hints,
}

impl Display {
    /// Shows on standard output, with spinners only if that and stderr are terminals.
    pub(crate) fn new(out: Output) -> Self {
        let is_terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        Self { out, bars, is_terminal, running: HashMap::new(), hints: Hints::default() }
    }

    /// Sets what the shown commands need from now on, so that they work.
    pub(crate) fn hints(&mut self, hints: Hints) {
        self.hints = hints;
    }

    /// Returns a writer for log lines, which keeps them from tearing the spinners.
    pub(crate) fn log_writer(&self) -> Box<dyn Write + Send> {
        Box::new(BetweenBars(self.bars.clone()))
    }

    /// Shows lines.
    pub(crate) fn lines(&mut self, lines: &[String]) -> Result<(), CliError> {
        let out = &mut self.out;
        self.bars.suspend(|| lines.iter().try_for_each(|line| out.line(line)))
    }

    /// Shows a build in full.
    pub(crate) fn report(&mut self, build: &BuildReport) -> Result<(), CliError> {
        let out = &mut self.out;
        let hints = &self.hints;
        self.bars.suspend(|| show::print(build, (Folding::Matrices, clock::wall().0), hints, out))
    }

    /// Shows a happening.
    pub(crate) fn show(&mut self, build: &BuildReport, news: &Happening, connect: Connect<'_>) -> Result<(), CliError> {
        match news {
            Happening::Seen | Happening::TooLarge { .. } | Happening::MatrixEnded { .. } | Happening::Finished => {}
            Happening::Started { job, attempt } => self.spin(build, job, attempt, connect),
            Happening::Again { job, .. } | Happening::Ended { job } => self.stop_spinning(job.job),
        }
        self.lines(&told(build, news))?;
        if let Happening::Ended { job } = news
            && JobStateKind::of_word(&job.state).is_some_and(JobStateKind::is_bad)
        {
            let lines = self.autopsy(build, job, connect);
            self.lines(&lines)?;
        }
        Ok(())
    }

    /// Removes the spinners.
    pub(crate) fn clear(&mut self) {
        self.running.clear();
        // Only drawing can fail here, and nothing is left to draw.
        drop(self.bars.clear());
    }

    fn spin(&mut self, build: &BuildReport, job: &JobReport, attempt: &AttemptReport, connect: Connect<'_>) {
        // A report may skip steps, so an attempt may have ended when its start is told.
        if attempt.outcome.is_some() || !self.is_terminal {
            return;
        }
        let bar = self.bars.add(ProgressBar::new_spinner());
        // The template is constant and a test checks it. Without it, the spinner would only be plainer.
        if let Ok(style) = ProgressStyle::with_template(SPINNER) {
            bar.set_style(style);
        }
        bar.set_prefix(format!("b{} {}", build.build, job.task));
        bar.set_message(format!("on {}", one_line(&attempt.runner)));
        bar.enable_steady_tick(TICK);
        let question = LogQuestion::of_attempt(build.build, &job.task, attempt.number, 0, true);
        let tail = connect()
            .and_then(|session| Tail::start(session, question, bar.clone()))
            .map_err(|error| log::debug!("could not follow the log: {}", chain(&error)));
        // An earlier attempt's spinner, if its end was not reported, gives way to the new one.
        self.stop_spinning(job.job);
        self.running.insert(job.job, (bar, tail.ok()));
    }

    fn stop_spinning(&mut self, job: u64) {
        if let Some((bar, tail)) = self.running.remove(&job) {
            drop(tail);
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    /// The last lines of a failed job's log, and the next steps.
    fn autopsy(&self, build: &BuildReport, job: &JobReport, connect: Connect<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        match connect().and_then(|mut session| excerpt::of_job(&mut session, build, job, TAIL_LINES)) {
            Ok(last) => lines.extend(last.into_iter().map(|line| format!("  {} {line}", dim("|")))),
            // The verdict matters more than the excerpt, and the command printed below shows the whole log.
            Err(error) => log::warn!("could not read the log: {}", chain(&error)),
        }
        lines.extend(self.hints.of_job(build, job).into_iter().map(|hint| format!("  {hint}")));
        lines
    }
}

/// A running job's line: spinner, task, newest output, elapsed time.
const SPINNER: &str = "{spinner} {prefix:.bold} {wide_msg} {elapsed:>5}";

/// Formats a happening as lines.
fn told(build: &BuildReport, happening: &Happening) -> Vec<String> {
    let number = build.build;
    let name = bold(format_args!("b{number}"));
    match happening {
        Happening::Seen => {
            let (branch, subject) = (one_line(&build.branch), one_line(&build.subject));
            vec![format!("{name} {} {branch}: {subject}", short(&build.commit))]
        }
        Happening::TooLarge { job, slots, room } => {
            let (task, here) = (fold::written(&job.task), human::count((*room).into(), "slot"));
            vec![
                format!("b{number} {task}: waits for a runner with {slots} slots; the one of this process has {here}"),
                format!("  to run it here: `surveil up` with `--slots {slots}`, or fewer `slots` in the task"),
            ]
        }
        // The cells of a matrix are told together at its end, and before that only those that did not just pass.
        Happening::Started { job, .. } if Cells::of(&build.jobs, job).is_some() => Vec::new(),
        Happening::Ended { job } if is_quiet(job) && Cells::of(&build.jobs, job).is_some() => Vec::new(),
        Happening::MatrixEnded { job } => {
            let cells = Cells::of(&build.jobs, job).into_iter();
            cells.map(|cells| format!("b{number} {}: {}", cells.name(), cells.counts())).collect()
        }
        Happening::Started { job, attempt } => {
            vec![format!("b{number} {}: {} on {}", job.task, painted("running"), one_line(&attempt.runner))]
        }
        Happening::Again { job, attempt } => {
            let outcome = attempt.outcome.as_deref().unwrap_or_default();
            let state = JobStateKind::of_word(&job.state);
            let is_queued = matches!(state, Some(JobStateKind::Waiting | JobStateKind::Queued));
            let goes_on = if is_queued { ", queued again" } else { "" };
            let ended = show::ending(outcome, attempt, "in");
            vec![format!("b{number} {}: attempt {} {ended}{goes_on}", job.task, attempt.number)]
        }
        // Whoever has chosen tasks does not want a line for each of the others.
        Happening::Ended { job } if job.reason_code.as_deref() == LeftOutReason::NotAsked.code() => Vec::new(),
        Happening::Ended { job } => {
            let more = job.detail.as_deref().map(first_line).into_iter().flat_map(|(_, more)| more);
            let more = more.map(|line| format!("    {line}").trim_end().to_owned());
            [format!("b{number} {}: {}", job.task, job_ending(job))].into_iter().chain(more).collect()
        }
        Happening::Finished => {
            let problem = build.problem.iter().flat_map(|problem| problem.lines()).map(|line| format!("  {line}"));
            let time = lasted(build);
            let verdict = format!("{name} {} in {time}{}", painted(&build.state), verdict_note(build));
            let held = held_lines(build);
            problem.map(|line| one_line(&line)).chain(held).chain([verdict]).collect()
        }
    }
}

/// Lines that name the tasks that are left for a person to start. Those that are held because of them are not named.
fn held_lines(build: &BuildReport) -> Vec<String> {
    let is_held = |job: &&JobReport| JobStateKind::of_word(&job.state) == Some(JobStateKind::Held);
    let held: Vec<&JobReport> = build.jobs.iter().filter(is_held).collect();
    let is_first = |job: &&&JobReport| held.iter().all(|other| !job.needs.contains(&other.task));
    let first: Vec<&str> = held.iter().filter(is_first).map(|job| &*job.task).collect();
    let matrices = first.chunk_by(|one, next| one.contains('@') && fold::written(one) == fold::written(next));
    matrices
        .map(|cells| {
            let name = fold::names(cells.iter().copied());
            format!("b{} {name}: {} until somebody starts it", build.build, painted("held"))
        })
        .collect()
}

/// Whether the end of a job needs no line of its own among those of its matrix.
fn is_quiet(job: &JobReport) -> bool {
    !job.flaky && !JobStateKind::of_word(&job.state).is_some_and(JobStateKind::is_bad)
}

/// Formats `passed in 3.2 s`, `failed (exit code 1) in 3.2 s`, `skipped (build did not pass)`.
fn job_ending(job: &JobReport) -> String {
    let mut text = match job.attempts.last() {
        // If the job has a reason of its own, as errored and skipped jobs have, that is shown instead.
        Some(last) if job.detail.is_none() => show::ending(&job_word(job), last, "in"),
        _ => {
            let detail = job.detail.as_deref().map(|why| format!(" ({})", first_line(why).0));
            format!("{}{}", painted(&human::words(&job.state)), detail.unwrap_or_default())
        }
    };
    if job.flaky {
        let number = job.attempts.last().map_or(0, |last| last.number);
        text.push_str(&format!(" ({}, attempt {number})", painted("flaky")));
    }
    if job.allow_failure && JobStateKind::of_word(&job.state) == Some(JobStateKind::Finished(EndingKind::Failed)) {
        text.push_str(" (allowed to fail)");
    }
    text
}

/// Writes to stderr while the spinners are hidden.
struct BetweenBars(MultiProgress);

impl Write for BetweenBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::support::{attempt, build, job};

    fn plain(build: &BuildReport, happening: &Happening) -> Vec<String> {
        told(build, happening).iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
    }

    #[test]
    fn the_spinners_template_is_valid() {
        assert!(ProgressStyle::with_template(SPINNER).is_ok());
    }

    #[test]
    fn a_green_build_is_told_in_four_lines() {
        let job = job("test", "passed", vec![attempt(1)]);
        let build = build(1, "passed", vec![job.clone()]);
        let lines: Vec<String> = [
            Happening::Seen,
            Happening::Started { job: job.clone(), attempt: attempt(1) },
            Happening::Ended { job },
            Happening::Finished,
        ]
        .iter()
        .flat_map(|happening| plain(&build, happening))
        .collect();
        assert_eq!(
            lines,
            [
                "b1 4f2a91c main: Fix the thing",
                "b1 test: running on w1",
                "b1 test: passed in 3.2 s",
                "b1 passed in 12 s"
            ]
        );
    }

    #[test]
    fn a_matrix_is_told_at_its_end_and_its_failures_at_once() {
        let failed = job("t@2", "failed", vec![AttemptReport { outcome: Some("failed".into()), ..attempt(1) }]);
        let passed = job("t@1", "passed", vec![attempt(1)]);
        let build = build(1, "failed", vec![passed.clone(), failed.clone(), job("u@1", "passed", vec![attempt(1)])]);
        let told = |happening: Happening| plain(&build, &happening);
        assert!(told(Happening::Started { job: passed.clone(), attempt: attempt(1) }).is_empty());
        assert!(told(Happening::Ended { job: passed.clone() }).is_empty());
        assert_eq!(told(Happening::Ended { job: failed }), ["b1 t@2: failed in 3.2 s"]);
        assert_eq!(told(Happening::MatrixEnded { job: passed }), ["b1 t@…: 1 passed, 1 failed"]);
        assert_eq!(told(Happening::Ended { job: build.jobs[2].clone() }), ["b1 u@1: passed in 3.2 s"]);
    }

    #[test]
    fn what_is_left_for_a_person_to_start_is_told_at_the_end() {
        let mut verify = job("verify", "held", vec![]);
        verify.needs = vec!["deploy@1".into()];
        let held = ["deploy@1", "deploy@2", "announce"].map(|name| job(name, "held", vec![]));
        let jobs = [job("test", "passed", vec![attempt(1)])].into_iter().chain(held).chain([verify]).collect();
        let lines = plain(&build(1, "passed", jobs), &Happening::Finished);
        let deploy = "b1 deploy@…: held until somebody starts it";
        assert_eq!(lines, [deploy, "b1 announce: held until somebody starts it", "b1 passed in 12 s"]);
    }

    #[test]
    fn a_reason_of_several_lines_keeps_them() {
        let mut plan = job("plan", "errored", vec![]);
        plan.detail = Some("a mistake: 2:7: wrong\n  |\n2 | x\x1b[2J".into());
        let lines = plain(&build(1, "errored", vec![]), &Happening::Ended { job: plan });
        assert_eq!(lines, ["b1 plan: errored (a mistake: 2:7: wrong)", "      |", "    2 | x\u{fffd}[2J"]);
    }

    #[test]
    fn what_went_wrong_is_told_with_its_reason() {
        let bad = AttemptReport { outcome: Some("failed".into()), detail: Some("exit code 1".into()), ..attempt(1) };
        let failed = job("test", "failed", vec![bad]);
        let mut skipped = job("deploy", "skipped", vec![]);
        skipped.detail = Some("test did not pass".into());
        let lost = AttemptReport { outcome: Some("lost".into()), detail: Some("w1 vanished".into()), ..attempt(1) };
        let queued = job("lint", "queued", vec![lost.clone()]);
        let build = build(1, "failed", vec![]);
        assert_eq!(plain(&build, &Happening::Ended { job: failed }), ["b1 test: failed (exit code 1) in 3.2 s"]);
        assert_eq!(plain(&build, &Happening::Ended { job: skipped }), ["b1 deploy: skipped (test did not pass)"]);
        let late = job("slow", "failed", vec![AttemptReport { outcome: Some("timed_out".into()), ..attempt(1) }]);
        assert_eq!(plain(&build, &Happening::Ended { job: late }), ["b1 slow: timed out after 3.2 s"]);
        assert_eq!(
            plain(&build, &Happening::Again { job: queued, attempt: lost }),
            ["b1 lint: attempt 1 lost (w1 vanished) in 3.2 s, queued again"]
        );
    }
}
